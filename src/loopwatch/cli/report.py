"""`loopwatch report`: which lines stalled the loop."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from loopwatch.analysis.run import Run, load
from loopwatch.analysis.selection import Selection
from loopwatch.cli.here import settings_here
from loopwatch.cli.output import opened
from loopwatch.cli.progress import reading
from loopwatch.cli.stalls import chosen_stalls
from loopwatch.cli.times import Duration
from loopwatch.cwd import working_directory
from loopwatch.errors import LoopwatchError
from loopwatch.recording import find_recordings
from loopwatch.report import FORMATS, Options, format_of, reporter
from loopwatch.report.words import counted, duration, plain

_MOST_NAMED = 10  # endpoints
_TOO_LONG = 1  # the status when a stall was longer than --max-stall


@click.command("report")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option("-f", "--format", "name", type=click.Choice(list(FORMATS)), help="The format; by default that of FILE.")
@click.option("-o", "--output", "file", metavar="FILE", help="Write to FILE, or to standard output for -.")
@chosen_stalls
@click.option("--all-frames", is_flag=True, help="Show every frame of a stack.")
@click.option("--no-source", is_flag=True, help="Do not read source files.")
@click.option("--max-stall", type=Duration(), help="End with status 1 if a stall while serving is longer.")
def command(
    runs: tuple[Path, ...],
    name: str | None,
    file: str | None,
    selection: Selection,
    all_frames: bool,
    no_source: bool,
    max_stall: float | None,
) -> int:
    """Show which lines stalled the loop: of the newest recording in .loopwatch/, or of those named.

    A RUN is the folder of a recording, a folder of several, or a single file.
    """
    if name is None:
        name = format_of(file) if file and file != "-" else "text"
    settings = settings_here()
    if FORMATS[name].binary and file in (None, "-") and sys.stdout is not None and sys.stdout.isatty():
        raise LoopwatchError(f"{name} is not for a terminal", f"write to a file: -o stalls{FORMATS[name].suffixes[0]}")
    recordings = find_recordings(runs, base=settings.dir, app=settings.app)
    with reading(sum(files.size for each in recordings for files in each.processes)) as progress:
        jobs, most = os.cpu_count() or 1, FORMATS[name].stalls
        run = load(recordings, selection, most_stalls=most, jobs=jobs, progress=progress)
    _name_endpoints(run)
    options = Options(source=not no_source, all_frames=all_frames, here=Path(working_directory()))
    with opened(file) as out:
        reporter(name).write(run, out, options)
    return _verdict(run, max_stall)


def _name_endpoints(run: Run) -> None:
    """Where no endpoint is like the one that was asked for, say which there are. Not an error: it may have no stalls
    because somebody has mended it."""
    asked = run.selection.endpoint
    if asked is None or any(map(run.selection.fits, run.endpoints)):
        return
    names = [plain(name) for name in run.endpoints[:_MOST_NAMED]]
    if rest := run.endpoints[_MOST_NAMED:]:
        names.append(counted(len(rest), "more", "more"))
    there = f"those that did are {', '.join(names)}" if names else "nor is any other known to have"
    click.echo(f"loopwatch: no endpoint like {plain(asked)!r} caused a stall; {there}", err=True)


def _verdict(run: Run, most: float | None) -> int:
    longest = run.totals.worst_serving
    if most is None or longest <= most:
        return 0
    click.echo(f"loopwatch: the longest stall took {duration(longest)}, more than {duration(most)}", err=True)
    return _TOO_LONG
