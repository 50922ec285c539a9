"""How fast watched servers are to others, across the luck of single processes.

One process is 2 or 3 % faster than another of the very same program, for as long as both live: by what lies where in
memory, and by which entries of the interpreter's caches collide. So a ratio is that of many processes, and has an error
that tells of how many.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.load import Slice

Turn = Sequence[Slice]  # of as many servers that are not watched, and then of as many that are


def per_second(side: Turn) -> float:
    return statistics.mean(each.per_second for each in side)


def halves(turn: Turn) -> tuple[Turn, Turn]:
    return turn[: len(turn) // 2], turn[len(turn) // 2 :]


def relative(turns: Sequence[Turn]) -> list[float]:
    """What each server did, to the mean of those not watched in the same turn: the median of all turns."""
    bare = [per_second(halves(turn)[0]) for turn in turns]
    return [
        statistics.median(turn[server].per_second / mean for turn, mean in zip(turns, bare, strict=True))
        for server in range(len(turns[0]))
    ]


def mean_error(values: Sequence[float]) -> float:
    """The standard error of their mean."""
    return statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan


@dataclass(slots=True)
class Level:
    """Requests per second of all servers that were watched, to all that were not."""

    bare: list[float] = field(default_factory=list)  # one value a server
    watched: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, turns: Sequence[Turn]) -> Level:
        """Of the servers that had these turns."""
        found = relative(turns)
        return cls(found[: len(found) // 2], found[len(found) // 2 :])

    def include(self, other: Level) -> None:
        """Further servers."""
        self.bare += other.bare
        self.watched += other.watched

    @property
    def ratio(self) -> float:
        return statistics.mean(self.watched) / statistics.mean(self.bare)

    @property
    def error(self) -> float:
        return math.hypot(mean_error(self.bare), mean_error(self.watched))

    def __str__(self) -> str:
        return f"{self.ratio:.3f} ± {self.error:.3f}"
