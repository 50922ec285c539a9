"""Whether a stall was one long callback or a pile of short ones."""

from __future__ import annotations

from typing import Literal

from loopwatch.model import Stall

Shape = Literal["single", "pile-up"]

_CONCENTRATED = 0.8  # a stall with so many of its samples in one place has one long callback, unless …
_FEW_CALLBACKS = 10  # … it ran more callbacks than these, …
_SHORT = 0.1  # … and they were not, on average, as short as this share of the threshold


def shape_of(stall: Stall, here: int, threshold: float) -> Shape:
    """Whether one long callback makes the stall, or a pile of short ones. `here`: its samples in its place.

    Where it is recorded how long the longest one took, that decides: half of the stall makes it a single one.

    Else: if its callbacks were at least as long as the threshold on average, one of them was long for certain. Else it
    is judged by the samples: a pile is spread over many places, unless it is a pile of equals, whose callbacks
    then are not very short.
    """
    callbacks, longest = stall.callbacks, stall.activity.longest
    if longest is not None and callbacks > 1:
        return "single" if 2 * longest >= stall.duration else "pile-up"
    if callbacks <= 1 or stall.duration >= callbacks * threshold:
        return "single"
    if not stall.samples or here < _CONCENTRATED * stall.samples:
        return "pile-up"
    few = callbacks <= _FEW_CALLBACKS or stall.duration < callbacks * threshold * _SHORT
    return "single" if few else "pile-up"
