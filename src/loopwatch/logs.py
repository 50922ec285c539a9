"""One log line per stall, on loopwatch's own thread: logger `loopwatch`, with the figures as attributes of the record.

A line that fails in the program's handlers costs nobody but this thread. A site that stalls again and again is told
once in a while, with how many lines were left out; all sites together have a limit too. What was left out is told when
its site may have a line again, be there another stall or not, and at the end.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from loopwatch.callers import Listener
from loopwatch.cwd import relative
from loopwatch.model import Stall

_MOST_SITES = 256  # that are remembered
_WINDOW = 1.0  # seconds in which there are at most so many lines


@dataclass(slots=True)
class _Untold:
    """Stalls without a line. One of them will stand for all."""

    stall: Stall  # the last of the highest level
    level: int
    due: float  # when they are told, if there is room
    count: int = 0
    seconds: float = 0.0

    def add(self, stall: Stall, level: int, count: int, seconds: float) -> None:
        if level >= self.level:
            self.stall, self.level = stall, level
        self.count += count
        self.seconds += seconds


@dataclass(slots=True)
class _Site:
    next: float = -math.inf  # when it may have its next line
    untold: _Untold | None = None


class StallLog:
    """Writes the lines. `every`: seconds between two lines of one site; `rate`: lines in any second, of all sites."""

    def __init__(self, every: float, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logging.getLogger("loopwatch")
        self._every = every
        self._rate = rate
        self._clock = clock
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._sites: OrderedDict[tuple[str, int, str], _Site] = OrderedDict()
        self._rest = _Site()  # of sites that are not remembered
        self._written: deque[float] = deque()  # when there were lines, within the last second
        self._soonest = math.inf  # nothing untold is due before

    def __call__(self, stall: Stall) -> None:
        level = logging.INFO if stall.allowed or stall.phase == "startup" else logging.WARNING
        if not self._logger.isEnabledFor(level):
            return
        now = self._now()
        site = self._site((stall.file, stall.line, stall.function), now)
        if now < site.next or not self._room(now):
            self._suppress(site, stall, level, 1, stall.duration, now)
            return
        untold, site.untold = site.untold, None
        count, seconds = (untold.count, untold.seconds) if untold else (0, 0.0)
        self._write(site, stall, level, count, seconds, now)

    def later(self, end: bool) -> float:
        """Tell of stalls that have had no line for long enough; `end`: of all. Returns after how many seconds there
        may be more to tell."""
        now = self._now()
        if now >= self._soonest or end:
            for site in self._due(now, end):
                untold, site.untold = site.untold, None
                assert untold is not None
                seconds = max(0.0, untold.seconds - untold.stall.duration)
                self._write(site, untold.stall, untold.level, untold.count - 1, seconds, now)
            self._soonest = min((untold.due for untold in self._all_untold()), default=math.inf)
        if self._soonest <= now and not self._room(now):
            return self._written[0] + _WINDOW - now
        return self._soonest - now

    def _due(self, now: float, end: bool) -> list[_Site]:
        """The sites to be told of, no more than there is room for; at the end, one that stands for those without."""
        sites = [
            site for site in (*self._sites.values(), self._rest) if site.untold and (end or site.untold.due <= now)
        ]
        room = self._room(now)
        if not end or len(sites) <= room:
            return sites[:room]
        room = max(room - 1, 0)
        for site in sites[room:]:
            self._merge(site, now)
        return [*sites[:room], self._rest]

    def _all_untold(self) -> list[_Untold]:
        return [site.untold for site in (*self._sites.values(), self._rest) if site.untold]

    def _write(self, site: _Site, stall: Stall, level: int, count: int, seconds: float, now: float) -> None:
        site.next = now + self._every
        elsewhere = site is self._rest
        extra = attributes(stall, count, seconds)
        try:
            self._logger.log(level, "%s", message(stall, count, seconds, elsewhere=elsewhere), extra=extra)
        finally:
            self._written.append(self._clock())

    def _suppress(self, site: _Site, stall: Stall, level: int, count: int, seconds: float, now: float) -> None:
        if site.untold is None:
            site.untold = _Untold(stall, level, site.next if site.next > now else now + self._every)
            self._soonest = min(self._soonest, site.untold.due)
        site.untold.add(stall, level, count, seconds)

    def _site(self, key: tuple[str, int, str], now: float) -> _Site:
        site = self._sites.setdefault(key, _Site())
        self._sites.move_to_end(key)
        if len(self._sites) > _MOST_SITES:
            self._merge(self._sites.popitem(last=False)[1], now)
        return site

    def _merge(self, site: _Site, now: float) -> None:
        """What is untold of it is of the rest from now on."""
        untold = site.untold
        if untold is not None and site is not self._rest:
            site.untold = None
            self._suppress(self._rest, untold.stall, untold.level, untold.count, untold.seconds, now)

    def _room(self, now: float) -> int:
        """How many lines there may be now."""
        while self._written and now - self._written[0] >= _WINDOW:
            self._written.popleft()
        return self._rate - len(self._written)

    def _now(self) -> float:
        if self._pid != os.getpid():  # a forked child: its parent tells what it has not told
            self._begin()
        return self._clock()


def listener(every: float, rate: int) -> Listener:
    """A log as `watch` wants it. Forked children write lines too: they are of the same program."""
    log = StallLog(every, rate)
    return Listener(log, inherited=True, later=log.later)


def message(stall: Stall, suppressed: int, seconds: float, *, elsewhere: bool = False) -> str:
    """The line, for people. `elsewhere`: those without a line were not in this place alone."""
    place = f"{relative(stall.file)}:{stall.line} {stall.function}" if stall.file else "a place that was not sampled"
    parts = [f"event loop blocked for {stall.duration_ms:.1f} ms in {place}"]
    if stall.cause:
        parts.append(f"({stall.cause})")
    if stall.endpoint:
        parts.append(f"by {stall.endpoint}")
    if stall.phase in ("startup", "shutdown"):
        parts.append(f"at {stall.phase}")
    if stall.allowed:
        parts.append("as allowed")
    line = " ".join(parts)
    if stall.requests_delayed:
        line += f"; {stall.requests_delayed} {'request' if stall.requests_delayed == 1 else 'requests'} waited"
    if suppressed:
        times = "once" if suppressed == 1 else f"{suppressed} times"
        where = "in places without a line" if elsewhere else "here since the last line"
        line += f"; {times} more {where}, {seconds * 1e3:.1f} ms"
    return line


def attributes(stall: Stall, suppressed: int, seconds: float) -> dict[str, object]:
    """What structured logs get. Milliseconds, no values of the program."""
    return {
        "stall_ms": round(stall.duration_ms, 3),
        "stall_start": stall.start,
        "stall_file": relative(stall.file),
        "stall_line": stall.line,
        "stall_function": stall.function,
        "stall_cause": stall.cause,
        "stall_phase": stall.phase,
        "stall_allowed": stall.allowed,
        "stall_endpoint": stall.endpoint,
        "stall_requests_delayed": stall.requests_delayed,
        "stall_thread": stall.thread,
        "stall_pid": stall.pid,
        "stall_suppressed": suppressed,
        "stall_suppressed_ms": round(seconds * 1e3, 3),
    }
