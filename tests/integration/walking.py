"""Holding the stack that the sampler reads out of memory against the one that Python shows.

`walk()` takes the way of every sample, but of the calling thread; `sys._getframe` and `co_positions()` say what has to
come out: file, name, line and columns of every frame.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

from loopwatch import _core

DEPTH = 1024
"""Of a deeper stack so many frames are kept, or more."""
checked: list[str] = []
"""The places that were looked at."""
failed: list[str] = []
"""What was different. Kept, not raised: much of this runs where exceptions are swallowed."""


def python_place(code: CodeType, instruction: int) -> tuple[int | None, ...]:
    """Line, end line, column, end column. Where an instruction has no line, the sampler shows the one before it."""
    positions = list(itertools.islice(code.co_positions(), instruction // 2 + 1))
    if positions[-1][0] is not None:
        return positions[-1]
    line = next((place[0] for place in reversed(positions) if place[0] is not None), code.co_firstlineno)
    return line, line, None, None


def python_stack(frame: FrameType | None) -> list[tuple[Any, ...]]:
    """What Python says about a frame and all below it, outermost first."""
    stack = []
    while frame is not None:
        code = frame.f_code
        stack.append((code.co_filename, code.co_qualname, *python_place(code, frame.f_lasti)))
        frame = frame.f_back
    return stack[::-1]


def here(place: str = "", *_: object) -> Any:
    """Hold the two against each other, at this place. Returns something that suits most callers."""
    seen = _core.walk()
    known = python_stack(sys._getframe())
    if len(seen) >= DEPTH:
        known = known[-len(seen) :]
    # This function itself is at another line in each.
    if seen[:-1] != known[:-1] or seen[-1][:2] != known[-1][:2]:
        different = [pair for pair in zip(seen, known, strict=False) if pair[0] != pair[1]]
        failed.append(f"{place}: {len(seen)} frames, not {len(known)}; {different[:3]}")
    checked.append(place)
    return 1


@contextmanager
def all_agree(least: int = 1) -> Iterator[None]:
    """Within this, nothing was different, and so many places at least were looked at."""
    checked.clear()
    failed.clear()
    yield
    assert not failed, failed[:5]
    assert len(checked) >= least, checked
