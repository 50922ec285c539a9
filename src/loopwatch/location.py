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
    """The innermost frame of the user's own code, else the innermost that is not loopwatch's; None if there is none.

    `frames`: innermost first, each as file, function and line.
    """
    place = None
    for frame in frames:
        kind = _kinds().kind(frame[0], frame[1])
        if kind == "app":
            return frame
        if place is None and kind != "loopwatch":
            place = frame
    return place


def location_of(frames: list[tuple[str, str, int]]) -> str:
    """``file:line`` of that frame; empty for no frames."""
    found = place_of(frames)
    return f"{found[0]}:{found[2]}" if found else ""
