"""Telling of stalls on a thread of loopwatch's own: never on the loop's, and never within a lock.

There is one such thread, while there is anybody to be told. It sleeps without the GIL until the watchdog has records.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from loopwatch import _core
from loopwatch.model import Stall

THREAD = "loopwatch"
_T = TypeVar("_T")
_WAIT = 3600.0  # seconds; it is woken when there is something


@dataclass(eq=False, frozen=True, slots=True)
class Listener:
    """Somebody to be told of every stall. `inherited`: those of forked children too, in the child. `refresh` is called
    when records of any kind have come. `later` is called when all have been told, returns after how many seconds it is
    to be called again (infinity: not before the next time), and is called with True at the end."""

    tell: Callable[[Stall], None]
    inherited: bool = False
    refresh: Callable[[], None] | None = None
    later: Callable[[bool], float] | None = None


class Caller:
    """The thread. `read` passes the records on that have come, by way of `put`; `refresh` is called after that. Both
    return after how many seconds they have to be at the latest."""

    def __init__(self, read: Callable[[], float], refresh: Callable[[], float]) -> None:
        self._read = read
        self._refresh = refresh
        self._told: deque[tuple[Listener, Stall | None] | threading.Event] = deque()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
        self._thread.start()

    def put(self, listener: Listener, stall: Stall) -> None:
        """Have somebody told, soon. A loop that a listener itself runs is none of its business."""
        if stall.thread != THREAD:
            self._told.append((listener, stall))

    def finish(self, listener: Listener) -> None:
        """Have somebody told that this was all."""
        if listener.later is not None:
            self._told.append((listener, None))

    def drain(self, most: float | None = None) -> None:
        """Return when all that was put up to now has been told, or after so many seconds. From within: at once."""
        if threading.current_thread() is self._thread:
            return
        done = threading.Event()
        self._told.append(done)
        _core.wake()
        done.wait(most)

    def close(self) -> None:
        """Nobody is left to be told: the thread ends when all has been."""
        self._closing = True
        _core.wake()

    def _run(self) -> None:
        while True:
            closing = self._closing
            patience = self._read()
            some = self._tell()
            due = _ignoring(self._refresh)
            if closing:
                _core.wake()  # what woke us may have been meant for the one that came after us
                return
            if not some:
                _core.wait(min(_WAIT, patience, _WAIT if due is None else max(0.0, due)))

    def _tell(self) -> bool:
        """Whether there was anything."""
        some = False
        while self._told:
            some = True
            one = self._told.popleft()
            if isinstance(one, threading.Event):
                one.set()
                continue
            listener, stall = one
            if stall is not None:
                _ignoring(listener.tell, stall)
            elif listener.later is not None:
                _ignoring(listener.later, True)
        return some


def _ignoring(function: Callable[..., _T], *arguments: object) -> _T | None:
    """What it raises is printed, `SystemExit` too: without this thread nobody would ever be told again."""
    try:
        return function(*arguments)
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return None
