"""What metrics are made of: the loops' own counters, and the stalls by their causes.

The figures only grow, also when the watch is begun anew or loops come and go; a forked child begins with none. Those of
the loops are of the moment; a stall is counted by its cause when it has ended and is told.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from loopwatch import lifespans, wants
from loopwatch.callers import Listener
from loopwatch.config import check_settings, switched_off
from loopwatch.model import Loop, Stall
from loopwatch.settings import Settings

UNKNOWN = "unknown"
"""The cause of what was not sampled."""
BUCKETS = 24
BOUNDS = tuple(2 ** (entry + 1) / 1e6 for entry in range(BUCKETS - 1))
"""Upper ends, in seconds, of all entries of a histogram but the last."""
_WINDOW = 1.0  # seconds between two moments whose difference is the utilization


@dataclass(slots=True)
class Figures:
    """Cumulative; seconds. `histogram` counts iterations by length, `utilization` is lately the busiest loop's."""

    stalls: dict[str, int]  # by cause
    stalled: dict[str, float]
    iterations: int = 0
    busy: float = 0.0
    torn: int = 0
    unsampled: int = 0
    requests: int = 0
    histogram: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    utilization: float = 0.0

    def add(self, loops: Iterable[Loop]) -> None:
        """Count these loops in."""
        for loop in loops:
            self.iterations += loop.iterations
            self.busy += loop.busy
            self.torn += loop.torn
            self.unsampled += loop.unsampled
            self.requests += loop.requests
            if loop.lost:
                self.stalls[UNKNOWN] = self.stalls.get(UNKNOWN, 0) + loop.lost
            for entry, count in enumerate(loop.histogram[:BUCKETS]):
                self.histogram[entry] += count


class Meter:
    """Watches this process, and counts. `refresh` is called on loopwatch's thread when there may be news.

    `threshold` in seconds; None is as `LOOPWATCH_THRESHOLD` says, else 10 ms. `tell` hears of each stall that counts.
    """

    def __init__(
        self,
        threshold: float | None = None,
        *,
        tell: Callable[[Stall], None] | None = None,
        refresh: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        self._begin()
        settings = Settings() if switched_off() else Settings().with_environment(os.environ)
        listener = Listener(self._count, inherited=True, refresh=refresh)
        self.threshold = settings.threshold if threshold is None else threshold
        check_settings(self.threshold, settings.interval)
        self._want = wants.Want(self.threshold, settings.interval, settings, listeners=(listener,))
        if not switched_off():
            with wants.state.lock:
                wants.add(self._want)
            if settings.requests > 0:
                lifespans.hook_imported()

    def close(self) -> None:
        """Watch no longer."""
        with wants.state.lock:
            if self._want in wants.state.wants:
                wants.remove(self._want)

    def figures(self) -> Figures:
        """All so far."""
        loops, past = wants.loops()
        if self._pid != os.getpid():
            self._begin()
        figures = Figures(dict(self._stalls), dict(self._stalled))
        figures.add([*past, *loops])
        figures.utilization = self._utilization(loops)
        return figures

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._stalls: dict[str, int] = {}
        self._stalled: dict[str, float] = {}
        self._at = self._clock()
        self._before: dict[int, tuple[float, float]] = {}  # by loop: how long it was busy and watched, then
        self._last = 0.0

    def _count(self, stall: Stall) -> None:
        """As the report does: a stall that is allowed, or while a server starts, counts nowhere."""
        if stall.allowed or stall.phase == "startup":
            return
        if self._pid != os.getpid():
            self._begin()
        cause = stall.cause or UNKNOWN
        self._stalls[cause] = self._stalls.get(cause, 0) + 1
        for each, seconds in stall.activity.causes or ((cause, stall.duration),):
            self._stalled[each] = self._stalled.get(each, 0.0) + seconds
        if self._tell is not None:
            self._tell(stall)

    def _utilization(self, loops: tuple[Loop, ...]) -> float:
        """Since the last time that was asked, unless that was a moment ago."""
        now = self._clock()
        if self._before and now - self._at < _WINDOW:
            return self._last
        shares = []
        for loop in loops:
            busy, seconds = self._before.get(loop.id, (0.0, 0.0))
            if loop.seconds > seconds:
                shares.append(max(0.0, loop.busy - busy) / (loop.seconds - seconds))
        self._at, self._last = now, min(1.0, max(shares, default=0.0))
        self._before = {loop.id: (loop.busy, loop.seconds) for loop in loops}
        return self._last
