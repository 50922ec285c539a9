"""`loopwatch live`: a terminal view of a recording while it is written.

It reads the recording and nothing else, so it works while the watched process is completely stuck.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click

from loopwatch.analysis.follow import Follower
from loopwatch.cli.here import settings_here
from loopwatch.cli.output import terminal
from loopwatch.cli.times import Duration
from loopwatch.cwd import working_directory
from loopwatch.errors import LoopwatchError
from loopwatch.recording import Recording, find_recordings
from loopwatch.report import Options
from loopwatch.report.live import Pulse, live_view
from loopwatch.report.words import plain

_PLAIN_WIDTH, _PLAIN_HEIGHT = 100, 40  # where there is no terminal


@click.command("live")
@click.argument("what", required=False, metavar="[RUN|PID]")
@click.option("--every", type=Duration(), default="500ms", show_default=True, help="Time between two looks.")
@click.option("--all-frames", is_flag=True, help="Show every frame of a stack.")
@click.option("--no-source", is_flag=True, help="Do not read source files.")
def command(what: str | None, every: float, all_frames: bool, no_source: bool) -> None:
    """Follow a recording while it is written: the newest in .loopwatch/, the one named, or that of a process.

    Ctrl-C ends it. Where standard output is no terminal, the view is written once.
    """
    settings = settings_here()
    follower = Follower(_recordings(what, settings.dir), app=settings.app)
    options = Options(source=not no_source, all_frames=all_frames, here=Path(working_directory()))
    if sys.stdout is None:
        raise LoopwatchError("standard output is closed", "see: loopwatch report --help")
    if not sys.stdout.isatty():
        follower.update()
        lines = live_view(follower.run(), follower.running(), Pulse(), options, _PLAIN_WIDTH, _PLAIN_HEIGHT)
        terminal(sys.stdout).write("".join(f"{line.plain.rstrip()}\n" for line in lines))
        return
    try:
        _follow(follower, options, max(0.05, every))
    except KeyboardInterrupt:  # how it is meant to end
        return


def _follow(follower: Follower, options: Options, every: float) -> None:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    console = Console(highlight=False, emoji=False, markup=False)
    pulse = Pulse()
    with Live(console=console, screen=True, auto_refresh=False, vertical_overflow="crop") as screen:
        while True:
            begin = time.monotonic()
            lines: list[Text]
            try:
                follower.update()
                run = follower.run()
                pulse.beat(run)
                width, height = console.size
                lines = live_view(run, follower.running(), pulse, options, width, height - 1)
                lines += [Text() for _ in range(height - 1 - len(lines))]
                lines.append(Text("Ctrl-C ends · all of it: loopwatch report", style="dim", no_wrap=True))
            except LoopwatchError as error:  # nothing has been written yet
                lines = [Text(plain(f"loopwatch: {error.message}"))]
            screen.update(Group(*lines), refresh=True)
            took = time.monotonic() - begin
            time.sleep(max(every, 3 * took))


def _recordings(what: str | None, base: str) -> list[Recording]:
    if what is None:
        return find_recordings(base=base)
    if what.isdecimal() and not Path(what).exists():
        return [_of_process(int(what), base)]
    return find_recordings([Path(what)], base=base)


def _of_process(pid: int, base: str) -> Recording:
    """The newest recording here that a process writes to, or has written to."""
    folder = Path(working_directory()) / base
    found = sorted(folder.glob(f"*/{pid}-*.jsonl"), key=lambda path: path.stat().st_mtime)
    if not found:
        hint = "name its recording: loopwatch live RUN"
        raise LoopwatchError(f"no recording in {base}/ here is of process {pid}", hint)
    (recording,) = find_recordings([found[-1].parent])
    return recording
