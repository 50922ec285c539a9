"""A whole run: recordings read to their ends, stalls put to their sites, figures that add up.

Stalls are read as a stream. What stays in memory is bounded: a few numbers for each stall, and the longest ones
themselves; `stalls_omitted` counts the rest.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from loopwatch.analysis.count import Count
from loopwatch.analysis.liveness import is_running
from loopwatch.analysis.roles import Role, roles
from loopwatch.analysis.selection import Selection
from loopwatch.analysis.sites import Site, SiteTable, counts
from loopwatch.errors import RecordingError
from loopwatch.model import CAUSES, Cause, Loop, Phase, Process, Stall, State, Unwatched
from loopwatch.recording import ProcessFiles, Recording, read_process
from loopwatch.recording.files import starters

MOST_STALLS = 100_000


@dataclass(frozen=True, slots=True)
class PlacedStall:
    """A stall without its stacks, at its site: an index into `Run.sites`."""

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


def load(
    recordings: Iterable[Recording],
    selection: Selection | None = None,
    *,
    clock: Callable[[], float] = time.time,
    alive: Callable[[Process], bool] = is_running,
    most_stalls: int = MOST_STALLS,
) -> Run:
    """Read recordings to their ends. `RecordingError` when there is nothing in them that can be read."""
    recordings = list(recordings)
    reader = _Reader(selection or Selection(), clock, alive, most_stalls)
    for recording in recordings:
        for files in recording.processes:
            reader.read(files)
    unwatched = tuple(each for recording in recordings for each in recording.unwatched)
    if not reader.processes and not unwatched:
        raise reader.failure(recordings)
    return reader.run(tuple(recording.path for recording in recordings), unwatched)


@dataclass(slots=True)
class _Reader:
    selection: Selection
    clock: Callable[[], float]
    alive: Callable[[Process], bool]
    most_stalls: int
    processes: list[tuple[Process, bool, tuple[Loop, ...]]] = field(default_factory=list)
    sites: SiteTable = field(default_factory=SiteTable)
    heap: list[tuple[float, int, PlacedStall]] = field(default_factory=list)
    total: Count = field(default_factory=Count)
    taken: int = 0
    lost: int = 0
    endpoints: set[str] = field(default_factory=set)
    unplaced: int = 0
    skipped: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def read(self, files: ProcessFiles) -> None:
        decoder = files.decoder()
        counts: dict[int, Count] = {}
        running: bool | None = None
        for stall in read_process(files, decoder):
            if stall.state == "running":
                if running is None:  # open stalls come last: the header has been read
                    running = self.alive(decoder.process)
                stall, recorded = self._unfinished(stall, running), stall
                counts.setdefault(stall.loop, Count()).beyond += stall.duration - recorded.duration
            self._add(stall, decoder.header, counts.setdefault(stall.loop, Count()))
        process = decoder.process
        if decoder.unreadable and not decoder.records:
            self.unreadable.append(decoder.unreadable)
            return
        if not decoder.records and not files.pid:
            self.skipped += files.parts
            return
        running = self.alive(process) if running is None else running
        loops = tuple(self._loop(loop, counts.get(loop.id, Count())) for loop in process.loops)
        self.processes.append((process, running, loops))

    def failure(self, recordings: list[Recording]) -> RecordingError:
        where = ", ".join(str(recording.path) for recording in recordings)
        if self.unreadable:
            reason = f"{where} cannot be read ({self.unreadable[0]})"
            return RecordingError(reason, "name a recording that you may read")
        if self.skipped:
            path = self.skipped[0]
            empty = path.is_file() and path.stat().st_size == 0
            message = f"{path} is empty" if empty else f"{path} is not a loopwatch recording"
            return RecordingError(message, "name the folder of a run: loopwatch report .loopwatch/RUN")
        return RecordingError(f"{where} holds no recording", "record one first: loopwatch run COMMAND")

    def run(self, paths: tuple[Path, ...], unwatched: tuple[Unwatched, ...]) -> Run:
        pids = {process.pid for process, _, _ in self.processes}
        # The first of a run is who nobody else in it has started, as far as that can be told.
        self.processes.sort(key=lambda item: (item[0].parent_pid in pids, item[0].started, item[0].pid))
        first = self.processes[0][0] if self.processes else Process(0)
        now = self.clock()
        started = min((process.started for process, _, _ in self.processes), default=now)
        last = max((now if running else process.seen for process, running, _ in self.processes), default=now)
        all_roles = roles([process for process, _, _ in self.processes], starters(paths))
        sites, places = self.sites.finish()
        stalls = sorted((stall for _, _, stall in self.heap), key=lambda stall: (-stall.duration, stall.start))
        total = self.total
        return Run(
            paths=paths,
            command=first.command,
            cwd=first.cwd,
            started=started,
            seconds=max(0.0, last - started),
            threshold=first.threshold,
            interval=first.interval,
            processes=tuple(
                WatchedProcess(process, running, role, loops)
                for (process, running, loops), role in zip(self.processes, all_roles, strict=True)
            ),
            unwatched=unwatched,
            totals=Totals(
                stalls=total.stalls,
                stalled=total.stalled,
                worst=total.worst,
                allowed=total.allowed,
                allowed_seconds=total.allowed_seconds,
                startup=total.startup,
                startup_seconds=total.startup_seconds,
                worst_serving=total.worst_serving,
                requests=sum(loop.requests for _, _, loops in self.processes for loop in loops),
                requests_untracked=sum(loop.requests_untracked for _, _, loops in self.processes for loop in loops),
                requests_delayed=total.requests_delayed,
                lost=self.lost,
                unplaced=self.unplaced,
                dropped=sum(process.damage.dropped for process, _, _ in self.processes),
                causes=_causes(sites),
            ),
            sites=tuple(sites),
            stalls=tuple(replace(stall, site=places[stall.site]) for stall in stalls),
            stalls_omitted=self.taken - len(stalls) + self.lost + self.unplaced,
            selection=self.selection,
            endpoints=tuple(sorted(self.endpoints)),
            skipped=tuple(self.skipped),
            unreadable=tuple(self.unreadable),
        )

    def _unfinished(self, stall: Stall, running: bool) -> Stall:
        if not running:
            return replace(stall, state="gone")
        # The newest record of a stuck process may be old: it is written less and less often.
        duration = max(stall.duration, self.clock() - stall.start)
        factor = duration / stall.duration if stall.duration else 1.0
        return replace(stall, duration=duration, activity=stall.activity.stretched(factor))

    def _add(self, stall: Stall, process: Process, count: Count) -> None:
        taken = self.selection.takes(stall)
        count.add(stall, taken)
        if stall.endpoint:
            self.endpoints.add(stall.endpoint)
        if not taken:
            return
        self.total.add(stall, taken)
        activity = stall.activity
        site = self.sites.add(stall, threshold=process.threshold, since=process.started)
        placed = PlacedStall(
            stall.start,
            stall.duration,
            stall.pid,
            stall.callbacks,
            stall.samples,
            stall.allowed,
            stall.state,
            site,
            stall.request,
            stall.endpoint,
            stall.requests_delayed,
            stall.phase,
            activity.cause,
            activity.cpu,
            activity.run_delay,
            activity.throttled,
        )
        self.taken += 1
        entry = (stall.duration, self.taken, placed)
        if len(self.heap) < self.most_stalls:
            heapq.heappush(self.heap, entry)
        else:
            heapq.heappushpop(self.heap, entry)

    def _loop(self, loop: Loop, count: Count) -> Loop:
        """A loop with its stalls counted, and those found that its counters know of but that are not recorded."""
        stalls, stalled, worst = count.stalls, count.stalled, count.worst
        missing = loop.stalls - count.recorded
        if missing > 0 and not self.selection.everything:
            self.unplaced += missing
        elif missing > 0:
            seconds = max(0.0, loop.stalled - count.recorded_seconds)
            longest = loop.worst if loop.worst > count.recorded_worst else min(seconds, count.recorded_worst)
            self.sites.add_lost(missing, seconds, longest)
            self.lost += missing
            stalls, stalled, worst = stalls + missing, stalled + seconds, max(worst, longest)
            self.total.add_lost(missing, seconds, longest)
        busy = max(loop.busy, loop.stalled, count.recorded_seconds) + count.beyond
        return replace(
            loop,
            seconds=max(loop.seconds + count.beyond, busy),
            busy=busy,
            stalls=stalls,
            stalled=stalled,
            worst=worst,
            samples=max(loop.samples, count.samples),
            torn=max(loop.torn, count.torn),
            unsampled=max(loop.unsampled, count.unsampled),
        )


def _causes(sites: Iterable[Site]) -> tuple[tuple[Cause, float], ...]:
    """The time of each cause in all sites that count, most first."""
    counted = [site.why for site in sites if site.counted]
    found = ((cause, sum(why.seconds(cause) for why in counted)) for cause in CAUSES)
    return tuple(sorted((each for each in found if each[1]), key=lambda each: -each[1]))
