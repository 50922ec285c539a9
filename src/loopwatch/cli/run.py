"""`loopwatch run`: a command with every event loop in it watched."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from loopwatch.cli.output import terminal
from loopwatch.cli.times import Duration
from loopwatch.config import check_settings, switched_off
from loopwatch.errors import LoopwatchError
from loopwatch.launch import supervise
from loopwatch.launch.command import Command, find_command
from loopwatch.launch.environment import watched_environment
from loopwatch.launch.folder import make_folder, remove_old, why_unwritable
from loopwatch.recording import find_recordings
from loopwatch.recording.files import FOLDER
from loopwatch.report.words import counted
from loopwatch.settings import Settings, settings_for

if TYPE_CHECKING:
    from rich.text import Text

_WIDEST = 110  # cells


class _RunCommand(click.Command):
    """Own options end at the command or after `-m MODULE`, as Python's do; the rest belongs to the command."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        values = {name for option in self.params if _takes_value(option) for name in option.opts}
        at = 0
        while at < len(args) and args[at].startswith("-") and args[at] != "--":
            end = at + (2 if args[at] == "-m" else 1)
            if args[at].startswith("-m") and end <= len(args):
                args = [*args[:end], "--", *args[end:]]
                break
            at += 2 if args[at] in values else 1
        return super().parse_args(ctx, args)


def _takes_value(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and not option.is_flag and not option.count


@click.command(
    "run",
    cls=_RunCommand,
    context_settings={"allow_interspersed_args": False},
    options_metavar="[OPTIONS]",
)
@click.option("--threshold", type=Duration(), help="How long a stall is at least: 10ms by default.")
@click.option("--interval", type=Duration(), help="Time between a stall's samples: 1ms by default.")
@click.option("--dir", type=click.Path(), help=f"For recordings: {FOLDER} by default.")
@click.option("--headers", is_flag=True, default=None, help="Tell on every ASGI response how long it blocked the loop.")
@click.option("--log", is_flag=True, default=None, help="Have the program log a line per stall.")
@click.option(
    "--exec", "replace", is_flag=True, help="Replace this process by the command: no summary. For containers."
)
@click.option("-q", "--quiet", is_flag=True, default=None, help="No summary.")
@click.option("-m", "module", metavar="MODULE", help="Run this module with this Python, as `python -m` does.")
@click.argument("words", nargs=-1, metavar="COMMAND [ARGS]...", type=click.UNPROCESSED)
def command(
    replace: bool,
    module: str | None,
    words: tuple[str, ...],
    **options: Any,
) -> int:
    """Run a command with every event loop in it, and in its child processes, watched.

    Ends with the command's own exit status, 128 + N if signal N ended it. All that follows the command is its own.
    What no option says is as LOOPWATCH_* in the environment has it, or [tool.loopwatch] in pyproject.toml.
    """
    settings = settings_for(str(Path.cwd()), os.environ, options)
    check_settings(settings.threshold, settings.interval)
    quiet = settings.quiet
    program = find_command(words, module)
    environment = dict(os.environ)
    folder = None
    if switched_off():
        _say("LOOPWATCH=0 is set: nothing is watched", quiet)
    else:
        _must_work()
        folder = _folder(settings, program)
        if folder is not None:
            environment = watched_environment(environment, folder, settings)
    if replace:
        supervise.become(program, environment)
    status = supervise.run(program, environment)
    if folder is not None and not quiet:
        try:
            _summarize(folder, program, settings)
        except KeyboardInterrupt:
            pass
        except Exception as error:  # the status is the command's, whatever happens here
            _say(f"the summary failed ({type(error).__name__}: {error}); the recording is in {_shown(folder)}")
    return status


def _must_work() -> None:
    """`LoopwatchError` if loopwatch cannot watch anything with this Python."""
    next_step = "see what is wrong: loopwatch doctor"
    try:
        from loopwatch import _core
    except ImportError as error:
        raise LoopwatchError(f"the extension cannot be imported: {error}", next_step) from None
    for check, reason in _core.self_test().items():
        if reason:
            raise LoopwatchError(f"the self-test of this Python fails ({check}: {reason})", next_step)


def _folder(settings: Settings, program: Command) -> Path | None:
    """The folder for the recording; without one the program is run all the same. Old ones make room."""
    base = Path(settings.dir)
    try:
        removed = remove_old(base, most=settings.recordings - 1, days=settings.recording_days)
        if removed:
            _say(f"{counted(removed, 'old recording')} removed from {base}", settings.quiet)
        return make_folder(base)
    except (FileExistsError, NotADirectoryError):
        raise LoopwatchError(f"{base} is not a folder", "name another one with --dir") from None
    except OSError as error:
        _say(f"{base} cannot hold a recording ({error.strerror}): {program.typed} runs without being watched")
        return None


def _summarize(folder: Path, program: Command, settings: Settings) -> None:
    from rich.console import Console

    if sys.stderr is None:
        return
    console = Console(file=terminal(sys.stderr), highlight=False, emoji=False, markup=False)
    width = min(_WIDEST, console.width) if console.is_terminal else _WIDEST
    with console.capture() as capture:
        for line in _lines(folder, program, settings, width):
            console.print(line, soft_wrap=True)
    _write(capture.get())


def _lines(folder: Path, program: Command, settings: Settings, width: int) -> Iterator[Text]:
    from rich.text import Text

    from loopwatch.analysis.run import load
    from loopwatch.report.summary import nothing, summary

    shown = _shown(folder)
    try:
        recordings = find_recordings([folder], app=settings.app)
    except LoopwatchError:
        reason = why_unwritable(folder)
        if reason is None:
            yield nothing(program.typed, program.deaf_option)
        else:
            yield Text(f"Nothing is recorded of {program.typed}: {shown} cannot be written ({reason}).")
        return
    yield from summary(load(recordings), program.typed, os.getpid(), width)
    yield Text(f"Recorded in {shown}", style="dim")
    yield Text("Next: loopwatch report" + ("" if _is_found(folder) else f" {shlex.quote(shown)}"))


def _is_found(folder: Path) -> bool:
    """Whether `loopwatch report` looks there by itself."""
    return folder.parent == Path(settings_for(str(Path.cwd()), os.environ, {}).dir)


def _shown(folder: Path) -> str:
    """The folder as a person would type it."""
    path = folder.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _say(message: str, quiet: bool = False) -> None:
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
