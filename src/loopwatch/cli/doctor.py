"""`loopwatch doctor`: what this machine and interpreter allow."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from loopwatch.cli.checks import CONFIGURATION, Finding, Verdict, findings
from loopwatch.cli.output import opened
from loopwatch.errors import LoopwatchError

_MARKS: dict[Verdict, tuple[str, str]] = {
    "ok": ("ok", "green"),
    "less": ("less", "yellow"),
    "broken": ("broken", "bold red"),
}


@click.command("doctor")
def command() -> int:
    """Show what this machine and interpreter allow, each with the consequence.

    Ends with status 2 if nothing can be watched here, or a setting means nothing; else 0.
    """
    found = list(findings())
    with opened(None) as out:
        console = Console(file=out, highlight=False, emoji=False, markup=False)
        if console.is_terminal:
            console.print(_table(found))
        else:
            out.writelines(f"{line}\n" for line in _lines(found))
    broken = next((each for each in found if each.verdict == "broken"), None)
    if broken is not None and broken.subject == CONFIGURATION:
        raise LoopwatchError(broken.text, broken.consequence)
    if broken is not None:
        python = "{}.{}".format(*sys.version_info)
        raise LoopwatchError(
            f"this Python cannot be watched ({broken.subject}: {broken.text})",
            f"for a newer build try: pip install -U loopwatch; or another Python than {python}",
        )
    return 0


def _table(found: Sequence[Finding]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for _ in range(3):
        table.add_column(overflow="fold")
    for each in found:
        name, style = _MARKS[each.verdict]
        text = Text(each.text)
        if each.consequence:
            text.append(f"\n→ {each.consequence}", style=style)
        table.add_row(Text(name, style=style), Text(each.subject, style="bold"), text)
    return table


def _lines(found: Sequence[Finding]) -> list[str]:
    """One line each, so that it can be searched and sent."""
    width = max(len(each.subject) for each in found)
    return [
        f"{_MARKS[each.verdict][0]:6}  {each.subject:{width}}  {each.text}"
        + (f" → {each.consequence}" if each.consequence else "")
        for each in found
    ]
