"""Frames and stacks, and which stack a stall is put down to. A leaf, standard library only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

# Whose code a frame is: the user's own, an installed package's, the standard library's, the event loop's, loopwatch's.
Kind = Literal["app", "library", "stdlib", "loop", "loopwatch"]

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
    first: Frame | None = field(init=False, repr=False)  # outermost frame of any kind but loopwatch's own
    place: Frame = field(init=False, repr=False)
    """The frame that a stall with this stack is put down to: the user's own, else the outermost of a library, else the
    outermost of anything. Never one of loopwatch's own, as long as there is any other."""
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
            first = frame if first is None and frame.kind != "loopwatch" else first
        put(self, "own", own)
        put(self, "library", library)
        put(self, "first", first)
        place = own or library or first or (outer.place if outer and frame.kind == "loopwatch" else frame)
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


def place_key(frame: Frame) -> PlaceKey:
    """What makes two samples the same place: file, line and function. Columns do not: they move within a line."""
    return frame.file, frame.line, frame.function


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


def heaviest(stacks: tuple[tuple[Stack, int], ...]) -> Stack | None:
    """The most sampled stack of the place that most samples have in common; None without any.

    `stacks` have their numbers of samples, most first. Where no place has half of the samples, code that calls many
    small functions would lose to a single long call, though it took longer: then the place is the one that one comes to
    by going, from the outermost own line on, where most samples went.
    """
    if len(stacks) == 1:
        return stacks[0][0]
    samples: Counter[PlaceKey] = Counter()
    for stack, count in stacks:
        samples[stack.key] += count
    if not samples:
        return None
    place = _most(samples)
    if 2 * samples[place] >= samples.total():
        return next(stack for stack, _ in stacks if stack.key == place)
    return _followed(stacks)


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
