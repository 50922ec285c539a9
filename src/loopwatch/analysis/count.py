"""Stalls counted: of one loop, or of a whole run."""

from __future__ import annotations

from dataclasses import dataclass, fields

from loopwatch.analysis.sites import counts
from loopwatch.model import Stall


@dataclass(slots=True)
class Count:
    """How many stalls there were and how long they took, seconds. Each is in one of the first three groups."""

    stalls: int = 0
    stalled: float = 0.0
    worst: float = 0.0
    worst_serving: float = 0.0  # without those at shutdown
    requests_delayed: int = 0
    allowed: int = 0
    allowed_seconds: float = 0.0
    startup: int = 0
    startup_seconds: float = 0.0
    recorded: int = 0  # all that have ended, whether they count or not
    recorded_seconds: float = 0.0
    recorded_worst: float = 0.0
    cut: int = 0  # of these: known to have been at least so long
    samples: int = 0
    torn: int = 0
    outer: int = 0
    omitted: int = 0
    unsampled: int = 0
    beyond: float = 0.0  # seconds that a running stall has lasted since its newest record

    def add(self, stall: Stall, taken: bool) -> None:
        """Add a stall; `taken` is whether it was asked for."""
        duration = stall.duration
        self.samples += stall.samples
        self.torn += stall.torn
        self.outer += stall.outer
        self.omitted += stall.omitted
        self.unsampled += not stall.samples
        if stall.state in ("ended", "cut"):
            self.recorded += 1
            self.recorded_seconds += duration
            self.cut += stall.state == "cut"
            if duration > self.recorded_worst:
                self.recorded_worst = duration
        if not taken:
            return
        if counts(stall.allowed, stall.phase):
            self.stalls += 1
            self.stalled += duration
            if duration > self.worst:
                self.worst = duration
            if duration > self.worst_serving and stall.phase != "shutdown":
                self.worst_serving = duration
            self.requests_delayed += stall.requests_delayed
        elif stall.allowed:
            self.allowed += 1
            self.allowed_seconds += duration
        else:
            self.startup += 1
            self.startup_seconds += duration

    def add_lost(self, stalls: int, seconds: float, longest: float) -> None:
        """Add stalls of which no more is known than this, or time of such as are cut. When that was is not known: it
        counts."""
        self.stalls += stalls
        self.stalled += seconds
        self.worst = max(self.worst, longest)
        self.worst_serving = max(self.worst_serving, longest)

    def absorb(self, other: Count) -> None:
        """Add another count."""
        for name in _SUMS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in _MOST:
            setattr(self, name, max(getattr(self, name), getattr(other, name)))


_MOST = ("worst", "worst_serving", "recorded_worst")
_SUMS = tuple(field.name for field in fields(Count) if field.name not in _MOST)
