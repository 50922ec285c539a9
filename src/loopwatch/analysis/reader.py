"""Takes the stalls of processes one by one, and keeps what a run needs of them.

What stays in memory is bounded: a few numbers for each stall, and the longest ones themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

from loopwatch.analysis.count import Count
from loopwatch.analysis.result import PlacedStall, Run, Totals, WatchedProcess
from loopwatch.analysis.roles import roles
from loopwatch.analysis.selection import Selection
from loopwatch.analysis.sites import Site, SiteTable
from loopwatch.analysis.timeline import Timeline
from loopwatch.errors import RecordingError
from loopwatch.model import CAUSES, Cause, Loop, Process, Stall, Unwatched
from loopwatch.recording import Decoder, ProcessFiles, Recording, read_process

_ROUNDED = 1e-6  # seconds: less is no time that is missing, but what sums are off by
_Rank: TypeAlias = tuple[bool, float, int]  # of a stall: without an end, how long, how early


@dataclass(slots=True)
class Reader:
    """Takes processes one by one, and readers of others, and keeps what a run needs of them."""

    selection: Selection
    clock: Callable[[], float]
    alive: Callable[[Process], bool]
    most_stalls: int
    processes: list[tuple[Process, bool, tuple[Loop, ...]]] = field(default_factory=list)
    sites: SiteTable = field(default_factory=SiteTable)
    heap: list[tuple[_Rank, PlacedStall]] = field(default_factory=list)
    total: Count = field(default_factory=Count)
    taken: int = 0
    lost: int = 0
    endpoints: set[str] = field(default_factory=set)
    unplaced: int = 0
    timeline: Timeline = field(default_factory=Timeline)
    skipped: list[Path] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    _asked: tuple[Process, bool] | None = None

    def empty(self) -> Reader:
        """Another one of the same kind that has taken nothing yet."""
        return Reader(self.selection, self.clock, self.alive, self.most_stalls)

    def absorb(self, other: Reader) -> None:
        """Take all that another one has taken."""
        numbers = self.sites.absorb(other.sites)
        for (unfinished, duration, _), stall in other.heap:
            self.taken += 1
            stall.site = numbers[stall.site]
            self._keep((unfinished, duration, -self.taken), stall)
        self.taken += other.taken - len(other.heap)
        self.total.absorb(other.total)
        self.timeline.absorb(other.timeline)
        self.processes += other.processes
        self.lost += other.lost
        self.unplaced += other.unplaced
        self.endpoints |= other.endpoints
        self.skipped += other.skipped
        self.unreadable += other.unreadable

    def read(self, files: ProcessFiles, progress: Callable[[int], object] | None = None) -> None:
        """Take a process."""
        decoder, counts = files.decoder(), dict[int, Count]()
        for stall in read_process(files, decoder, progress):
            self.take(stall, decoder, counts)
        self.close(files, decoder, counts)

    def take(self, stall: Stall, decoder: Decoder, counts: dict[int, Count]) -> None:
        """Take a stall of a process; `counts` are those of its loops. One that is open has to be among the last."""
        count = counts.get(stall.loop)
        if count is None:
            count = counts[stall.loop] = Count()
        if stall.state == "running":
            recorded, stall = stall, self._unfinished(stall, self._alive(decoder))
            count.beyond += stall.duration - recorded.duration
        self._add(stall, decoder.header, count)

    def close(self, files: ProcessFiles, decoder: Decoder, counts: dict[int, Count]) -> None:
        """Take the process, after its stalls."""
        process = decoder.process
        if decoder.unreadable and not decoder.records:
            self.unreadable.append(decoder.unreadable)
            return
        if not decoder.records and not files.pid:
            self.skipped += files.parts
            return
        running = self._alive(decoder)
        for count in counts.values():
            self.total.absorb(count)
        known = decoder.loops(self.clock()) if running else process.loops
        loops = tuple(self._loop(loop, counts.get(loop.id, Count())) for loop in known)
        self.processes.append((process, running, loops))

    def _alive(self, decoder: Decoder) -> bool:
        header = decoder.header
        if self._asked is None or self._asked[0] is not header:  # once for each process
            self._asked = header, self.alive(decoder.process)
        return self._asked[1]

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
        all_roles = roles([process for process, _, _ in self.processes], paths)
        sites, places = self.sites.finish()
        # Copies: what a reader has taken may be asked for again when it has taken more.
        stalls = sorted((copy(stall) for _, stall in self.heap), key=lambda stall: (-stall.duration, stall.start))
        for stall in stalls:
            stall.site = places[stall.site]
        total = self.total
        return Run(
            paths=paths,
            command=first.command,
            cwd=first.cwd,
            started=started,
            # A file is made a moment after its first loop has begun.
            seconds=max(0.0, last - started, *(loop.seconds for _, _, loops in self.processes for loop in loops)),
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
            stalls=tuple(stalls),
            stalls_omitted=self.taken - len(stalls) + self.lost + self.unplaced,
            selection=self.selection,
            endpoints=tuple(sorted(self.endpoints)),
            skipped=tuple(self.skipped),
            unreadable=tuple(self.unreadable),
            timeline=self.timeline,
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
        self.timeline.add(stall.start, stall.duration)
        site = self.sites.add(stall, threshold=process.threshold, since=process.started)
        self.taken += 1
        # Those without an end are shown first, however short.
        rank = stall.state in ("running", "gone"), stall.duration, -self.taken
        if len(self.heap) < self.most_stalls or (self.heap and rank > self.heap[0][0]):
            self._keep(rank, _placed(stall, site))

    def _keep(self, rank: _Rank, stall: PlacedStall) -> None:
        if len(self.heap) < self.most_stalls:
            heapq.heappush(self.heap, (rank, stall))
        else:
            heapq.heappushpop(self.heap, (rank, stall))

    def _loop(self, loop: Loop, count: Count) -> Loop:
        """A loop with its stalls counted, and what its counters know of but is not recorded: stalls, and the rest of
        those that are cut."""
        stalls, stalled, worst = count.stalls, count.stalled, count.worst
        missing = max(0, loop.stalls - count.recorded)
        seconds = max(0.0, loop.stalled - count.recorded_seconds)
        if not self.selection.everything:
            self.unplaced += missing
        elif missing or (count.cut and seconds > _ROUNDED):
            longest = loop.worst if loop.worst > count.recorded_worst else min(seconds, count.recorded_worst)
            # The longest may be one that is recorded in part: a site has none that is longer than all of its time.
            self.sites.add_lost(missing, seconds, min(seconds, longest))
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
            outer=max(loop.outer, count.outer),
            omitted=count.omitted,
            unsampled=max(loop.unsampled, count.unsampled),
        )


def _placed(stall: Stall, site: int) -> PlacedStall:
    activity = stall.activity
    return PlacedStall(
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


def _causes(sites: Iterable[Site]) -> tuple[tuple[Cause, float], ...]:
    """The time of each cause in all sites that count, most first."""
    counted = [site.why for site in sites if site.counted]
    found = ((cause, sum(why.seconds(cause) for why in counted)) for cause in CAUSES)
    return tuple(sorted((each for each in found if each[1]), key=lambda each: -each[1]))
