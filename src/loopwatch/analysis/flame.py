"""Stalled time by stack: what flame graphs and profiles are made of.

Each sampled stack of a stall has the share of the stall's length that it has of its samples. So whatever is made of
these adds up: the stacks to their site, the sites to the total.
"""

from __future__ import annotations

from collections.abc import Iterator

from loopwatch.model import Stall
from loopwatch.stack import Frame, Stack

_MOST_STACKS = 2000  # distinct stacks kept per site; of the rest the inner frames are left out


class Weights:
    """The seconds of one site by stack, in bounded memory."""

    __slots__ = ("seconds",)

    def __init__(self) -> None:
        self.seconds: dict[Stack, float] = {}

    def add(self, stall: Stall) -> None:
        """Add a stall with its samples; one without any adds nothing."""
        stacks, seconds = stall.stacks, self.seconds
        if len(stacks) == 1:
            stack = stacks[0][0]
            seconds[stack] = seconds.get(stack, 0.0) + stall.duration
        elif stacks:
            each = stall.duration / sum(samples for _, samples in stacks)
            for stack, samples in stacks:
                seconds[stack] = seconds.get(stack, 0.0) + each * samples
        if len(seconds) > _MOST_STACKS:
            self._shorten()

    def absorb(self, other: Weights) -> None:
        """Add those of another site."""
        for stack, seconds in other.seconds.items():
            self.seconds[stack] = self.seconds.get(stack, 0.0) + seconds
        if len(self.seconds) > _MOST_STACKS:
            self._shorten()

    def _shorten(self) -> None:
        """Put the time of the lighter half to the frames that called them, until few enough are left."""
        kept = self.seconds
        while len(kept) > _MOST_STACKS // 2:
            before = sorted(kept.items(), key=lambda item: -item[1])
            kept = dict(before[: _MOST_STACKS // 4])
            for stack, seconds in before[_MOST_STACKS // 4 :]:
                outer = stack.parent or stack
                kept[outer] = kept.get(outer, 0.0) + seconds
            if all(stack in kept for stack, _ in before):  # nothing but outermost frames
                break
        self.seconds = kept


def visible(stack: Stack, *, all_frames: bool) -> tuple[Frame, ...]:
    """The frames that are worth showing, outermost first: from the first of the user's own code in the callback on,
    and of several library frames in a row the one that was called and the last. All of them with `all_frames`."""
    frames = stack.frames
    return frames if all_frames else tuple(_without_inner_library(frames[first_shown(stack) :]))


def first_shown(stack: Stack) -> int:
    """Which of a stack's frames, outermost first, is the first of the user's own code in the callback; the first of
    the callback where there is none."""
    frames = stack.frames
    start = next((at for at, frame in enumerate(frames) if frame is stack.first), 0)
    return next((at for at in range(start, len(frames)) if frames[at].kind == "app"), start)


def _without_inner_library(frames: tuple[Frame, ...]) -> Iterator[Frame]:
    last = len(frames) - 1
    for at, frame in enumerate(frames):
        between = 0 < at < last and all(each.kind != "app" for each in frames[at - 1 : at + 2])
        if not between:
            yield frame
