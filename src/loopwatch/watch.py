"""Watching in this process: who wants it, with which settings, and who is told of the stalls.

Several may want it at once: `loopwatch run` from outside, `start()` in the program, `watching()` in a test. The one
watchdog of the process serves them all; its settings are the strictest of theirs, and whoever asked for less is told
less.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from loopwatch import _core
from loopwatch.callers import Caller, Listener
from loopwatch.config import check_settings, parse_duration
from loopwatch.errors import ConfigError, LoopwatchError
from loopwatch.header import header_members
from loopwatch.model import Stall
from loopwatch.recording import Decoder

PART_BYTES = 64 << 20
"""Size of one part of a recording file, in bytes."""
PARTS = 4
"""How many parts of one process's recording are kept."""
_WAYS = ("slot", "select", "uv", "context")
_PATIENCE = 5.0  # seconds; for whoever is being told of a stall when the program ends


@dataclass(eq=False, slots=True)
class _Want:
    """One who wants this process watched. Durations in seconds."""

    threshold: float
    interval: float
    record: str | None = None
    collect: Callable[[Stall], None] | None = None  # told at once, by whoever reads the records
    listeners: tuple[Listener, ...] = ()  # told on the thread for it

    @property
    def told(self) -> bool:
        """Whether anybody is told of stalls."""
        return self.collect is not None or bool(self.listeners)


@dataclass(slots=True)
class _State:
    """All that this module remembers. Guarded by the lock, but for what a forked child resets."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    wants: list[_Want] = field(default_factory=list)
    started: _Want | None = None  # the one of start()
    decoder: Decoder | None = None  # of the watchdog that runs, when anybody is to be told
    caller: Caller | None = None  # while there are listeners
    pid: int = field(default_factory=os.getpid)
    registered: bool = False


_state = _State()


def start(
    threshold: float = 0.010,
    interval: float = 0.001,
    record: str | os.PathLike[str] | None = None,
    on_stall: Callable[[Stall], None] | None = None,
) -> None:
    """Watch every event loop that starts in this process from now on, and the one that runs on this thread.

    `threshold` and `interval` are seconds: how long an iteration makes a stall, and how far its samples are apart.
    `record` is a folder for the recording, made if need be; without it nothing is written. `on_stall` is called with
    each `Stall` after it has ended, on a thread of loopwatch's own; what it raises is printed and ignored. Where the
    loop serves requests, that is when those that had to wait are counted, at most a second or so later. In a forked
    child the recording goes on, `on_stall` does not.

    Raises `LoopwatchError` when it was called before and `stop()` was not, or when `record` cannot be written.
    """
    check_settings(threshold, interval)
    folder = None if record is None else _recording_folder(record)
    with _state.lock:
        if _state.started is not None:
            raise LoopwatchError("loopwatch was started already", "call loopwatch.stop() first")
        listeners = () if on_stall is None else (Listener(on_stall),)
        want = _Want(threshold, interval, folder, listeners=listeners)
        _state.started = want
        _add(want)


def stop() -> None:
    """End what `start()` began. All stalls up to now are recorded, and `on_stall` has been called for each."""
    with _state.lock:
        want, _state.started = _state.started, None
        caller = _state.caller
        if want is not None:
            _remove(want)
    if want is not None and want.listeners and caller is not None:
        caller.drain()


class Watch:
    """What `watching()` gives: the stalls so far."""

    def __init__(self) -> None:
        self._stalls: list[Stall] = []

    @property
    def stalls(self) -> list[Stall]:
        """The stalls that have ended, in that order, and whose waiting requests are counted. After the `with` block:
        all of them."""
        with _state.lock:
            _read_records()
        return self._stalls


@contextmanager
def watching(threshold: float = 0.010, interval: float = 0.001) -> Iterator[Watch]:
    """Watch this process's event loops within the block. Durations are seconds.

    Where the block lies inside a running loop, the current iteration is cut: one part ends, and is told, with it.
    """
    check_settings(threshold, interval)
    watch = Watch()
    want = _Want(threshold, interval, collect=watch._stalls.append)
    with _state.lock:
        _add(want)
    try:
        yield watch
    finally:
        with _state.lock:
            _remove(want)


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
    """What `loopwatch run` has asked for, in the child that it started. Never raises; `LOOPWATCH=0`: nothing."""
    folder = os.environ.get("LOOPWATCH_RECORD")
    if not folder or os.environ.get("LOOPWATCH") == "0":
        return
    try:
        threshold = parse_duration(os.environ.get("LOOPWATCH_THRESHOLD", "10ms"))
        interval = parse_duration(os.environ.get("LOOPWATCH_INTERVAL", "1ms"))
        check_settings(threshold, interval)
    except ConfigError:  # `loopwatch run` has checked them: somebody else's environment
        return
    with _state.lock:
        _add(_Want(threshold, interval, folder))


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


# ---- the watchdog and those who want it; with the lock held ----


def _add(want: _Want) -> None:
    _end()  # without `want`: it is not told what was before
    _state.wants.append(want)
    if not _state.registered:
        _state.registered = True
        atexit.register(_finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_parent)
    _core.hook()
    _restart()


def _remove(want: _Want) -> None:
    _end()  # with `want` still there: it is told the last stalls
    _state.wants.remove(want)
    _call_listeners()
    if _state.wants:
        _restart()
    else:
        _core.configure(None)
        _core.unhook()


def _restart() -> None:
    """Let the watchdog run as all who want it have asked, and watch the loop that runs on this thread."""
    _end()
    record = next((want.record for want in _state.wants if want.record), None)
    threshold = min(want.threshold for want in _state.wants)
    interval = min(want.interval for want in _state.wants)
    tell = any(want.told for want in _state.wants)
    problems = {name: reason for name, reason in _core.self_test().items() if reason}
    way = os.environ.get("LOOPWATCH_POLL")
    _core.configure(
        {
            "threshold_ns": round(threshold * 1e9),
            "interval_ns": round(interval * 1e9),
            "directory": None if record is None else os.fsencode(record),
            "header": header_members(threshold, interval, problems),
            "part_bytes": PART_BYTES,
            "parts": PARTS,
            "stacks": 0,
            "sample": "stacks" not in problems,
            "causes": "gil" not in problems,
            "queue": tell,
            "way": way if way in _WAYS else None,
        }
    )
    _state.decoder = Decoder(pid=os.getpid()) if tell else None
    _call_listeners()
    asyncio_events = sys.modules.get("asyncio.events")
    loop = asyncio_events._get_running_loop() if asyncio_events else None
    if loop is not None:
        _core.attach_running(loop)


def _call_listeners() -> None:
    """Have the thread for them, if there are any."""
    if not any(want.listeners for want in _state.wants):
        caller, _state.caller = _state.caller, None
        if caller is not None:
            caller.close()
    elif _state.caller is None:
        _state.caller = Caller(_read_for_listeners)


def _end() -> None:
    """Stop the watchdog and pass on what it still had."""
    _core.stop()
    _read_records(flush=True)
    _core.release()
    _state.decoder = None


def _read_records(*, flush: bool = False) -> bool:
    """Tell of the stalls that have come in since the last time; returns whether more is awaited on others. With
    `flush`, nothing is."""
    decoder = _state.decoder
    if decoder is None:
        return False
    while lines := _core.take():
        _tell(decoder.feed(lines))
    if flush:
        _tell(decoder.flush())
    return decoder.holds


def _tell(stalls: list[Stall]) -> None:
    for stall in stalls:
        for want in _state.wants:
            if stall.duration < want.threshold:
                continue
            if want.collect is not None:
                want.collect(stall)
            for listener in want.listeners:
                if _state.caller is not None:
                    _state.caller.put(listener, stall)


def _read_for_listeners(flush: bool) -> bool:
    with _state.lock:
        return _read_records(flush=flush)


def _finish() -> None:
    """At exit: nothing that was seen is lost."""
    if _state.pid != os.getpid():
        return
    with _state.lock:
        _end()
        _core.configure(None)
        _state.wants.clear()
        caller, _state.caller = _state.caller, None
    if caller is not None:
        caller.drain(_PATIENCE)


def _forget_parent() -> None:
    """In a forked child: the watchdog is started anew at the next attach; most of those who were told are the parent's.
    No lock that the parent may have held, no thread."""
    _state.lock = threading.RLock()
    _state.pid = os.getpid()
    _state.decoder = None
    _state.caller = None
    for want in _state.wants:
        want.collect = None
        want.listeners = tuple(each for each in want.listeners if each.inherited)
    # Not yet: most children run no loop, and where this is called between fork and exec no thread may be.
    _core.call_when_started(_listen_in_child if any(want.listeners for want in _state.wants) else None)


def _listen_in_child() -> None:
    """On a new thread, when the first loop of a forked child has started."""
    with _state.lock:
        if _state.decoder is None:
            _state.decoder = Decoder(pid=os.getpid())
            _call_listeners()
