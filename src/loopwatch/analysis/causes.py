"""What the loop's thread was doing, added up over many stalls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from loopwatch.model import CAUSES, Activity, Cause
from loopwatch.stack import Frame

_MOST_HOLDERS = 1000  # distinct places kept while adding up; the rarest go first


@dataclass(frozen=True, slots=True)
class GilHolder:
    """Where the GIL was held most often while the loop's thread waited for it; the frame is None if unreadable."""

    thread: str
    frame: Frame | None


@dataclass(frozen=True, slots=True)
class Why:
    """Seconds by cause, most first; `gil_held` is of those in `native`. None is what was not recorded."""

    causes: tuple[tuple[Cause, float], ...] = ()
    gil_held: float = 0.0
    run_delay: float | None = None
    throttled: float | None = None
    holder: GilHolder | None = None

    @property
    def cause(self) -> Cause | Literal[""]:
        """What took most of the time; empty where nothing is known."""
        return self.causes[0][0] if self.causes else ""

    def seconds(self, cause: Cause) -> float:
        """The time of one cause."""
        return dict(self.causes).get(cause, 0.0)

    @property
    def held_share(self) -> float:
        """The share of the time in `native` in which the GIL was held, 0 to 1."""
        native = self.seconds("native")
        return self.gil_held / native if native else 0.0


UNKNOWN = Why()


@dataclass(slots=True)
class WhyTally:
    """A `Why` in the making."""

    causes: dict[Cause, float] = field(default_factory=dict)
    gil_held: float = 0.0
    run_delay: float | None = None
    throttled: float | None = None
    holders: Counter[GilHolder] = field(default_factory=Counter)  # samples

    def add(self, activity: Activity) -> None:
        """Add what one stall was."""
        if not activity.causes:
            return
        causes = self.causes
        for cause, seconds in activity.causes:
            causes[cause] = causes.get(cause, 0.0) + seconds
        self.gil_held += activity.gil_held
        self._add_waits(activity.run_delay, activity.throttled)
        for holder in activity.holders:
            self.holders[GilHolder(holder.thread, holder.stack.place if holder.stack else None)] += holder.samples
        if len(self.holders) > _MOST_HOLDERS:
            self.holders = Counter(dict(self.holders.most_common(_MOST_HOLDERS // 2)))

    def absorb(self, other: WhyTally) -> None:
        """Add another sum."""
        for cause, seconds in other.causes.items():
            self.causes[cause] = self.causes.get(cause, 0.0) + seconds
        self.gil_held += other.gil_held
        self._add_waits(other.run_delay, other.throttled)
        self.holders.update(other.holders)

    def finish(self) -> Why:
        """The sum."""
        causes = sorted(self.causes.items(), key=lambda item: (-item[1], CAUSES.index(item[0])))
        return Why(tuple(causes), self.gil_held, self.run_delay, self.throttled, self._holder())

    def _add_waits(self, run_delay: float | None, throttled: float | None) -> None:
        if run_delay is not None:
            self.run_delay = (self.run_delay or 0.0) + run_delay
        if throttled is not None:
            self.throttled = (self.throttled or 0.0) + throttled

    def _holder(self) -> GilHolder | None:
        """The most sampled place of the most sampled function: its lines, and the threads of a pool, are many."""
        functions: Counter[tuple[str, str]] = Counter()
        for each, samples in self.holders.items():
            functions[_function(each)] += samples
        if not functions:
            return None
        # One that could be read says more than those that could not, however many these are.
        most = min(functions, key=lambda function: (function == _UNREAD, -functions[function], function))
        places = [each for each in self.holders if _function(each) == most]
        return min(places, key=lambda each: (-self.holders[each], each.thread, each.frame.line if each.frame else 0))


_UNREAD = ("", "")


def _function(each: GilHolder) -> tuple[str, str]:
    return (each.frame.file, each.frame.function) if each.frame else _UNREAD
