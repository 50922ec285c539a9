"""One log line per stall, on loopwatch's own thread: logger `loopwatch`, with the figures as attributes of the record.

A line that fails in the program's handlers costs nobody but this thread. A site that stalls again and again is told
once in a while, with how many lines were left out; all sites together have a limit too.
"""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from loopwatch.callers import Listener
from loopwatch.model import Stall

_MOST_SITES = 1024  # that are remembered


@dataclass(slots=True)
class _Site:
    next: float  # when it may have its next line
    suppressed: int = 0
    suppressed_seconds: float = 0.0


class StallLog:
    """Writes the lines. `every`: seconds between two lines of one site; `rate`: lines a second, of all sites."""

    def __init__(self, every: float, rate: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logging.getLogger("loopwatch")
        self._every = every
        self._rate = rate
        self._clock = clock
        self._sites: OrderedDict[tuple[str, int, str], _Site] = OrderedDict()
        self._second = -1.0  # the one that `_lines` counts in
        self._lines = 0
        self.suppressed = 0
        """How many stalls have had no line."""

    def __call__(self, stall: Stall) -> None:
        level = logging.INFO if stall.allowed or stall.phase == "startup" else logging.WARNING
        if not self._logger.isEnabledFor(level):
            return
        now = self._clock()
        site = self._site((stall.file, stall.line, stall.function), now)
        if now < site.next or not self._has_room(now):
            site.suppressed += 1
            site.suppressed_seconds += stall.duration
            self.suppressed += 1
            return
        before, seconds = site.suppressed, site.suppressed_seconds
        site.next, site.suppressed, site.suppressed_seconds = now + self._every, 0, 0.0
        self._logger.log(level, "%s", message(stall, before, seconds), extra=attributes(stall, before, seconds))

    def _site(self, key: tuple[str, int, str], now: float) -> _Site:
        site = self._sites.setdefault(key, _Site(now))
        self._sites.move_to_end(key)
        if len(self._sites) > _MOST_SITES:
            self._sites.popitem(last=False)
        return site

    def _has_room(self, now: float) -> bool:
        if now - self._second >= 1:
            self._second, self._lines = now, 0
        self._lines += 1
        return self._lines <= self._rate


def listener(every: float, rate: int) -> Listener:
    """A log as `watch` wants it. Forked children write lines too: they are of the same program."""
    return Listener(StallLog(every, rate), inherited=True)


def message(stall: Stall, suppressed: int, seconds: float) -> str:
    """The line, for people."""
    where = f"{_shown(stall.file)}:{stall.line} {stall.function}" if stall.file else "a place that was not sampled"
    parts = [f"event loop blocked for {stall.duration_ms:.1f} ms in {where}"]
    if stall.cause:
        parts.append(f"({stall.cause})")
    if stall.endpoint:
        parts.append(f"by {stall.endpoint}")
    if stall.phase in ("startup", "shutdown"):
        parts.append(f"at {stall.phase}")
    if stall.allowed:
        parts.append("as allowed")
    line = " ".join(parts)
    if stall.requests_delayed:
        line += f"; {stall.requests_delayed} {'request' if stall.requests_delayed == 1 else 'requests'} waited"
    if suppressed:
        times = "once" if suppressed == 1 else f"{suppressed} times"
        line += f"; {times} more here since the last line, {seconds * 1e3:.1f} ms"
    return line


def attributes(stall: Stall, suppressed: int, seconds: float) -> dict[str, object]:
    """What structured logs get. Milliseconds, no values of the program."""
    return {
        "stall_ms": round(stall.duration_ms, 3),
        "stall_start": stall.start,
        "stall_file": _shown(stall.file),
        "stall_line": stall.line,
        "stall_function": stall.function,
        "stall_cause": stall.cause,
        "stall_phase": stall.phase,
        "stall_allowed": stall.allowed,
        "stall_endpoint": stall.endpoint,
        "stall_requests_delayed": stall.requests_delayed,
        "stall_thread": stall.thread,
        "stall_pid": stall.pid,
        "stall_suppressed": suppressed,
        "stall_suppressed_ms": round(seconds * 1e3, 3),
    }


def _shown(file: str) -> str:
    """Relative to the working directory, where it lies below it."""
    try:
        return file.removeprefix(os.getcwd() + os.sep)
    except OSError:  # removed under us
        return file
