"""Which stacks some work can have: whatever is not among them was invented.

The judge lets the work run once under `sys.setprofile`, which is told of every call, and remembers who was called from
where, all the way down: file, function, line and columns of each caller. A sampled stack must be one of these chains,
and its innermost frame be at some place of its function. So a sample is wrong as soon as a single frame of it belongs
to another moment, unless the mixture happens to be a stack that does occur.
"""

from __future__ import annotations

import inspect
import itertools
import sys
from types import CodeType, FrameType
from typing import Any

from loopwatch.stack import Frame
from tests.integration import sampling
from tests.integration.sampling import Seen, Work, run_turns

Function = tuple[str, str]  # file, qualified name
Place = tuple[int, int, int | None, int | None]  # line, end line, column, end column; lines are 0 where there is none

SUSPENDS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
BASE: Function = (sampling.__file__, "inside")


class Calls:
    """A tree of calls. Its nodes are numbers; 0 is what stands outside all work."""

    def __init__(self) -> None:
        self._children: dict[tuple[int, Place | None, Function], int] = {}
        self._codes: set[CodeType] = set()
        self._lines: dict[Function, set[int]] = {}

    def learn(self, work: Work) -> None:
        """Run the work once, in the place where it will be sampled, and remember its calls."""
        nodes: dict[FrameType, int] = {}

        def on_event(frame: FrameType, event: str, _argument: Any) -> None:
            if event == "return":
                nodes.pop(frame, None)
            elif event == "call" and (node := self._called(frame, nodes)) is not None:
                nodes[frame] = node

        sys.setprofile(on_event)
        try:
            run_turns([work], 0)
        finally:
            sys.setprofile(None)

    def _called(self, frame: FrameType, nodes: dict[FrameType, int]) -> int | None:
        """The node of a frame that has a caller with a node, or is to stand on nothing; None: it is not of the work."""
        caller = frame.f_back
        if caller is None or (frame.f_code.co_filename, frame.f_code.co_qualname) == BASE:
            return self._child(0, None, self._know(frame.f_code))
        below = nodes.get(caller)
        if below is None and caller.f_code.co_flags & SUSPENDS:
            # What is thrown into it goes on to the one that it waits for, and nobody tells of a call of its own.
            below = self._called(caller, nodes)
        return None if below is None else self._child(below, _place_of(caller), self._know(frame.f_code))

    def _child(self, parent: int, place: Place | None, function: Function) -> int:
        return self._children.setdefault((parent, place, function), len(self._children) + 1)

    def _know(self, code: CodeType) -> Function:
        function = code.co_filename, code.co_qualname
        if code not in self._codes:  # two of them may have one name: two lambdas on a line
            self._codes.add(code)
            lines = self._lines.setdefault(function, {code.co_firstlineno})
            lines.update(line for _, _, line in code.co_lines() if line is not None)
        return function

    def fault(self, stack: Seen) -> str | None:
        """What is impossible about a stack, outermost frame first; None: it can be."""
        start = self._start(stack)
        if start is None:
            work = next((frame for frame in stack if (frame.file, frame.function) in self._lines), None)
            return None if work is None else f"stands on nothing: {_show(work)}"
        node, caller = 0, None
        for frame in stack[start:]:
            place = None if caller is None else (caller.line, caller.end_line, caller.column, caller.end_column)
            child = self._children.get((node, place, (frame.file, frame.function)))
            if child is None and frame.function == "__del__":
                return None  # the collector calls it from anywhere, for what a test before this one has left
            if child is None:
                return f"no call from {_show(caller)} to {_show(frame)}" if caller else f"begins with {_show(frame)}"
            node, caller = child, frame
        if caller is not None and caller.line not in self._lines[caller.file, caller.function]:
            return f"no such line: {_show(caller)}"
        return None

    def _start(self, stack: Seen) -> int | None:
        """Index of the frame that all work stands on; None: it is not there."""
        if (0, None, (stack[0].file, stack[0].function)) in self._children:
            return 0
        return next((index for index, frame in enumerate(stack) if (frame.file, frame.function) == BASE), None)


def _place_of(frame: FrameType) -> Place:
    positions = frame.f_code.co_positions()
    line, end_line, column, end_column = next(itertools.islice(positions, frame.f_lasti // 2, None))
    return line or 0, end_line or 0, column, end_column


def _show(frame: Frame | None) -> str:
    return "nothing" if frame is None else f"{frame.function}:{frame.line}:{frame.column}"
