"""Which frames of a stack are worth a line of a report, and how a path is best shown."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import PurePosixPath, PureWindowsPath

from loopwatch.stack import Frame, Stack

_SITE = re.compile(r".*[/\\](?:site|dist)-packages[/\\]", re.DOTALL)
_STDLIB = re.compile(r".*[/\\]python3\.\d+t?[/\\]", re.DOTALL)


def callback(stack: Stack) -> tuple[Frame, ...]:
    """The frames of the callback that ran, outermost first: those further in than the loop's own `_run`. All of
    them where there are none further in."""
    frames = stack.frames
    for at in range(len(frames) - 1, -1, -1):
        if frames[at].runs_callbacks:
            return frames[at + 1 :] or frames
    return frames


def below(stack: Stack) -> tuple[Frame, ...]:
    """The frames that the stack's place has called, outermost first; the last one is the blocking call."""
    inner: list[Frame] = []
    for frame in stack.walk():
        if frame is stack.place:
            break
        inner.append(frame)
    return tuple(reversed(inner))


@lru_cache(maxsize=4096)
def relative(file: str, cwd: str) -> str:
    """The file as seen from the run's working directory if it lies below it, else as it is. The recording may be
    from another system: no file is looked up."""
    if not cwd or file.startswith("<"):
        return file
    pure = PureWindowsPath if re.match(r"[A-Za-z]:|\\\\", cwd) else PurePosixPath
    try:
        return pure(file).relative_to(pure(cwd)).as_posix()
    except ValueError:
        return file


def short(frame: Frame, cwd: str) -> str:
    """The file as a person knows it: a library's from its package on, the user's own from the working directory."""
    if frame.kind != "app":
        for folder in (_SITE, _STDLIB):
            if match := folder.match(frame.file):
                return frame.file[match.end() :].replace("\\", "/")
    return relative(frame.file, cwd)
