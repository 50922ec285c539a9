"""`loopwatch attach`: watching a process that runs already."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import psutil

from loopwatch import __version__
from loopwatch.cli.closing import new_folder, say, shown, summarize
from loopwatch.cli.here import settings_here
from loopwatch.cli.times import Duration
from loopwatch.config import SWITCH, check_settings, check_switch, switched_off
from loopwatch.errors import LoopwatchError
from loopwatch.launch.remote import NoAnswer, ask, give
from loopwatch.launch.target import Target, find_target
from loopwatch.recording.files import FOLDER, has_ended, note_gone
from loopwatch.settings import Settings

_LOOK = 0.2  # seconds between two looks at the process


@click.command("attach")
@click.argument("pid", type=click.IntRange(min=1))
@click.option("--stop", is_flag=True, help="End the watching that an attach has begun.")
@click.option("--detach", is_flag=True, help="Return at once, and leave the process watched.")
@click.option("--threshold", type=Duration(), help="How long a stall is at least: 10ms by default.")
@click.option("--interval", type=Duration(), help="Time between a stall's samples: 1ms by default.")
@click.option("--dir", type=click.Path(), help=f"For recordings: {FOLDER} by default.")
@click.option("--log", is_flag=True, default=None, help="Have the program log a line per stall.")
@click.option("--wait", type=Duration(), default="5s", show_default=True, help="How long to wait for its answer.")
@click.option("-q", "--quiet", is_flag=True, default=None, help="Say nothing, and no summary.")
def command(pid: int, stop: bool, detach: bool, wait: float, **options: Any) -> int:
    """Watch the event loops of a process that runs already, until Ctrl-C or its end; then a summary as of `run`.

    For CPython 3.14 and newer, by a loopwatch of the same Python version. Child processes that it has are others:
    attach to each. What no option says is as LOOPWATCH_* in the environment has it, or [tool.loopwatch] in
    pyproject.toml.
    """
    check_switch()
    if switched_off() and not stop:
        raise LoopwatchError(f"{SWITCH}={os.environ[SWITCH]} is set: nothing is watched", "unset it, and try again")
    settings = settings_here(options)
    check_settings(settings.threshold, settings.interval)
    if stop and detach:
        raise LoopwatchError("--stop and --detach are one too many", f"write: loopwatch attach {pid} --stop")
    target = find_target(pid)
    with _interruptible():
        if stop:
            folder = _end(target, wait)
            say(f"process {pid} is watched no more; its recording is in {shown(folder)}", settings.quiet)
            return 0
        _attend(target, settings, wait, detach)
    return 0


def _attend(target: Target, settings: Settings, wait: float, detach: bool) -> None:
    quiet, starter = settings.quiet, _parent(target)
    folder = _folder(settings, target)
    try:
        answer = _begin(target, settings, folder, wait)
    except NoAnswer:
        raise
    except (LoopwatchError, KeyboardInterrupt):
        _discard(folder)
        raise
    say(f"process {target.pid} ({target.typed}) is watched; recording in {shown(folder)}", quiet)
    if not answer.get("loop"):
        say(f"no event loop runs in its main thread now; {_elsewhere(target) or 'one that starts is watched'}", quiet)
    if detach:
        say(f"to end that: loopwatch attach {target.pid} --stop", quiet)
        return
    say("Ctrl-C ends that", quiet)
    there = time.time()
    try:
        while target.is_there and not has_ended(folder, target.pid):
            there = time.time()
            time.sleep(_LOOK)
        if not target.is_there:
            note_gone(folder, target.pid, there)
    except KeyboardInterrupt:
        _end_own(target, folder, wait)
    if not quiet:
        summarize(folder, settings, target.typed, starter)


def _begin(target: Target, settings: Settings, folder: Path, wait: float) -> dict[str, Any]:
    wanted = {"folder": str(folder.absolute()), "settings": settings.into({})}
    try:
        answer = ask(target, "begin", wanted, wait)
    except NoAnswer as error:
        hint = f"watching starts when it does; to take that back: loopwatch attach {target.pid} --stop"
        raise NoAnswer(error.message, hint) from None
    if "problem" in answer or not answer:
        raise _refusal(target, answer)
    return answer


def _end_own(target: Target, folder: Path, wait: float) -> None:
    """End what this command has begun. What is in the way is said; what was recorded is shown all the same."""
    if not target.is_there or has_ended(folder, target.pid):
        return
    try:
        _end(target, wait)
    except KeyboardInterrupt:
        say(f"process {target.pid} stays watched; to end that: loopwatch attach {target.pid} --stop")
    except LoopwatchError as error:
        if target.is_there:
            say(str(error))


def _end(target: Target, wait: float) -> Path:
    """End it; where the recording is."""
    try:
        answer = ask(target, "end", {}, wait)
    except NoAnswer as error:
        raise NoAnswer(error.message, "watching ends when it does") from None
    if answer.get("problem") == "unattached" and answer.get("folder"):
        raise LoopwatchError(
            f"process {target.pid} was not attached to: it was started to be watched", "it ends with the program"
        )
    if answer.get("problem") in ("unattached", "asyncio"):
        raise LoopwatchError(f"process {target.pid} is not watched", f"to begin: loopwatch attach {target.pid}")
    if "problem" in answer or not answer:
        raise _refusal(target, answer)
    return Path(answer["folder"])


def _refusal(target: Target, answer: dict[str, Any]) -> LoopwatchError:
    """What keeps the process from being watched, by its own account."""
    pid, python = target.pid, shlex.quote(target.python)
    reason = answer.get("reason") or "no reason was given"
    match answer.get("problem"):
        case "off":
            return LoopwatchError(f"{SWITCH}={answer.get('value', 0)} is set in process {pid}", "start it anew without")
        case "asyncio":
            message = f"process {pid} has not imported asyncio, so no event loop runs in it"
            return LoopwatchError(message, _elsewhere(target) or f"start it anew with: loopwatch run {target.typed}")
        case "folder":
            message = f"process {pid} (of user {target.process.username()}) cannot write to the folder for recordings"
            return LoopwatchError(message, "name one where it can: --dir FOLDER")
        case "watched":
            end = f"end that first: loopwatch attach {pid} --stop"
            hint = end if answer.get("attached") else f"follow it: loopwatch live {shlex.quote(str(answer['folder']))}"
            return LoopwatchError(f"process {pid} is watched already, recording in {answer['folder']}", hint)
        case "missing":
            message = f"loopwatch is not installed for the Python of process {pid}, and it cannot read this one"
            return LoopwatchError(message, f"install it: {python} -m pip install loopwatch=={__version__}")
        case "version":
            message = f"the Python of process {pid} has loopwatch {answer.get('version')}, and this is {__version__}"
            return LoopwatchError(message, f"use its own: {python} -m loopwatch attach {pid}")
        case "import":
            message = f"loopwatch cannot be imported in process {pid}: {reason}"
            return LoopwatchError(message, f"see: {python} -m loopwatch doctor")
    return LoopwatchError(f"process {pid} cannot be watched: {reason}", "see: loopwatch doctor")


def _elsewhere(target: Target) -> str:
    """Where a loop may run instead, as a hint; empty if nowhere else."""
    try:
        children = [each.pid for each in target.process.children() if "python" in each.name().lower()]
    except psutil.Error:
        children = []
    return f"maybe in a child process: loopwatch attach {children[0]}" if children else ""


def _folder(settings: Settings, target: Target) -> Path:
    base = Path(settings.dir)
    try:
        folder = new_folder(settings)
        give(target, *folder.iterdir(), folder)
    except OSError as error:
        message = f"{base} cannot hold a recording: {error.strerror}"
        raise LoopwatchError(message, "name another folder with --dir") from None
    return folder


def _discard(folder: Path) -> None:
    """Remove what nothing was recorded in."""
    if not any(path.suffix == ".jsonl" for path in folder.iterdir()):
        shutil.rmtree(folder, ignore_errors=True)


def _parent(target: Target) -> int:
    try:
        return target.process.ppid()
    except psutil.Error:
        return 0


@contextlib.contextmanager
def _interruptible() -> Iterator[None]:
    """A terminal that is closed, and `kill`, are like Ctrl-C here: the process is not left watched."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
