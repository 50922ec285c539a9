"""Taking blocked signals one by one, on Linux."""

from __future__ import annotations

import signal
from collections.abc import Collection
from typing import NamedTuple

_SI_KERNEL = 0x80


class Received(NamedTuple):
    """A signal; `terminal` is whether the terminal sent it, to everybody in its foreground group."""

    number: int
    terminal: bool


def take(numbers: Collection[int], timeout: float | None = None) -> Received | None:
    """The next of these blocked signals, waiting for it at most `timeout` seconds; None if none came."""
    if timeout is None:
        info: signal.struct_siginfo | None = signal.sigwaitinfo(numbers)
    else:
        info = signal.sigtimedwait(numbers, timeout)
    return None if info is None else Received(info.si_signo, info.si_code == _SI_KERNEL)
