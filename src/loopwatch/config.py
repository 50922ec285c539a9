"""Settings as people write them. Both halves use it, so it imports the standard library only."""

from __future__ import annotations

import math
import os
import re

from loopwatch.errors import ConfigError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "": 1e-3}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([^\W\d_]*)\s*", re.ASCII | re.IGNORECASE)
_MICRO = str.maketrans("µμ", "uu")
_SWITCHES = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}
SWITCH = "LOOPWATCH"
"""The variable that switches everything off."""
ACCEPTED = "10ms, 1.5s, 250us, or a bare number of milliseconds"


def parse_switch(text: str) -> bool | None:
    """Whether that says yes or no; None where it is neither."""
    return _SWITCHES.get(text.lower())


def switched_off() -> bool:
    """Whether `LOOPWATCH=0` is set, or another word for it: nothing is watched, whoever asks for it. A word that is
    none leaves it on; `check_switch` tells the person at the keyboard."""
    return parse_switch(os.environ.get(SWITCH, "")) is False


def check_switch() -> None:
    """`ConfigError` if `LOOPWATCH` says neither on nor off."""
    text = os.environ.get(SWITCH, "")
    if text and parse_switch(text) is None:
        raise ConfigError(
            f"{SWITCH}: {text!r} is neither on nor off", "write 0, false, no or off; or 1, true, yes or on"
        )


def parse_duration(text: str) -> float:
    """Seconds from a duration such as ``10ms``, ``1.5s``, ``250us``, ``2min`` or ``2`` (milliseconds).

    Never negative. `ConfigError` in one line that names what is accepted.
    """
    match = _DURATION.fullmatch(text.translate(_MICRO))
    unit = _UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ConfigError(f"{text!r} is not a duration", f"write {ACCEPTED}")
    seconds = float(match[1]) * unit
    if not math.isfinite(seconds):
        raise ConfigError(f"{text!r} is too long for a duration", f"write {ACCEPTED}")
    return seconds


def check_settings(threshold: float, interval: float) -> None:
    """`ConfigError` unless these durations, in seconds, are of a length that means something."""
    if not 1e-6 <= threshold <= 3600:
        raise ConfigError(
            f"a threshold of {threshold:g} s means nothing", "10 ms is: threshold=0.010, or --threshold 10ms"
        )
    if not 0 <= interval <= 60:
        raise ConfigError(f"an interval of {interval:g} s means nothing", "1 ms is: interval=0.001, or --interval 1ms")
