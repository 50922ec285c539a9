"""Settings as people write them. Both halves use it, so it imports the standard library only."""

from __future__ import annotations

import math
import os
import re

from loopwatch.errors import ConfigError

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "min": 60.0, "": 1e-3}
_DURATION = re.compile(r"\s*(\d+(?:\.\d*)?|\.\d+)\s*([^\W\d_]*)\s*", re.ASCII | re.IGNORECASE)
_MICRO = str.maketrans("µμ", "uu")
ACCEPTED = "10ms, 1.5s, 250us, or a bare number of milliseconds"


def switched_off() -> bool:
    """Whether `LOOPWATCH=0` is set: nothing is watched, whoever asks for it."""
    return os.environ.get("LOOPWATCH") == "0"


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
