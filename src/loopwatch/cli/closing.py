"""What `run` and `attach` share: the folder for the recording, and what they say on standard error, the summary too."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from loopwatch.cli.here import settings_here
from loopwatch.cli.output import terminal
from loopwatch.cwd import relative, working_directory
from loopwatch.errors import LoopwatchError
from loopwatch.launch.folder import make_folder, remove_old, why_unwritable
from loopwatch.recording import find_recordings
from loopwatch.settings import Settings

if TYPE_CHECKING:
    from rich.text import Text

_WIDEST = 110  # cells


def summarize(
    folder: Path, settings: Settings, typed: str, starter: int, status: int = 0, deaf_option: str = ""
) -> None:
    """What was recorded, in a few lines on standard error.

    `typed` is the program, `starter` the pid of who started it, `status` how it has ended, and `deaf_option` the option
    of its own that keeps us out.
    """
    from rich.console import Console

    if sys.stderr is None:
        return
    console = Console(file=terminal(sys.stderr), highlight=False, emoji=False, markup=False)
    width = min(_WIDEST, console.width) if console.is_terminal else _WIDEST
    with console.capture() as capture:
        for line in _lines(folder, settings, typed, starter, status, deaf_option, width):
            console.print(line, soft_wrap=True)
    _write(capture.get())


def _lines(
    folder: Path, settings: Settings, typed: str, starter: int, status: int, deaf_option: str, width: int
) -> Iterator[Text]:
    from rich.text import Text

    from loopwatch.analysis.run import load
    from loopwatch.report.summary import nothing, summary

    reason = why_unwritable(folder)
    try:
        recordings = find_recordings([folder], app=settings.app)
    except LoopwatchError:
        if reason is None:
            yield nothing(typed, status, deaf_option)
        else:
            yield Text(f"Nothing is recorded of {typed}: {shown(folder)} cannot be written ({reason}).")
        return
    yield from summary(load(recordings), typed, starter, width, status)
    place = shown(folder)
    if reason is not None:
        yield Text(f"Note: {place} cannot be written any more ({reason}): not all that happened may be recorded.")
    yield Text(f"Recorded in {place}", style="dim")
    yield Text("Next: loopwatch report" + ("" if _is_found(folder) else f" {shlex.quote(place)}"))


def new_folder(settings: Settings) -> Path:
    """A folder for one more recording, with room made for it. OSError if there can be none."""
    base = Path(settings.dir)
    removed = remove_old(base, most=settings.recordings - 1, days=settings.recording_days)
    if removed:
        from loopwatch.report.words import counted

        say(f"{counted(removed, 'old recording')} removed from {base}", settings.quiet)
    return make_folder(base)


def _is_found(folder: Path) -> bool:
    """Whether `loopwatch report` looks there by itself."""
    return folder.parent == Path(settings_here().dir)


def shown(folder: Path) -> str:
    """The folder as a person would type it."""
    return relative(str(Path(working_directory(""), folder)))


def say(message: str, quiet: bool = False) -> None:
    if not quiet:
        _write(f"loopwatch: {message}\n")


def _write(text: str) -> None:
    """To standard error. That it is closed, or that nobody reads it any more, is no error."""
    if sys.stderr is None:
        return
    try:
        stream = terminal(sys.stderr)
        stream.write(text)
        stream.flush()
    except OSError:
        # Python would try once more at exit, and end with a status of its own.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stderr.fileno())
        os.close(devnull)
