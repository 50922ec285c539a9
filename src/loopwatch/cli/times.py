"""Durations and points in time as options."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from loopwatch.config import parse_duration
from loopwatch.errors import LoopwatchError

if TYPE_CHECKING:
    _Seconds = click.ParamType[float]
else:
    _Seconds = click.ParamType  # generic only in newer versions of click

_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h|d)(?:\s+ago)?", re.IGNORECASE)
_SECONDS = {"s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}


class Duration(_Seconds):
    """A length of time in seconds; a bare number is milliseconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except LoopwatchError as error:
            raise _name(error, param) from None


class Moment(_Seconds):
    """A point in time in Unix seconds: in ISO 8601 (local time unless it says), or how long ago (``5m``)."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        text = str(value).strip()
        match = _AGO.fullmatch(text)
        try:
            if match:
                moment = time.time() - float(match[1]) * _SECONDS[match[2].lower()]
            else:
                moment = datetime.fromisoformat(text).timestamp()
            datetime.fromtimestamp(moment).astimezone()  # reports have to write it as a date
            return moment
        except (ValueError, OverflowError, OSError):
            error = LoopwatchError(
                f"{value!r} is not a time", "write 2026-11-22T14:00, 2026-11-22T14:00:00Z, or 5m (ago)"
            )
            raise _name(error, param) from None


def _name(error: LoopwatchError, param: click.Parameter | None) -> LoopwatchError:
    """The error with the option's name in front."""
    return LoopwatchError(f"{param.opts[0]}: {error.message}", error.hint) if param and param.opts else error
