"""`loopwatch run`: a command with every event loop in it watched."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click

from loopwatch.cli.closing import new_folder, say, shown, summarize
from loopwatch.cli.here import settings_here
from loopwatch.cli.times import Duration
from loopwatch.config import SWITCH, check_settings, check_switch, switched_off
from loopwatch.errors import ConfigError, LoopwatchError
from loopwatch.launch import supervise
from loopwatch.launch.command import Command, find_command
from loopwatch.launch.environment import watched_environment
from loopwatch.recording.files import FOLDER, note_gone
from loopwatch.settings import Settings


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
    check_switch()
    off = switched_off()
    settings = _settings(options, or_defaults=off)
    quiet = settings.quiet
    program = find_command(words, module)
    environment = dict(os.environ)
    folder = None
    if off:
        say(f"{SWITCH}={environment[SWITCH]} is set: nothing is watched", quiet)
    else:
        _must_work()
        folder = _folder(settings, program)
        if folder is not None:
            environment = watched_environment(environment, folder, settings)
    if replace:
        supervise.become(program, environment)
    status = supervise.run(program, environment, lambda pid: _gone(folder, pid))
    if folder is not None and not quiet:
        try:
            summarize(folder, settings, program.typed, os.getpid(), status, program.deaf_option)
        except KeyboardInterrupt:
            pass
        except Exception as error:  # the status is the command's, whatever happens here
            say(f"the summary failed ({type(error).__name__}: {error}); the recording is in {shown(folder)}")
    return status


def _settings(options: dict[str, Any], *, or_defaults: bool) -> Settings:
    """What holds here. `ConfigError` where that cannot be read, unless there are to be the defaults then."""
    try:
        settings = settings_here(options)
        check_settings(settings.threshold, settings.interval)
    except ConfigError:
        if not or_defaults:
            raise
        return Settings(quiet=options["quiet"] is True)
    return settings


def _gone(folder: Path | None, pid: int) -> None:
    if folder is not None:
        note_gone(folder, pid, time.time())


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
        return new_folder(settings)
    except (FileExistsError, NotADirectoryError):
        raise LoopwatchError(f"{base} is not a folder", "name another one with --dir") from None
    except OSError as error:
        say(f"{base} cannot hold a recording ({error.strerror}): {program.typed} runs without being watched")
        return None
