"""`loopwatch diff`: two runs compared, as text and as JSON. docs/report.md describes the latter."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, TextIO

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from loopwatch.analysis.diff import Change, Diff, Outcome, Rates
from loopwatch.analysis.frames import relative, short
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.report.snippet import fit
from loopwatch.report.words import command, counted, duration, number, plain
from loopwatch.stack import Frame

SCHEMA = "loopwatch-diff/1"
_WIDEST = 110  # cells
_MOST_SITES = 40
_ORDER: tuple[Outcome, ...] = ("new", "grown", "shrunk", "gone")
_STYLES = {"new": "bold red", "grown": "red", "shrunk": "green", "gone": "bold green"}
_INDENT = " " * 9


def write_text(diff: Diff, out: TextIO) -> None:
    """For a terminal of any width."""
    console = Console(file=out, highlight=False, emoji=False, markup=False)
    width = min(_WIDEST, console.width)
    for line in _lines(diff, width):
        for part in line.wrap(console, width, overflow="fold") or [line]:
            part.rstrip()
            console.print(part, soft_wrap=True)


def write_json(diff: Diff, out: TextIO) -> None:
    """As one JSON object, in ASCII."""
    found = {
        "schema": SCHEMA,
        "judged_by": "request" if diff.by_request else "minute",
        "before": _run(diff.before, diff.rates_before),
        "after": _run(diff.after, diff.rates_after),
        "sites": [_change(change, diff) for change in diff.changes],
    }
    out.write(json.dumps(found, indent=1) + "\n")


def _lines(diff: Diff, width: int) -> Iterator[Text]:
    for title, run in (("before", diff.before), ("after", diff.after)):
        requests = [counted(run.totals.requests, "request")] if run.totals.requests else []
        rest = " · ".join(["", duration(run.seconds), *requests])
        what = f"{title:<7} {command(run.command) or 'no command'}, {plain(str(run.paths[0]))}"
        yield Text(fit(what, max(20, width - cell_len(rest))) + rest)
    yield Text()
    was, now = _rate(diff.rates_before, diff), _rate(diff.rates_after, diff)
    change = f" ({100 * (now - was) / was:+.0f} %)" if was else ""
    sentence = (
        f"The loop was blocked for {duration(was)} a {_unit(diff)} before, and for {duration(now)} after{change}."
    )
    yield Text(sentence, style="bold")
    yield Text()
    changed = [change for outcome in _ORDER for change in diff.changes if change.outcome == outcome]
    for each in changed[:_MOST_SITES]:
        yield from _site(each, diff, width)
    if rest_of := changed[_MOST_SITES:]:
        yield Text(f"… and {counted(len(rest_of), 'more site')}: loopwatch diff -f json")
    if changed:
        yield Text()
    same = len(diff.changes) - len(changed)
    if same:
        yield Text(f"{counted(same, 'site')} stayed much the same.", style="dim")
    elif not changed:
        yield Text("Neither run has a stall.")


def _site(change: Change, diff: Diff, width: int) -> Iterator[Text]:
    """``shrunk  app/main.py:42 predict   3.1 ms → 1.2 ms a request · 31 → 12 stalls · worst 412 → 80 ms``"""
    mark = f"{change.outcome:<{len(_INDENT)}}"
    name = _name(change.site, diff.after.cwd if change.after else diff.before.cwd)
    before, after = change.rates_before, change.rates_after
    pairs = [
        (duration(_rate(before, diff)), f"{duration(_rate(after, diff))} a {_unit(diff)}", f" a {_unit(diff)}"),
        (number(before.stalls), counted(after.stalls, "stall"), " stalls"),
        (f"worst {duration(before.longest)}", duration(after.longest), ""),
    ]
    if change.before is None:
        figures = " · ".join([pairs[0][1], pairs[1][1], f"worst {pairs[2][1]}"])
    elif change.after is None:
        figures = " · ".join([pairs[0][0] + pairs[0][2], counted(before.stalls, "stall"), pairs[2][0]])
    else:
        figures = " · ".join(f"{was} → {now}" for was, now, _ in pairs)
    gap = width - cell_len(mark + name) - cell_len(figures)
    style = _STYLES[change.outcome]
    if gap >= 2:
        yield Text.assemble((mark, style), (name, "bold"), " " * gap, (figures, "cyan"))
    else:
        yield Text.assemble((mark, style), (fit(name, width - len(mark)), "bold"))
        yield Text(fit(_INDENT + figures, width), style="cyan")
    if change.expression:
        yield Text(fit(_INDENT + plain(change.expression), width), style="dim")


def _name(site: Site, cwd: str) -> str:
    frame = site.frame
    if frame is None:
        return f"({site.basis})"
    return plain(f"{short(frame, cwd)}:{frame.line or '?'} {frame.function.replace('.<locals>', '')}")


def _unit(diff: Diff) -> str:
    return "request" if diff.by_request else "minute"


def _rate(rates: Rates, diff: Diff) -> float:
    return (rates.per_request or 0.0) if diff.by_request else rates.per_minute


def _run(run: Run, rates: Rates) -> dict[str, Any]:
    return {
        "paths": [str(path) for path in run.paths],
        "command": list(run.command),
        "seconds": round(run.seconds, 3),
        "requests": run.totals.requests,
        **_rates(rates),
    }


def _change(change: Change, diff: Diff) -> dict[str, Any]:
    frame = change.site.frame or Frame("", "")
    return {
        "outcome": change.outcome,
        "file": relative(frame.file, diff.after.cwd if change.after else diff.before.cwd),
        "function": frame.function,
        "expression": change.expression,
        "before": _side(change.before, change.rates_before),
        "after": _side(change.after, change.rates_after),
    }


def _side(site: Site | None, rates: Rates) -> dict[str, Any] | None:
    if site is None:
        return None
    return {"line": site.frame.line if site.frame else 0, "cause": site.cause or None, **_rates(rates)}


def _rates(rates: Rates) -> dict[str, Any]:
    return {
        "stalls": rates.stalls,
        "stalled_ms": _ms(rates.total),
        "max_ms": _ms(rates.longest),
        "ms_per_minute": _ms(rates.per_minute),
        "ms_per_request": None if rates.per_request is None else _ms(rates.per_request),
    }


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 6)
