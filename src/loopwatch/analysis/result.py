"""What a run is: its processes, totals, sites and stalls. Reports are made from it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from loopwatch.analysis.roles import Role
from loopwatch.analysis.selection import Selection
from loopwatch.analysis.sites import Site, counts
from loopwatch.analysis.timeline import Timeline
from loopwatch.model import Cause, Loop, Phase, Process, State, Unwatched


@dataclass(slots=True)
class PlacedStall:
    """A stall without its stacks, at its site: an index into `Run.sites`. Not to be changed by whoever has a `Run`."""

    start: float
    duration: float
    pid: int
    callbacks: int
    samples: int
    allowed: bool
    state: State
    site: int
    request: int = 0
    endpoint: str = ""
    requests_delayed: int = 0
    phase: Phase = "other"
    cause: Cause | Literal[""] = ""
    cpu: float | None = None
    run_delay: float | None = None
    throttled: float | None = None

    @property
    def counted(self) -> bool:
        """Whether the totals include it."""
        return counts(self.allowed, self.phase)


@dataclass(frozen=True, slots=True)
class WatchedProcess:
    """A process with its loops' stalls counted by the run's rules, and whether it is still there."""

    process: Process
    running: bool
    role: Role
    loops: tuple[Loop, ...]


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all sites that count, and beside them over those that do not: allowed, or at start-up. Seconds."""

    stalls: int = 0
    stalled: float = 0.0
    worst: float = 0.0
    allowed: int = 0
    allowed_seconds: float = 0.0
    startup: int = 0
    startup_seconds: float = 0.0
    worst_serving: float = 0.0  # without those at shutdown
    requests: int = 0  # begun, whether any stall touched them or not
    requests_untracked: int = 0
    requests_delayed: int = 0  # once for each stall that they had to wait for
    lost: int = 0  # of the stalls: those that only the counters know of
    unplaced: int = 0  # the same, not of the stalls: whether a selection takes them cannot be told
    dropped: int = 0  # records that could not be written
    causes: tuple[tuple[Cause, float], ...] = ()  # seconds, most first


@dataclass(frozen=True, slots=True)
class Run:
    """What reports are made from. `sites` by total, `stalls` by duration, longest first; seconds throughout."""

    paths: tuple[Path, ...]
    command: tuple[str, ...]
    cwd: str
    started: float
    seconds: float
    threshold: float
    interval: float
    processes: tuple[WatchedProcess, ...]
    unwatched: tuple[Unwatched, ...]
    totals: Totals
    sites: tuple[Site, ...]
    stalls: tuple[PlacedStall, ...]
    stalls_omitted: int
    selection: Selection
    endpoints: tuple[str, ...] = ()  # of the culprits of all stalls, whatever was selected
    skipped: tuple[Path, ...] = ()  # files in the recording's folder that are none
    unreadable: tuple[str, ...] = ()  # files of which nothing could be read, each with the reason
    timeline: Timeline = field(default_factory=Timeline)  # of all stalls that were taken
