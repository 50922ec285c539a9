"""Taking blocked signals one by one where the system does not say who sent them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import NamedTuple

_LOOK = 0.02  # seconds between two looks
_KEYS = {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGWINCH}


class Received(NamedTuple):
    """A signal; `terminal` is whether the terminal sent it, to everybody in its foreground group: a guess."""

    number: int
    terminal: bool


def take(numbers: Collection[int], timeout: float | None = None) -> Received | None:
    """The next of these blocked signals, waiting for it at most `timeout` seconds; None if none came."""
    end = None if timeout is None else time.monotonic() + timeout
    while end is not None and not signal.sigpending() & set(numbers):
        if time.monotonic() >= end:
            return None
        time.sleep(_LOOK)
    number = signal.sigwait(numbers)
    return Received(number, number in _KEYS and _in_foreground())


def _in_foreground() -> bool:
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return False
    finally:
        os.close(terminal)
