"""Sites: where stalls come from.

A stall belongs to exactly one site, so that the sites' totals add up to the whole: the place (`Stack.place`) that
`heaviest` (stack.py) finds in its samples. A stall without a sample has a site all the same, which says so.

Places are lines, yet a loop in pure Python moves over several, and which of them was sampled most is chance. So
two lines of one function become one site when each is seen a good deal in the stalls of the other.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from loopwatch.analysis.causes import UNKNOWN, Why, WhyTally
from loopwatch.analysis.flame import Weights
from loopwatch.analysis.shape import Shape, shape_of
from loopwatch.model import Cause, Phase, Stall
from loopwatch.stack import Frame, Stack, place_key

# What a site stands for:
#   own        a line of the user's own code
#   library    no frame of it was on the stack: the outermost one of a library, or of the standard library
#   loop       nothing but the event loop itself was on the stack
#   unsampled  the watchdog took no sample
#   unknown    samples were taken, but their stacks are not in the recording
#   lost       only the loop's counters know of these stalls: their records are not in the recording
Basis = Literal["own", "library", "loop", "unsampled", "unknown", "lost"]

_MINGLED = 0.1  # lines of one function are one site when they have this share of each other's samples
_NOWHERE = "", 0, ""  # the place of a stall without a stack
_MOST_STACKS = 1000  # distinct stacks kept per site while reading; the rarest go first


@dataclass(frozen=True, slots=True)
class Endpoint:
    """What requests asked for, with the stalls of one site that they are the culprits of; seconds."""

    name: str
    count: int
    total: float


@dataclass(frozen=True, slots=True)
class Site:
    """Stalls of one origin in one phase. Durations are in seconds; percentiles are by nearest rank.

    `stack` is the one most often sampled, `share` its share of the site's samples; `frame` its frame of the place
    and `blocking` its innermost one. All four are None or 0 where there are no samples. `endpoints` has the longest
    total first, and not the stalls of no request that is known.
    """

    basis: Basis
    allowed: bool
    count: int
    total: float
    p50: float
    p99: float
    longest: float
    samples: int
    shape: Shape
    callbacks: float  # per stall
    running: int  # how many of the stalls last still
    stack: Stack | None = None
    share: float = 0.0
    since: float = 0.0  # when the process of that stack began to be watched, Unix seconds
    phase: Phase = "other"
    endpoints: tuple[Endpoint, ...] = ()
    requests_delayed: int = 0
    weights: tuple[tuple[Stack | None, float], ...] = ()
    why: Why = UNKNOWN

    @property
    def cause(self) -> Cause | Literal[""]:
        """What the loop's thread was doing for most of the time; empty where that is not known."""
        return self.why.cause

    @property
    def counted(self) -> bool:
        """Whether the totals include it: what was allowed is apart, and so is what a server does before it serves."""
        return counts(self.allowed, self.phase)

    @property
    def frame(self) -> Frame | None:
        """The line that the site is."""
        return self.stack.place if self.stack else None

    @property
    def blocking(self) -> Frame | None:
        """The innermost frame: the call that blocks, or the line itself."""
        return self.stack.frame if self.stack else None


def counts(allowed: bool, phase: Phase) -> bool:
    """Whether such stalls are part of the totals."""
    return not allowed and phase != "startup"


class _Key(NamedTuple):
    basis: Basis
    allowed: bool
    phase: Phase
    file: str = ""
    line: int = 0
    function: str = ""


@dataclass(slots=True)
class _Tally:
    """A site in the making."""

    number: int
    durations: array[float] = field(default_factory=lambda: array("d"))
    stacks: dict[Stack, list[float]] = field(default_factory=dict)  # samples, process start
    weights: Weights = field(default_factory=Weights)
    lines: Counter[int] = field(default_factory=Counter)  # samples per line of the site's function
    samples: int = 0
    callbacks: int = 0
    single: float = 0.0  # seconds in stalls of one long callback
    running: int = 0
    delayed: int = 0
    endpoints: dict[str, list[float]] = field(default_factory=dict)  # count, seconds
    uncounted: int = 0  # stalls of which only the sum is known
    uncounted_seconds: float = 0.0
    longest: float = 0.0
    why: WhyTally = field(default_factory=WhyTally)

    def add(self, stall: Stall, single: bool) -> None:
        """Add a stall, but for its samples."""
        duration, endpoint = stall.duration, stall.endpoint
        self.durations.append(duration)
        if duration > self.longest:
            self.longest = duration
        self.samples += stall.samples
        self.callbacks += stall.callbacks
        self.running += stall.state == "running"
        self.delayed += stall.requests_delayed
        if endpoint:
            self.credit(endpoint, 1, duration)
        if single:
            self.single += duration
        self.weights.add(stall)
        self.why.add(stall.activity)

    def add_samples(self, stacks: tuple[tuple[Stack, int], ...], stack: Stack, own: bool, since: float) -> int:
        """Add the samples of a stall that is put down to this stack; returns how many of them speak for it."""
        file, line, function = stack.key
        here = 0
        for each, samples in stacks:
            its_file, its_line, its_function = each.key
            if its_function != function or its_file != file:
                continue
            self.lines[its_line] += samples
            if its_line == line:
                # That two samples share the outermost frame of a library says little: it is any callback's.
                here += samples if own or each is stack or _same_function(each, stack) else 0
                if (known := self.stacks.get(each)) is not None:
                    known[0] += samples
                else:
                    self.stacks[each] = [samples, since]
        if len(self.stacks) > _MOST_STACKS:
            kept = sorted(self.stacks.items(), key=lambda item: -item[1][0])[: _MOST_STACKS // 2]
            self.stacks = dict(kept)
        return here

    def absorb(self, other: _Tally) -> None:
        self.durations.extend(other.durations)
        for stack, (samples, since) in other.stacks.items():
            self.stacks.setdefault(stack, [0, since])[0] += samples
        self.weights.absorb(other.weights)
        self.lines.update(other.lines)
        self.samples += other.samples
        self.callbacks += other.callbacks
        self.single += other.single
        self.running += other.running
        self.delayed += other.delayed
        for name, (count, seconds) in other.endpoints.items():
            self.credit(name, count, seconds)
        self.uncounted += other.uncounted
        self.uncounted_seconds += other.uncounted_seconds
        self.longest = max(self.longest, other.longest)
        self.why.absorb(other.why)

    def credit(self, endpoint: str, count: float, seconds: float) -> None:
        if (mine := self.endpoints.get(endpoint)) is not None:
            mine[0] += count
            mine[1] += seconds
        else:
            self.endpoints[endpoint] = [count, seconds]


class SiteTable:
    """Takes stalls one by one and keeps what their sites need, not the stalls."""

    def __init__(self) -> None:
        self._tallies: dict[_Key, _Tally] = {}

    def add(self, stall: Stall, *, threshold: float, since: float) -> int:
        """Put a stall to its site; returns the site's number for `finish`. `threshold` in seconds; `since` is when
        its process began to be watched."""
        stack = stall.stack
        basis = _basis(stall, stack)
        tally = self._tally(_Key(basis, stall.allowed, stall.phase, *(stack.key if stack else _NOWHERE)))
        here = tally.add_samples(stall.stacks, stack, basis == "own", since) if stack else 0
        tally.add(stall, shape_of(stall, here, threshold) == "single")
        return tally.number

    def add_lost(self, count: int, seconds: float, longest: float) -> None:
        """Stalls of which only their number, their time together and the longest are known; of none, but with a time:
        the rest of some that are known in part."""
        tally = self._tally(_Key("lost", allowed=False, phase="other"))
        tally.uncounted += count
        tally.uncounted_seconds += seconds
        tally.longest = max(tally.longest, longest)

    def absorb(self, other: SiteTable) -> dict[int, int]:
        """Add another table; returns for each number that its `add` gave the one that is its here."""
        numbers: dict[int, int] = {}
        for key, tally in other._tallies.items():
            mine = self._tally(key)
            mine.absorb(tally)
            numbers[tally.number] = mine.number
        return numbers

    def finish(self) -> tuple[list[Site], dict[int, int]]:
        """The sites, longest total first, and for each number that `add` gave the site's place in that list."""
        merged = self._merged()
        groups: dict[_Key, list[int]] = {}
        for key, tally in self._tallies.items():
            groups.setdefault(merged.get(key, key), []).append(tally.number)
        for key, target in merged.items():
            self._tallies[target].absorb(self._tallies[key])
        sites = [(_site(key, self._tallies[key]), key) for key in groups]
        sites.sort(key=lambda item: (-item[0].total, item[1]))
        places = {number: at for at, (_, key) in enumerate(sites) for number in groups[key]}
        return [site for site, _ in sites], places

    def _tally(self, key: _Key) -> _Tally:
        tally = self._tallies.get(key)
        if tally is None:
            tally = self._tallies[key] = _Tally(len(self._tallies))
        return tally

    def _merged(self) -> dict[_Key, _Key]:
        """Which sites are lines of one Python loop: each but the longest of a function with the site it joins."""
        functions: dict[_Key, list[_Key]] = {}
        for key in self._tallies:
            if key.basis in ("own", "library"):
                functions.setdefault(key._replace(line=0), []).append(key)
        merged: dict[_Key, _Key] = {}
        for keys in functions.values():
            keys.sort(key=lambda key: (-sum(self._tallies[key].durations), key))
            targets: list[_Key] = []
            for key in keys:
                target = next((each for each in targets if self._mingle(key, each)), None)
                if target is None:
                    targets.append(key)
                else:
                    merged[key] = target
        return merged

    def _mingle(self, one: _Key, other: _Key) -> bool:
        return all(
            self._tallies[a].lines[b.line] >= _MINGLED * self._tallies[a].lines.total()
            for a, b in ((one, other), (other, one))
        )


def percentile(ordered: array[float] | list[float], share: float) -> float:
    """The nearest-rank percentile of values in ascending order; 0 of none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _basis(stall: Stall, stack: Stack | None) -> Basis:
    if stack is None:
        return "unknown" if stall.samples else "unsampled"
    if stack.own:
        return "own"
    return "library" if stack.place.kind in ("library", "stdlib") else "loop"


def _same_function(one: Stack, other: Stack) -> bool:
    return (one.frame.file, one.frame.function) == (other.frame.file, other.frame.function)


def _site(key: _Key, tally: _Tally) -> Site:
    ordered = sorted(tally.durations)
    count = len(ordered) + tally.uncounted
    total = math.fsum(ordered) + tally.uncounted_seconds
    known = total - tally.uncounted_seconds
    # The most sampled stack; among equals the deepest, then the one that sorts first.
    stack, (samples, since) = min(
        tally.stacks.items(),
        key=lambda item: (-item[1][0], -item[0].depth, place_key(item[0].frame)),
        default=(None, (0, 0.0)),
    )
    return Site(
        basis=key.basis,
        allowed=key.allowed,
        phase=key.phase,
        count=count,
        total=total,
        p50=percentile(ordered, 0.5),
        p99=percentile(ordered, 0.99),
        longest=tally.longest,
        samples=tally.samples,
        shape="single" if 2 * tally.single >= known else "pile-up",
        callbacks=tally.callbacks / len(ordered) if ordered else 0.0,
        running=tally.running,
        stack=stack,
        share=samples / max(1, sum(each for each, _ in tally.stacks.values())),
        since=since,
        endpoints=tuple(
            Endpoint(name, int(count), seconds)
            for name, (count, seconds) in sorted(tally.endpoints.items(), key=lambda item: (-item[1][1], item[0]))
        ),
        requests_delayed=tally.delayed,
        weights=_weights(tally.weights, total),
        why=tally.why.finish(),
    )


def _weights(weights: Weights, total: float) -> tuple[tuple[Stack | None, float], ...]:
    known = sorted(weights.seconds.items(), key=lambda item: (-item[1], item[0].depth, place_key(item[0].frame)))
    rest = total - math.fsum(seconds for _, seconds in known)
    # What is left of rounding is nobody's time.
    return (*known, *(((None, rest),) if rest > total * 1e-9 and rest > 1e-9 else ()))
