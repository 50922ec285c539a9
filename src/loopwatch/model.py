"""The nouns of a recording: frames, stacks, stalls, loops, processes. Nothing but the standard library.

Both halves speak in these: the watched process hands `Stall` objects to its user, the reports are made from
`Run` (see `loopwatch.analysis.run`). Durations are seconds and points in time Unix seconds, both as floats,
unless a name says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from loopwatch.stack import Frame, Stack, heaviest

# How a stall stands:
#   ended    its end is known, its duration exact
#   running  it lasts still; its duration is that so far
#   gone     it lasted until the process was gone; its duration is that up to the last record
#   cut      it has ended, but the record of its end is not there; its duration is at least this
State = Literal["ended", "running", "gone", "cut"]

# Where in its life a loop's server was:
#   startup   before it could serve its first request
#   serving   while it served
#   shutdown  after it was told to stop
#   other     the loop serves nothing that is known of
Phase = Literal["startup", "serving", "shutdown", "other"]

# What the loop's thread was doing; docs/causes.md says how they are told apart.
Cause = Literal["python", "native", "blocked", "gil", "gc", "starved"]
CAUSES: tuple[Cause, ...] = ("python", "native", "blocked", "gil", "gc", "starved")


@dataclass(frozen=True, slots=True)
class Holder:
    """Who held the GIL in so many samples, while a loop's thread waited for it. Its stack could not always be read."""

    thread: str
    stack: Stack | None
    samples: int


class Activity(NamedTuple):
    """What the loop's thread was doing in a stall, in seconds. Empty or None is what was not recorded."""

    causes: tuple[tuple[Cause, float], ...] = ()  # most first; together they are the whole stall
    gil_held: float = 0.0  # of the time in `native`: with the GIL held
    cpu: float | None = None  # of the whole stall, estimated from the part between the first and the last sample
    run_delay: float | None = None  # between these samples: without a CPU, though ready to run
    throttled: float | None = None  # in the same time: held up by the container's CPU quota
    longest: float | None = None  # the longest time within one callback
    holders: tuple[Holder, ...] = ()  # most sampled first

    @property
    def cause(self) -> Cause | Literal[""]:
        """What took most of the time; empty where that is not known."""
        return self.causes[0][0] if self.causes else ""

    def stretched(self, factor: float) -> Activity:
        """The same over a stall that is longer by this factor."""
        return self._replace(
            causes=tuple((cause, seconds * factor) for cause, seconds in self.causes),
            gil_held=self.gil_held * factor,
            cpu=None if self.cpu is None else self.cpu * factor,
            longest=None if self.longest is None else self.longest * factor,
        )


NO_ACTIVITY = Activity()  # of a stall without samples, or from a recording that does not say


@dataclass(frozen=True, slots=True)
class Stall:
    """One iteration of an event loop that lasted at least the threshold.

    `start` is in Unix seconds, `duration` in seconds. `callbacks` is how many callbacks the loop ran in it.
    `stacks` are the stacks seen, each with its number of samples, most first; `samples` counts them all,
    `outer` those of them that show the outer frames only, since the others changed too fast, `omitted` those whose
    stack was not kept and `torn` those that had to be thrown away.

    `request` is the number of the culprit, the request whose code it was, and `endpoint` what that one asked for;
    0 and empty where it was no request's or that is not known. `requests_delayed` is how many requests had to wait
    for it, each at most as long as it lasted.
    """

    start: float
    duration: float
    callbacks: int = 0
    samples: int = 0
    stacks: tuple[tuple[Stack, int], ...] = ()
    torn: int = 0
    outer: int = 0
    omitted: int = 0
    allowed: bool = False
    state: State = "ended"
    pid: int = 0
    thread: str = ""
    loop: int = 0
    iteration: int = 0
    request: int = 0
    endpoint: str = ""
    requests_delayed: int = 0
    phase: Phase = "other"
    activity: Activity = NO_ACTIVITY

    @property
    def cause(self) -> Cause | Literal[""]:
        """What the loop's thread was doing for most of it; empty where that is not known."""
        return self.activity.cause

    @property
    def duration_ms(self) -> float:
        """Its length in milliseconds."""
        return self.duration * 1e3

    @property
    def end(self) -> float:
        """When it ended, or how far it is known, in Unix seconds."""
        return self.start + self.duration

    @property
    def running(self) -> bool:
        """Whether it lasts still."""
        return self.state == "running"

    @property
    def place(self) -> Frame | None:
        """Where it comes from: the place that most samples have in common; None without samples."""
        stack = self.stack
        return stack.place if stack else None

    @property
    def stack(self) -> Stack | None:
        """The most sampled stack of the place that it is put down to; None without samples."""
        return heaviest(self.stacks)

    @property
    def file(self) -> str:
        """The file of the line that it is put down to; empty without samples."""
        return place.file if (place := self.place) else ""

    @property
    def line(self) -> int:
        """The line that it is put down to; 0 without samples."""
        return place.line if (place := self.place) else 0

    @property
    def function(self) -> str:
        """The function of that line, with its class; empty without samples."""
        return place.function if (place := self.place) else ""


@dataclass(frozen=True, slots=True)
class Loop:
    """One event loop, with the figures of its newest summary. `seconds` is how long it was watched.

    `stalls`, `stalled` and `worst` are as recorded here; a `Run` counts them by its own rules.
    """

    id: int
    kind: str = "other"
    poll: str = ""
    thread: str = ""
    running: bool = False
    seconds: float = 0.0
    busy: float = 0.0
    iterations: int = 0
    stalls: int = 0
    stalled: float = 0.0
    worst: float = 0.0
    samples: int = 0
    torn: int = 0
    cut: int = 0  # samples of stacks that were deeper than what is kept
    outer: int = 0  # samples that show the outer frames only: the others changed too fast
    omitted: int = 0  # samples beyond the number of distinct stacks kept for one stall
    unsampled: int = 0
    lost: int = 0
    requests: int = 0
    requests_untracked: int = 0  # of these: not in the table of those in flight, which was full
    histogram: tuple[int, ...] = ()

    @property
    def utilization(self) -> float:
        """The share of its time in which it was not waiting in its poll, 0 to 1."""
        return min(1.0, self.busy / self.seconds) if self.seconds > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Damage:
    """What could not be read of a process's files, or was never written. All zero for most."""

    garbage: int = 0  # lines that are not JSON objects
    unresolved: int = 0  # stacks that were referred to but are not there
    dropped: int = 0  # records that the writer could not keep
    parts_missing: int = 0  # parts that rotation has deleted
    headless: bool = False  # no header: what is known comes from the file's name
    newer: str = ""  # the schema, when a newer loopwatch wrote it
    unreadable: str = ""  # why a file could not be read to its end


@dataclass(frozen=True, slots=True)
class Process:
    """One watched process. `started` is when watching began and `seen` the time of its newest record."""

    pid: int
    parent_pid: int = 0
    python: str = ""
    executable: str = ""
    command: tuple[str, ...] = ()
    cwd: str = ""
    platform: str = ""
    version: str = ""
    started: float = 0.0
    seen: float = 0.0
    threshold: float = 0.0
    interval: float = 0.0
    stacks: bool = True
    ended: bool = False  # watching ended in order
    loops: tuple[Loop, ...] = ()
    notes: tuple[str, ...] = ()
    damage: Damage = Damage()


@dataclass(frozen=True, slots=True)
class Unwatched:
    """A process in which loopwatch could not start, and why."""

    pid: int
    executable: str
    command: tuple[str, ...]
    reason: str
