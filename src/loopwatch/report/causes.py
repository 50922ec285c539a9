"""What the loop's thread was doing, in words."""

from __future__ import annotations

from loopwatch.analysis.causes import Why
from loopwatch.report.words import duration, share

_NEARLY_ALL = 0.85  # a cause with so much of the time stands for all of it
_WORTH_IT = 0.1  # the others are named from here on
_NAMES = {"gil": "waiting for the GIL", "gc": "garbage collection", "starved": "starved of CPU"}


def cause_of(why: Why) -> str:
    """``native, GIL held 2 % of the time``, ``python 71 %, garbage collection 24 %``; empty where nothing is known."""
    whole = sum(seconds for _, seconds in why.causes)
    parts: list[str] = []
    for cause, seconds in why.causes:
        if parts and seconds < _WORTH_IT * whole:
            break
        name = _NAMES.get(cause, cause)
        parts.append(name if seconds >= _NEARLY_ALL * whole else f"{name} {share(seconds, whole)}")
    if why.cause == "native":
        parts.append(f"GIL held {share(why.gil_held, why.seconds('native'))} of the time")
    if why.cause == "starved" and why.throttled:
        parts.append(f"CPU quota held it up for {duration(why.throttled)}")
    elif why.cause == "starved" and why.run_delay:
        parts.append(f"waited {duration(why.run_delay)} for a CPU")
    return ", ".join(parts)
