"""Watching in this process, for whoever asks: `loopwatch run` from outside, `start()` in the program, `watching()` in a
test, several of them at once (`wants.py`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from loopwatch import _core, lifespans, wants
from loopwatch.callers import Listener
from loopwatch.config import check_settings, switched_off
from loopwatch.errors import LoopwatchError
from loopwatch.model import Stall
from loopwatch.settings import Settings
from loopwatch.wants import state


def start(
    threshold: float = 0.010,
    interval: float = 0.001,
    record: str | os.PathLike[str] | None = None,
    on_stall: Callable[[Stall], None] | None = None,
    log: bool | None = None,
) -> None:
    """Watch every event loop that starts in this process from now on, and the one that runs on this thread; those that
    somebody else has watched up to now go on being watched.

    `threshold` and `interval` are seconds: how long an iteration makes a stall, and how far its samples are apart.
    `record` is a folder for the recording, made if need be; without it nothing is written. `on_stall` is called with
    each `Stall` after it has ended, on a thread of loopwatch's own; what it raises is printed and ignored. Where the
    loop serves requests, that is when those that had to wait are counted, at most a second or so later. `log` writes a
    line per stall to the logger `loopwatch` on that thread; None is as `LOOPWATCH_LOG` says, and yes without it. In a
    forked child the recording and the log go on, `on_stall` does not. With `LOOPWATCH=0` nothing is watched.

    Raises `LoopwatchError` when it was called before and `stop()` was not, when `record` cannot be written, and for a
    variable `LOOPWATCH_*` that is no setting.
    """
    check_settings(threshold, interval)
    if switched_off():
        return
    settings = Settings().with_environment(os.environ)
    folder = None if record is None else _recording_folder(record)
    with state.lock:
        if state.started is not None:
            raise LoopwatchError("loopwatch was started already", "call loopwatch.stop() first")
        want = wants.Want(threshold, interval, settings, folder)
        logs = log if log is not None else settings.log is not False
        want.listeners = (*_log(settings, logs), *(() if on_stall is None else (Listener(on_stall),)))
        wants.add(want)
        state.started = want
    if settings.requests > 0:
        lifespans.hook_imported()


def stop() -> None:
    """End what `start()` began. All stalls up to now are recorded, and `on_stall` has been called for each."""
    with state.lock:
        want, state.started = state.started, None
        caller = state.caller
        if want is not None:
            wants.remove(want)
    if want is not None and want.listeners and caller is not None:
        told = any(not listener.inherited for listener in want.listeners)  # who has asked for it waits for it
        caller.drain(None if told else wants.PATIENCE)


class Watch:
    """What `watching()` gives: the stalls so far."""

    def __init__(self) -> None:
        self._stalls: list[Stall] = []

    @property
    def stalls(self) -> list[Stall]:
        """The stalls that have ended, in that order, and whose waiting requests are counted. After the `with` block:
        all of them."""
        with state.lock:
            wants.read_records()
        return self._stalls


@contextmanager
def watching(threshold: float = 0.010, interval: float = 0.001) -> Iterator[Watch]:
    """Watch this process's event loops within the block. Durations are seconds.

    Where the block lies inside a running loop, the current iteration is cut: one part ends, and is told, with it.
    """
    check_settings(threshold, interval)
    watch = Watch()
    if switched_off():
        yield watch
        return
    want = wants.Want(threshold, interval, collect=watch._stalls.append)
    with state.lock:
        wants.add(want)
    try:
        yield watch
    finally:
        with state.lock:
            wants.remove(want)


@contextmanager
def allowed() -> Iterator[None]:
    """Accept stalls within the block: those that would not be any without it are recorded as such, reported apart.

    Meant for synchronous code. Where the block awaits, whatever the loop runs meanwhile is accepted as well.
    """
    _core.allow(True)
    try:
        yield
    finally:
        _core.allow(False)


def start_from_environment() -> None:
    """What `loopwatch run` has asked for, in the child that it started. `LOOPWATCH=0`: nothing.

    `ConfigError` for an environment that somebody in between has changed: `loopwatch run` has checked its own.
    """
    folder = os.environ.get("LOOPWATCH_RECORD")
    if not folder or switched_off():
        return
    start_recording(Settings().with_environment(os.environ), folder)


def start_recording(settings: Settings, folder: str) -> wants.Want:
    """Watch as a command has asked for: recorded in this folder, with a log line per stall only where it says so."""
    with state.lock:
        want = wants.Want(settings.threshold, settings.interval, settings, folder)
        want.listeners = _log(settings, settings.log is True)
        wants.add(want)
    return want


def _log(settings: Settings, wanted: bool) -> tuple[Listener, ...]:
    if not wanted:
        return ()
    from loopwatch import logs

    return (logs.listener(settings.log_every, settings.log_rate),)


def _recording_folder(record: str | os.PathLike[str]) -> str:
    folder = os.path.abspath(os.fspath(record))
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
    except OSError as error:
        raise LoopwatchError(
            f"{folder} cannot be made: {error.strerror}", "give record= a folder to write to"
        ) from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise LoopwatchError(f"{folder} cannot be written to", "give record= a folder to write to")
    return folder
