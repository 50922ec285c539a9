"""Who wants this process watched, and the one watchdog that serves them all.

Its settings are the strictest of theirs, and whoever asked for less is told less. All functions are called with the
lock held.
"""

from __future__ import annotations

import atexit
import itertools
import math
import os
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from loopwatch import _core
from loopwatch.callers import Caller, Listener
from loopwatch.header import header_members
from loopwatch.model import Loop, Stall
from loopwatch.recording import Decoder
from loopwatch.settings import Settings

PARTS = 4
"""How many parts of one process's recording are kept."""
_WAYS = ("slot", "select", "uv", "context")
PATIENCE = 5.0
"""Seconds that the end of the program waits for whoever is being told of a stall."""


@dataclass(eq=False, slots=True)
class Want:
    """One who wants this process watched. Durations in seconds."""

    threshold: float
    interval: float
    settings: Settings = field(default_factory=Settings)
    record: str | None = None
    collect: Callable[[Stall], None] | None = None  # told at once, by whoever reads the records
    listeners: tuple[Listener, ...] = ()  # told on the thread for it

    @property
    def told(self) -> bool:
        """Whether anybody is told of stalls."""
        return self.collect is not None or bool(self.listeners)


@dataclass(slots=True)
class State:
    """All that is remembered. Guarded by the lock, but for what a forked child resets."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    wants: list[Want] = field(default_factory=list)
    started: Want | None = None  # the one of start()
    options: _core.Options | None = None  # of the watchdog; None: nothing is watched
    decoder: Decoder | None = None  # of the watchdog that runs, when anybody is to be told
    caller: Caller | None = None  # while there are listeners
    past: tuple[Loop, ...] = ()  # those of earlier watchdogs, and those that are over, as one
    pid: int = field(default_factory=os.getpid)
    registered: bool = False


state = State()


def add(want: Want) -> None:
    _core.hook()
    _end()  # without `want`: it is not told what was before
    state.wants.append(want)
    if not state.registered:
        state.registered = True
        atexit.register(_finish)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=_forget_parent)
    try:
        _begin()
    except BaseException:
        remove(want)
        raise


def remove(want: Want) -> None:
    _end()  # with `want` still there: it is told the last stalls
    state.wants.remove(want)
    _finish_listeners(want)
    _call_listeners()
    if state.wants:
        _begin()
    else:
        _configure(None)
        _core.unhook()


def _begin() -> None:
    """Let the watchdog run as all who want it have asked, and watch the loop that runs on this thread, and those of
    other threads that were watched up to now."""
    recording = next((want for want in state.wants if want.record), state.wants[0])
    record, settings = recording.record, recording.settings
    threshold = min(want.threshold for want in state.wants)
    interval = min(want.interval for want in state.wants)
    tell = any(want.told for want in state.wants)
    problems = {name: reason for name, reason in _core.self_test().items() if reason}
    way = os.environ.get("LOOPWATCH_POLL")
    others = _configure(
        {
            "threshold_ns": round(threshold * 1e9),
            "interval_ns": round(interval * 1e9),
            "directory": None if record is None else os.fsencode(record),
            "header": header_members(threshold, interval, problems, settings.app),
            "part_bytes": settings.recording_size // PARTS,
            "parts": PARTS,
            "stacks": settings.stacks,
            "stack_depth": settings.stack_depth,
            "requests": settings.requests,
            "badges": "requests" not in problems,
            "sample": "stacks" not in problems,
            "causes": "gil" not in problems,
            "queue": tell,
            "way": way if way in _WAYS else None,
        }
    )
    state.decoder = Decoder(pid=os.getpid()) if tell else None
    asyncio_events = sys.modules.get("asyncio.events")
    loop = asyncio_events._get_running_loop() if asyncio_events else None
    if loop is not None:
        _core.attach_running(loop)
    for loop in others:
        with suppress(Exception):  # it is closed, or of a kind that has no such method
            loop.call_soon_threadsafe(_core.attach_running, loop)
    _call_listeners()  # last: there may be no thread to be had


def _configure(options: _core.Options | None) -> list[Any]:
    """Have loops watched like that from now on, None: not at all; returns those of other threads that were watched.

    The watchdog that was is given up last: a loop that starts meanwhile is one of these, and starts none as it was.
    """
    state.options = options
    _core.configure(options)
    return _core.release()


def _summed(loops: tuple[Loop, ...]) -> tuple[Loop, ...]:
    """One that has the figures of all: there may be many of them in the end."""
    if not loops:
        return ()
    histograms = itertools.zip_longest(*(loop.histogram for loop in loops), fillvalue=0)
    one = Loop(
        0,
        seconds=sum(loop.seconds for loop in loops),
        busy=sum(loop.busy for loop in loops),
        iterations=sum(loop.iterations for loop in loops),
        torn=sum(loop.torn for loop in loops),
        unsampled=sum(loop.unsampled for loop in loops),
        lost=sum(loop.lost for loop in loops),
        requests=sum(loop.requests for loop in loops),
        histogram=tuple(map(sum, histograms)),
    )
    return (one,)


def _call_listeners() -> None:
    """Have the thread for them, if there are any."""
    if not any(want.listeners for want in state.wants):
        caller, state.caller = state.caller, None
        if caller is not None:
            caller.close()
    elif state.caller is None:
        state.caller = Caller(_read_for_listeners, _refresh_listeners)


def _end() -> None:
    """Stop the watchdog and pass on what it still had."""
    _core.stop()
    read_records(flush=True)
    if state.decoder is not None:
        state.past = _summed((*state.past, *state.decoder.process.loops))
    state.decoder = None


def read_records(*, flush: bool = False) -> float:
    """Tell of the stalls that have come in since the last time. After how many seconds this is to be called again, even
    if nothing comes: more is awaited on some of them till then. With `flush`, nothing is."""
    decoder = state.decoder
    if decoder is None:
        return math.inf
    crowded = decoder.crowded
    summaries = _core.summaries() if crowded else b""  # first: then all of those that are not in it can be taken
    while lines := _core.take():
        _tell(decoder.feed(lines))
    if crowded:
        state.past = _summed((*state.past, *decoder.forget_loops(summaries)))
    _tell(decoder.flush() if flush else decoder.overdue())
    return max(0.0, decoder.due - time.monotonic())


def _tell(stalls: list[Stall]) -> None:
    for stall in stalls:
        for want in state.wants:
            if stall.duration < want.threshold:
                continue
            if want.collect is not None:
                want.collect(stall)
            for listener in want.listeners:
                if state.caller is not None:
                    state.caller.put(listener, stall)


def _read_for_listeners() -> float:
    with state.lock:
        return read_records()


def _refresh_listeners() -> float:
    listeners = [listener for want in state.wants for listener in want.listeners]
    seconds = min((listener.later(False) for listener in listeners if listener.later is not None), default=math.inf)
    for listener in listeners:
        if listener.refresh is not None:
            listener.refresh()
    return seconds


def _finish_listeners(want: Want) -> None:
    for listener in want.listeners:
        if state.caller is not None:
            state.caller.finish(listener)


def loops() -> tuple[tuple[Loop, ...], tuple[Loop, ...]]:
    """The loops of the watchdog that runs, with their figures up to now, and those that were before, summed up. Takes
    the lock. Nothing where nobody is told of stalls."""
    with state.lock:
        read_records()
        decoder = state.decoder
        if decoder is None:
            return (), state.past
        _tell(decoder.feed(_core.summaries()))
        return decoder.process.loops, state.past


def _finish() -> None:
    """At exit: nothing that was seen is lost."""
    if state.pid != os.getpid():
        return
    with state.lock:
        _end()
        _configure(None)
        for want in state.wants:
            _finish_listeners(want)
        state.wants.clear()
        caller, state.caller = state.caller, None
    if caller is not None:
        caller.drain(PATIENCE)


def _forget_parent() -> None:
    """In a forked child: the watchdog is started anew at the next attach; most of those who were told are the parent's.
    No lock that the parent may have held, no thread."""
    state.lock = threading.RLock()
    state.pid = os.getpid()
    state.decoder = None
    state.caller = None
    state.past = ()
    for want in state.wants:
        want.collect = None
        want.listeners = tuple(each for each in want.listeners if each.inherited)
    if state.options is not None:  # records wait for nobody
        _core.configure({**state.options, "queue": any(want.told for want in state.wants)})
    # Not yet: most children run no loop, and where this is called between fork and exec no thread may be.
    _core.call_when_started(_listen_in_child if any(want.listeners for want in state.wants) else None)


def _listen_in_child() -> None:
    """On a new thread, when the first loop of a forked child has started."""
    with state.lock:
        if state.decoder is None:
            state.decoder = Decoder(pid=os.getpid())
            _call_listeners()
