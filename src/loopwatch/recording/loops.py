"""The loops of one process: who they are, and the figures of their newest summaries."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from loopwatch.model import Loop, Stall
from loopwatch.recording.fields import Record, count, counts, integer, text


class Loops:
    """The loops by their numbers. Times are nanoseconds of the process's clock."""

    def __init__(self) -> None:
        self._loops: dict[int, Loop] = {}
        self._since: dict[int, int] = {}  # when each loop was first seen
        self._summed: dict[int, int] = {}  # when its newest summary was written

    def __iter__(self) -> Iterator[int]:
        return iter(self._loops)

    def known(self, number: int) -> Loop:
        """A loop as far as it is known."""
        return self._loops.get(number) or Loop(number)

    def see(self, number: int, at: int) -> Loop:
        """There is such a loop at that time, whether or not its own record is there."""
        known = self._loops.get(number)
        if known is None:
            self._since.setdefault(number, at)
            known = self._loops[number] = Loop(number)
        return known

    def add_loop(self, record: Record) -> None:
        """A `loop` record."""
        number = integer(record, "loop")
        if number is None:
            return
        self._since.setdefault(number, count(record, "at"))
        self._loops[number] = replace(
            self.known(number),
            kind=text(record, "kind", "other"),
            poll=text(record, "poll"),
            thread=text(record, "thread"),
        )

    def add_summary(self, record: Record) -> Loop | None:
        """A `summary` record; returns its loop."""
        number = integer(record, "loop")
        if number is None:
            return None
        if (at := count(record, "at")) < self._summed.get(number, 0):
            return self._loops[number]  # it was asked for the figures in between
        self._summed[number] = at
        loop = self._loops[number] = replace(
            self.known(number),
            running=record.get("running") is True,
            seconds=count(record, "watched_ns") / 1e9,
            busy=count(record, "busy_ns") / 1e9,
            iterations=count(record, "iterations"),
            stalls=count(record, "stalls"),
            stalled=count(record, "stalled_ns") / 1e9,
            worst=count(record, "longest_ns") / 1e9,
            samples=count(record, "samples"),
            torn=count(record, "torn"),
            cut=count(record, "cut"),
            outer=count(record, "outer"),
            unsampled=count(record, "unsampled"),
            lost=count(record, "lost"),
            requests=count(record, "requests"),
            requests_untracked=count(record, "requests_untracked"),
            histogram=counts(record, "histogram"),
        )
        return loop

    def so_far(self, number: int, open_stalls: Iterable[Stall], seen: int, offset: int) -> Loop:
        """A loop's newest summary, and after it what its running stalls tell: a stuck loop writes no summary.

        `seen` is the newest time of any record, and `offset` leads from the process's clock to Unix time.
        """
        loop = self._loops[number]
        summed = self._summed.get(number)
        if summed is None:  # killed within its first second: all that is known is from when to when
            return replace(loop, seconds=max(0, seen - self._since.get(number, seen)) / 1e9)
        newest = max(
            (stall for stall in open_stalls if stall.loop == number), key=lambda stall: stall.end, default=None
        )
        if newest is None:
            return loop
        at = (summed + offset) / 1e9  # a summary counts the iteration that lasts, up to that moment
        seconds = loop.seconds + max(0.0, newest.end - at)
        return replace(loop, seconds=seconds, busy=loop.busy + max(0.0, newest.end - max(at, newest.start)))
