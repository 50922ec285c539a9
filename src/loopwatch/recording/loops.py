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
        self._stalled: dict[int, int] = {}  # how long it stalled after that
        self._requests: dict[int, set[int]] = {}  # those that were seen after that

    def __iter__(self) -> Iterator[int]:
        return iter(self._loops)

    def __len__(self) -> int:
        return len(self._loops)

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
        self._stalled.pop(number, None)
        self._requests.pop(number, None)
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

    def add_stall(self, number: int, start: int, end: int) -> None:
        """A stall that has ended: the next summary knows of it, if there is one."""
        summed = self._summed.get(number, 0)
        if end > summed:
            self._stalled[number] = self._stalled.get(number, 0) + end - max(start, summed)

    def add_requests(self, number: int, pairs: object) -> None:
        """The `requests` member of an `open` or `stall` record."""
        if type(pairs) is list and pairs:
            numbers = (pair[0] for pair in pairs if type(pair) is list and pair)
            self._requests.setdefault(number, set()).update(each for each in numbers if type(each) is int)

    def forget(self, number: int) -> None:
        """Nothing more is to come of this loop."""
        for known in (self._loops, self._since, self._summed, self._stalled, self._requests):
            known.pop(number, None)

    def so_far(self, number: int, open_stalls: Iterable[Stall], until: int, offset: int, *, lives: bool) -> Loop:
        """A loop's newest summary, and what is known after it: that it stalled, and was idle, or busy for no more than
        that, up to `until`. Of a process that `lives` another summary is to come, unless its loop is idle or stuck.

        `offset` leads from the process's clock to Unix time.
        """
        loop = self._loops[number]
        loop = replace(loop, requests=max(loop.requests, len(self._requests.get(number, ()))))
        summed = self._summed.get(number)
        at = self._since.get(number, until) if summed is None else summed
        busy = 0 if lives and until <= at else self._stalled.get(number, 0)
        newest = max(
            (stall for stall in open_stalls if stall.loop == number), key=lambda stall: stall.end, default=None
        )
        if newest is not None:
            end = round(newest.end * 1e9) - offset
            until = end if newest.state == "running" else max(until, end)
            # A summary counts the iteration that lasts, up to that moment.
            busy += max(0, end - max(at, round(newest.start * 1e9) - offset))
        # When it ran again after it had been stopped is not known.
        stopped = summed is not None and not loop.running
        seconds = busy if stopped else max(until - at, busy)
        return replace(loop, seconds=loop.seconds + seconds / 1e9, busy=loop.busy + busy / 1e9)
