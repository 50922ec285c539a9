"""The nouns of a recording: frames, stacks, stalls, loops, processes. A leaf, standard library only.

Both halves speak in these: the watched process hands `Stall` objects to its user, the reports are made from
`Run` (see `loopwatch.analysis.run`). Durations are seconds and points in time Unix seconds, both as floats,
unless a name says otherwise.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

# Whose code a frame is: the user's own, an installed package's, the standard library's, the event loop's.
Kind = Literal["app", "library", "stdlib", "loop"]

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

# The functions of a loop that run callbacks: what stands further out than these is not part of any callback.
_RUNNERS = frozenset({"run", "run_forever", "run_until_complete", "_run_once", "_run"})


PlaceKey = tuple[str, int, str]
"""Of a frame: see `place_key`."""

_END: PlaceKey = "", -1, ""  # after the innermost own line


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the code. `line` is 0 where the code has none; columns count UTF-8 bytes from 0."""

    file: str
    function: str
    line: int = 0
    end_line: int = 0
    column: int | None = None
    end_column: int | None = None
    kind: Kind = "app"

    @property
    def runs_callbacks(self) -> bool:
        """Whether this is the event loop itself, calling into what it was given."""
        return self.kind == "loop" and self.function.rpartition(".")[2] in _RUNNERS


@dataclass(frozen=True, slots=True, eq=False)
class Stack:
    """A stack as its innermost frame on top of the stack below it, so that stacks share what they have in common.

    Equal stacks are equal and hash alike whichever process they come from. The three frames that tell where a
    stall belongs, and which of them it is, are worked out once, when the stack is made: each looks only at the
    callback, that is at the frames further in than the innermost one that is the loop's own `_run`. A loop in C has
    no such frame; that the main module is not part of a callback is then all that is known.
    """

    frame: Frame
    parent: Stack | None = field(default=None, repr=False)
    depth: int = field(init=False)
    own: Frame | None = field(init=False, repr=False)  # innermost frame of the user's own code
    library: Frame | None = field(init=False, repr=False)  # outermost frame of a library
    first: Frame | None = field(init=False, repr=False)  # outermost frame of any kind
    place: Frame = field(init=False, repr=False)
    """The frame that a stall with this stack is put down to: the user's own, else the outermost of a library, else the
    outermost of anything."""
    key: PlaceKey = field(init=False, repr=False)  # `place_key` of the place
    _hash: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        frame, outer = self.frame, self.parent
        put = object.__setattr__
        put(self, "depth", outer.depth + 1 if outer else 1)
        put(self, "_hash", hash((outer._hash if outer else 0, frame)))
        outside = frame.runs_callbacks or _is_main_module(frame, outer)
        own, library, first = (outer.own, outer.library, outer.first) if outer and not outside else (None, None, None)
        if not outside:
            own = frame if frame.kind == "app" else own
            library = frame if library is None and frame.kind == "library" else library
            first = first or frame
        put(self, "own", own)
        put(self, "library", library)
        put(self, "first", first)
        place = own or library or first or frame
        put(self, "place", place)
        put(self, "key", outer.key if outer and outer.place is place else place_key(place))

    def walk(self) -> Iterator[Frame]:
        """The frames, innermost first."""
        node: Stack | None = self
        while node is not None:
            yield node.frame
            node = node.parent

    @property
    def frames(self) -> tuple[Frame, ...]:
        """The frames, outermost first."""
        return tuple(self.walk())[::-1]

    def __reduce__(self) -> tuple[object, ...]:
        # Frame by frame: pickle would recurse over the parents, and hashes differ from process to process.
        return _restacked, (self.frames,)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Stack):
            return NotImplemented
        if self._hash != other._hash or self.depth != other.depth:
            return False
        mine: Stack | None = self
        theirs: Stack | None = other
        while mine is not None and theirs is not None:  # a loop: stacks are deeper than Python likes to recurse
            if mine is theirs:
                return True
            if mine.frame != theirs.frame:
                return False
            mine, theirs = mine.parent, theirs.parent
        return mine is theirs


def _restacked(frames: tuple[Frame, ...]) -> Stack | None:
    stack: Stack | None = None
    for frame in frames:
        stack = Stack(frame, stack)
    return stack


def _is_main_module(frame: Frame, outer: Stack | None) -> bool:
    """Whether this is the program itself: with nothing outside it, but what `python -m` needs."""
    if frame.function != "<module>":
        return False
    return outer is None or all("runpy" in each.file for each in outer.walk())


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
        """The most sampled stack of the place that most samples have in common; None without samples.

        Where no place has half of them, code that calls many small functions would lose to a single long call, though
        it took longer: then it is the place that one comes to by going, from the outermost own line on, where most
        samples went.
        """
        if len(self.stacks) == 1:
            return self.stacks[0][0]
        samples: Counter[PlaceKey] = Counter()
        for stack, count in self.stacks:
            samples[stack.key] += count
        if not samples:
            return None
        place = _most(samples)
        if 2 * samples[place] >= samples.total():
            return next(stack for stack, _ in self.stacks if stack.key == place)
        return _followed(self.stacks)

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


def _most(samples: Counter[PlaceKey]) -> PlaceKey:
    """What has the most samples; of equals the one that sorts first, so that a recording always gives one report."""
    most = max(samples.values())
    return min([key for key, count in samples.items() if count == most])


def _way(stack: Stack) -> list[PlaceKey]:
    """The own lines of a stack, innermost first, and an end; its place, if it has none."""
    way = [_END]
    node: Stack | None = stack
    while node is not None and node.own is not None:
        if node.own is node.frame:
            way.append(node.key)
        node = node.parent
    return way if len(way) > 1 else [_END, stack.key]


def _followed(stacks: tuple[tuple[Stack, int], ...]) -> Stack:
    """The most sampled stack that is left after going where most samples went, from line to line, to the last one."""
    left = [(stack, count, _way(stack)) for stack, count in stacks]
    line = None
    while line != _END:
        samples: Counter[PlaceKey] = Counter()
        for _, count, way in left:
            samples[way[-1]] += count
        line = _most(samples)
        left = [each for each in left if each[2].pop() == line]
    return left[0][0]


def place_key(frame: Frame) -> PlaceKey:
    """What makes two samples the same place: file, line and function. Columns do not: they move within a line."""
    return frame.file, frame.line, frame.function


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
