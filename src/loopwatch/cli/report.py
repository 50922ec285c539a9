"""`loopwatch report`: which lines stalled the loop."""

from __future__ import annotations

from pathlib import Path

import click

from loopwatch.analysis.run import Run, Selection, load
from loopwatch.cli.output import opened
from loopwatch.cli.times import Duration, Moment
from loopwatch.recording import find_recordings
from loopwatch.report import FORMATS, Options, format_of, reporter
from loopwatch.report.words import duration

_TOO_LONG = 1  # the status when a stall was longer than --max-stall


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option("-f", "--format", "name", type=click.Choice(list(FORMATS)), help="The format; by default that of FILE.")
@click.option("-o", "--output", "file", metavar="FILE", help="Write to FILE, or to standard output for -.")
@click.option("--min", "least", type=Duration(), default=0.0, help="Only stalls at least so long.")
@click.option("--since", type=Moment(), help="Only stalls since then: an ISO time, or how long ago (5m).")
@click.option("--until", type=Moment(), help="Only stalls until then.")
@click.option("--all-frames", is_flag=True, help="Show every frame of a stack.")
@click.option("--no-source", is_flag=True, help="Do not read source files.")
@click.option("--max-stall", type=Duration(), help="End with status 1 if a stall is longer.")
def command(
    runs: tuple[Path, ...],
    name: str | None,
    file: str | None,
    least: float,
    since: float | None,
    until: float | None,
    all_frames: bool,
    no_source: bool,
    max_stall: float | None,
) -> int:
    """Show which lines stalled the loop: of the newest recording in .loopwatch/, or of those named.

    A RUN is the folder of a recording, a folder of several, or a single file.
    """
    if name is None:
        name = format_of(file) if file and file != "-" else "text"
    run = load(find_recordings(runs), Selection(least, since, until))
    options = Options(source=not no_source, all_frames=all_frames, here=Path.cwd())
    with opened(file) as out:
        reporter(name).write(run, out, options)
    return _verdict(run, max_stall)


def _verdict(run: Run, most: float | None) -> int:
    if most is None or run.totals.worst <= most:
        return 0
    click.echo(f"loopwatch: the longest stall took {duration(run.totals.worst)}, more than {duration(most)}", err=True)
    return _TOO_LONG
