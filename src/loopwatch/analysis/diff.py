"""Two runs compared: which sites went, came, grew and shrank.

Runs differ in length and in traffic. So a site is judged by its time per request where both runs served requests,
else by its time per minute of run. Sites are matched by file, function and expression, so that lines may have moved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from loopwatch.analysis.frames import relative
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.stack import Frame

# What became of a site; `same` is one whose rate has changed by less than a quarter.
Outcome = Literal["gone", "new", "grown", "shrunk", "same"]
OUTCOMES: tuple[Outcome, ...] = ("new", "grown", "same", "shrunk", "gone")

_NOTABLE = 1.25  # the ratio of two rates from which on one has grown, or the other shrunk


@dataclass(frozen=True, slots=True)
class Rates:
    """Stalls in relation to the run. Seconds; `per_request` is None where the run served none that are known."""

    stalls: int = 0
    total: float = 0.0
    longest: float = 0.0
    per_minute: float = 0.0
    per_request: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One site in both runs; None in the one in which it is not."""

    outcome: Outcome
    before: Site | None
    after: Site | None
    rates_before: Rates
    rates_after: Rates
    expression: str

    @property
    def site(self) -> Site:
        """The newer of the two."""
        site = self.after or self.before
        assert site is not None
        return site


@dataclass(frozen=True, slots=True)
class Diff:
    """Two runs and the changes between them, those first that have changed most per request or minute."""

    before: Run
    after: Run
    rates_before: Rates
    rates_after: Rates
    by_request: bool  # whether the changes are judged by request, not by minute
    changes: tuple[Change, ...]


def compare(before: Run, after: Run, source_of: Callable[[Run], Source]) -> Diff:
    """Compare two runs; `source_of` reads the sources of one."""
    by_request = before.totals.requests > 0 and after.totals.requests > 0
    old, new = _Sites(before, source_of(before)), _Sites(after, source_of(after))
    pairs = _pairs(old, new)
    changes = [_change(one, other, old, new, by_request) for one, other in pairs]
    changes.sort(
        key=lambda change: -abs(_rate(change.rates_after, by_request) - _rate(change.rates_before, by_request))
    )
    return Diff(before, after, old.whole, new.whole, by_request, tuple(changes))


class _Sites:
    """The sites of one run that count."""

    def __init__(self, run: Run, source: Source) -> None:
        self.run = run
        self.source = source
        self.sites = [site for site in run.sites if site.counted]
        totals = run.totals
        self.whole = self._rates(totals.stalls, totals.stalled, totals.worst)

    def rates(self, site: Site | None) -> Rates:
        return self._rates(site.count, site.total, site.longest) if site else Rates(per_request=self._per_request(0.0))

    def _rates(self, count: int, total: float, longest: float) -> Rates:
        per_minute = 60 * total / self.run.seconds if self.run.seconds else 0.0
        return Rates(count, total, longest, per_minute, self._per_request(total))

    def _per_request(self, total: float) -> float | None:
        return total / self.run.totals.requests if self.run.totals.requests else None

    def function(self, site: Site) -> tuple[str, ...]:
        """File and function, and what tells apart the sites that have neither."""
        frame = site.frame or Frame("", "")
        return site.basis, site.phase, relative(frame.file, self.run.cwd), frame.function

    def expression(self, site: Site) -> str:
        """What runs at the site; empty if it cannot be had, as when the file was changed since."""
        if site.frame is None or self.source.changed_since(site.frame.file, site.since):
            return ""
        return self.source.expression(site.frame)

    def called(self, site: Site) -> tuple[str, ...]:
        """The innermost function, which stays the same when lines move."""
        frame = site.blocking or Frame("", "")
        return frame.file, frame.function

    def line(self, site: Site) -> int:
        return site.frame.line if site.frame else 0


def _pairs(old: _Sites, new: _Sites) -> list[tuple[Site | None, Site | None]]:
    """Each site with its counterpart. One of several in a function is found by its expression; where that cannot be
    had on both sides, by its line, and at last by the function that it calls."""
    left, right = old.sites, defaultdict[tuple[str, ...], list[Site]](list)
    for site in new.sites:
        right[new.function(site)].append(site)
    pairs: list[tuple[Site | None, Site | None]] = []

    def same_expression(one: Site, other: Site) -> bool:
        return old.expression(one) == new.expression(other) != ""

    def maybe(test: Callable[[Site, Site], bool]) -> Callable[[Site, Site], bool]:
        return lambda one, other: not (old.expression(one) and new.expression(other)) and test(one, other)

    for fits in (
        same_expression,
        maybe(lambda one, other: old.line(one) == new.line(other)),
        maybe(lambda one, other: old.called(one) == new.called(other)),
    ):
        rest = []
        for one in left:
            there = right[old.function(one)]
            other = next((each for each in there if fits(one, each)), None)
            if other is None:
                rest.append(one)
            else:
                there.remove(other)
                pairs.append((one, other))
        left = rest
    came = (site for sites in right.values() for site in sites)
    return [*pairs, *((one, None) for one in left), *((None, other) for other in came)]


def _change(one: Site | None, other: Site | None, old: _Sites, new: _Sites, by_request: bool) -> Change:
    before, after = old.rates(one), new.rates(other)
    expression = new.expression(other) if other else ""
    expression = expression or (old.expression(one) if one else "")
    return Change(_outcome(one, other, before, after, by_request), one, other, before, after, expression)


def _outcome(one: Site | None, other: Site | None, before: Rates, after: Rates, by_request: bool) -> Outcome:
    if one is None:
        return "new"
    if other is None:
        return "gone"
    was, now = _rate(before, by_request), _rate(after, by_request)
    if now >= _NOTABLE * was:
        return "grown"
    return "shrunk" if was >= _NOTABLE * now else "same"


def _rate(rates: Rates, by_request: bool) -> float:
    return (rates.per_request or 0.0) if by_request else rates.per_minute
