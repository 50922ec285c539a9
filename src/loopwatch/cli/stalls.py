"""The options that say which stalls a report is about."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import click

from loopwatch.analysis.selection import Selection
from loopwatch.cli.times import Duration, Moment
from loopwatch.model import CAUSES, Cause

_Result = TypeVar("_Result")

_OPTIONS = (
    click.option("--min", "least", type=Duration(), default=0.0, help="Only stalls at least so long."),
    click.option("--since", type=Moment(), help="Only stalls since then: an ISO time, or how long ago (5m)."),
    click.option("--until", type=Moment(), help="Only stalls until then."),
    click.option("--endpoint", metavar="GLOB", help="Only stalls caused by these endpoints, such as 'GET /items/*'."),
    click.option("--cause", type=click.Choice(CAUSES), help="Only stalls of this cause."),
)


def chosen_stalls(command: Callable[..., _Result]) -> Callable[..., _Result]:
    """Give a command these options; it is called with the `selection` that they are."""

    @functools.wraps(command)
    def with_selection(
        least: float, since: float | None, until: float | None, endpoint: str | None, cause: Cause | None, **others: Any
    ) -> _Result:
        return command(selection=Selection(least, since, until, endpoint, cause), **others)

    wrapped: Callable[..., _Result] = with_selection
    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
