"""The numbered things that stalls refer to: code objects, frames, stacks, threads."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from loopwatch.recording.fields import LIMIT, Record, count, integer, text
from loopwatch.recording.kinds import Kinds
from loopwatch.stack import Frame, Kind, Stack

_MOST_THREADS = 4096  # whose names are kept
_SAMPLES: Final = itemgetter(1)


class Tables:
    """What the ids of a part mean. `unresolved` counts references to what is not there."""

    def __init__(self) -> None:
        self.kinds = Kinds()
        self.unresolved = 0
        self._codes: dict[int, tuple[str, str, Kind]] = {}
        self._frames: dict[int, Frame] = {}
        self._stacks: dict[int, Stack] = {}
        self._threads: dict[int, str] = {}  # by the system's number, which outlives the ids

    def clear(self) -> None:
        """All ids start anew."""
        self._codes.clear()
        self._frames.clear()
        self._stacks.clear()

    def add_code(self, record: Record) -> None:
        """A `code` record."""
        number = integer(record, "id")
        if number is not None:
            file = self.kinds.absolute(text(record, "file", "<unknown>"))
            function = text(record, "name", "<unknown>")
            self._codes[number] = file, function, self.kinds.kind(file, function)

    def add_frame(self, record: Record) -> None:
        """A `frame` record. One whose code is unknown is left out."""
        number, code = integer(record, "id"), self._codes.get(count(record, "code"))
        if number is None or code is None:
            self.unresolved += 1
            return
        file, function, kind = code
        line, column, end_column = count(record, "line"), integer(record, "col"), integer(record, "end_col")
        self._frames[number] = Frame(
            file=file,
            function=function,
            line=line,
            end_line=max(line, count(record, "end_line")),
            column=column if column is not None and column >= 0 else None,
            end_column=end_column if end_column is not None and end_column >= 0 else None,
            kind=kind,
        )

    def add_stack(self, record: Record) -> None:
        """A `stack` record. Without its frame it is left out; without its parent it begins here."""
        number, frame = integer(record, "id"), self._frames.get(count(record, "frame"))
        if number is None or frame is None:
            self.unresolved += 1
            return
        parent = integer(record, "parent")
        below = self._stacks.get(parent) if parent is not None else None
        if parent is not None and below is None:
            self.unresolved += 1
        self._stacks[number] = Stack(frame, below)

    def add_thread(self, record: Record) -> None:
        """A `thread` record. The system may give its number to another one later."""
        if tid := count(record, "tid"):
            self._threads.pop(tid, None)
            self._threads[tid] = text(record, "name")
            if len(self._threads) > _MOST_THREADS:
                del self._threads[next(iter(self._threads))]

    def thread(self, tid: int) -> str:
        """The name of a thread; empty if it is not known."""
        return self._threads.get(tid, "")

    def stack(self, number: int) -> Stack | None:
        """A stack by its id; None, and counted, if it is not there."""
        stack = self._stacks.get(number)
        self.unresolved += stack is None
        return stack

    def stacks(self, record: Record) -> tuple[tuple[Stack, int], ...]:
        """The `stacks` member of an `open` or `stall` record, most samples first."""
        pairs = record.get("stacks")
        known, found = self._stacks, dict[Stack, int]()
        if type(pairs) is not list:
            return ()
        for pair in pairs:
            # Spelled out, not left to `fields`: this is the reader's innermost loop.
            if type(pair) is not list or len(pair) < 2 or type(pair[0]) is not int or type(pair[1]) is not int:
                continue
            stack, samples = known.get(pair[0]), pair[1]
            if stack is None:
                self.unresolved += 1
            elif 0 < samples < LIMIT:
                if len(pairs) == 1:  # by far the most: without asking for the hash
                    return ((stack, samples),)
                found[stack] = found.get(stack, 0) + samples
        return tuple(found.items() if len(found) < 2 else sorted(found.items(), key=_SAMPLES, reverse=True))
