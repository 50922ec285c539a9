"""A group of commands that loads each when it is asked for, and ends every error as one line and a status."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import click

from loopwatch.cli.output import discard_output
from loopwatch.errors import LoopwatchError

USAGE = 2  # the status of every error that the person at the keyboard can put right
_INTERRUPTED = 130


class Commands(click.Group):
    """`modules` says for each name the module that has the command as `command`, and what it does in a sentence."""

    def __init__(self, modules: Mapping[str, tuple[str, str]], **attributes: Any) -> None:
        super().__init__(no_args_is_help=False, invoke_without_command=True, **attributes)
        self._modules = modules
        self.context_settings = {"help_option_names": ["-h", "--help"]}
        self.params.append(_version_option())
        self.callback = _show_help

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._modules:
            return None
        try:
            command = importlib.import_module(self._modules[cmd_name][0]).command
        except ModuleNotFoundError as error:
            raise LoopwatchError(f"{error.name} is not installed here", "pip install -U loopwatch") from None
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in self._modules and not name.startswith("-"):
            near = difflib.get_close_matches(name, self._modules, 1)
            hint = f"did you mean: loopwatch {near[0]}" if near else f"there are: {', '.join(self._modules)}"
            raise LoopwatchError(f"there is no command {name!r}", hint)
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and (
                name := ctx.invoked_subcommand
            ):  # click's parser does not tell whose option it is
                command = self.get_command(ctx, name)
                assert command is not None
                error.ctx = click.Context(command, parent=ctx, info_name=name)
            raise

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, does) for name, (_, does) in self._modules.items()])

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line. With `standalone_mode` this exits with the status; without, errors are raised."""
        if not standalone_mode:
            return super().main(args, prog_name, standalone_mode=False, **extra)
        try:
            status = super().main(args, prog_name or "loopwatch", standalone_mode=False, **extra)
        except LoopwatchError as error:
            fail(error.message, error.hint)
        except click.ClickException as error:
            fail(*_explain(error))
        except (click.Abort, KeyboardInterrupt):
            sys.exit(_INTERRUPTED)
        except BrokenPipeError:
            discard_output()
            sys.exit(0)
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            fail(f"{where}{error.strerror or error}", "see: loopwatch --help")
        sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, hint: str = "") -> NoReturn:
    """End with status 2 and one line on stderr: what is wrong, and what to type next."""
    from loopwatch.report.words import plain  # with all of the reports, which `run` does without until its command ends

    line = " ".join(f"loopwatch: {message}{f'; {hint}' if hint else ''}".split())
    click.echo(plain(line), err=True)
    sys.exit(USAGE)


def _explain(error: click.ClickException) -> tuple[str, str]:
    """An error of click's as a message in our manner, and the command whose help tells more."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    help_of = f"see: {context.command_path if context else 'loopwatch'} --help"
    if isinstance(error, click.NoSuchOption):
        near = f"did you mean {' or '.join(error.possibilities)}" if error.possibilities else help_of
        return f"there is no option {error.option_name}", near
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:], help_of


def _version_option() -> click.Option:
    def show(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
        if wanted and not ctx.resilient_parsing:
            from loopwatch import __version__

            click.echo(f"loopwatch {__version__}")
            ctx.exit()

    return click.Option(
        ["--version"], is_flag=True, is_eager=True, expose_value=False, callback=show, help="Show the version."
    )


def _show_help() -> None:
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        click.echo(context.get_help())
