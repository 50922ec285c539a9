"""`loopwatch diff`: what a change of the code has changed."""

from __future__ import annotations

from pathlib import Path

import click

from loopwatch.analysis.diff import compare
from loopwatch.analysis.run import Run, load
from loopwatch.analysis.source import Source
from loopwatch.cli.here import settings_here
from loopwatch.cli.output import opened
from loopwatch.cwd import working_directory
from loopwatch.recording import find_recordings
from loopwatch.report.diff import write_json, write_text


@click.command("diff")
@click.argument("before", type=click.Path(path_type=Path))
@click.argument("after", type=click.Path(path_type=Path))
@click.option("-f", "--format", "name", type=click.Choice(["text", "json"]), default="text", help="The format.")
@click.option("-o", "--output", "file", metavar="FILE", help="Write to FILE, or to standard output for -.")
def command(before: Path, after: Path, name: str, file: str | None) -> int:
    """Show which lines that stalled the loop went, came, grew and shrank between two recordings.

    Both are named as for `loopwatch report`. They are compared per request where both served requests, else per
    minute.
    """
    settings = settings_here()
    old, new = (load(find_recordings([path], base=settings.dir, app=settings.app)) for path in (before, after))
    diff = compare(old, new, _source_of)
    with opened(file) as out:
        (write_json if name == "json" else write_text)(diff, out)
    return 0


def _source_of(run: Run) -> Source:
    return Source(recorded=run.cwd, here=Path(working_directory()))
