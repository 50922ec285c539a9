"""Where in the user's own code a stack belongs, for a response header."""

from __future__ import annotations

import functools
import os
import sys

from loopwatch.errors import ConfigError
from loopwatch.header import code_paths
from loopwatch.recording.kinds import Kinds
from loopwatch.settings import Settings


@functools.cache
def _kinds() -> Kinds:
    try:
        app = Settings().with_environment(os.environ).app
    except ConfigError:
        app = ()
    return Kinds(code_paths(), platform=sys.platform, app=app)


def place_of(frames: list[tuple[str, str, int]]) -> tuple[str, str, int] | None:
    """The innermost frame of the user's own code, else the innermost of all; None for no frames.

    `frames`: innermost first, each as file, function and line.
    """
    own = (frame for frame in frames if _kinds().kind(frame[0], frame[1]) == "app")
    return next(own, frames[0] if frames else None)


def location_of(frames: list[tuple[str, str, int]]) -> str:
    """``file:line`` of that frame; empty for no frames."""
    found = place_of(frames)
    return f"{found[0]}:{found[2]}" if found else ""
