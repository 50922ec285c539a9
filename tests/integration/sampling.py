"""Sampling flat out: all that the product sees of some work, by the way that every sample takes.

The work runs in callbacks of a watched loop; the watchdog samples without a pause and keeps every distinct stack;
what it records comes back through the queue and the decoder.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from loopwatch import _core
from loopwatch.model import Stall
from loopwatch.recording import Decoder
from loopwatch.stack import Frame, Stack

TURN = 0.02
"""Seconds that one callback lasts, about: a stall each."""

OPTIONS: _core.Options = {
    "threshold_ns": 1000,
    "interval_ns": 0,
    "directory": None,
    "header": b'"loopwatch": "0"',
    "part_bytes": 1 << 30,
    "parts": 2,
    "stacks": 1 << 20,
    "stack_depth": 1024,
    "requests": 4096,
    "badges": True,
    "sample": True,
    "causes": False,
    "queue": True,
    "way": None,
}

Work = Callable[[], object]
Seen = tuple[Frame, ...]  # a stack, outermost frame first


@dataclass
class Samples:
    """What was seen: each distinct stack with its number of samples."""

    stacks: Counter[Seen] = field(default_factory=Counter)
    stalls: list[Stall] = field(default_factory=list)
    torn: int = 0
    outer: int = 0
    omitted: int = 0

    @property
    def taken(self) -> int:
        """Samples that were accepted."""
        return self.stacks.total()


def inside(work: Work, seconds: float) -> None:
    """Do the work again and again for that long, at least once. All of it stands above this frame."""
    end = time.perf_counter() + seconds
    while True:
        work()
        if time.perf_counter() >= end:
            return


def run_turns(works: Iterable[Work], seconds: float = TURN, first: Work = lambda: None) -> None:
    """Do each of them for that long, in a callback of its own, on a new loop that begins with `first`."""
    loop = asyncio.new_event_loop()
    pending = iter(works)

    def turn() -> None:
        work = next(pending, None)
        if work is None:
            loop.stop()
        else:
            inside(work, seconds)
            loop.call_soon(turn)

    loop.call_soon(first)
    loop.call_soon(turn)
    try:
        loop.run_forever()
    finally:
        loop.close()


def sample(works: Iterable[Work], seconds: float = TURN) -> Samples:
    """Do the same under the watchdog, sampled flat out, each of the two on a core of its own where there are two."""
    _core.configure(OPTIONS)
    _core.hook()
    try:
        with _program_keeps_its_core() as part:
            run_turns(works, seconds, first=part)
        _core.stop()
        return _collect()
    finally:
        _core.configure(None)
        _core.unhook()
        _core.release()


@contextmanager
def _program_keeps_its_core() -> Iterator[Work]:
    """Without this the two may share a core, and the program stands still in every sample. Gives what has to be called
    as soon as the watchdog's thread is there."""
    interval = sys.getswitchinterval()
    cores = os.sched_getaffinity(0)
    own = {min(cores)}
    others = cores - own or own

    def part() -> None:
        for task in Path("/proc/self/task").iterdir():
            with suppress(ProcessLookupError):  # a thread that has just ended
                os.sched_setaffinity(int(task.name), own if int(task.name) == threading.get_native_id() else others)

    sys.setswitchinterval(10)
    try:
        yield part
    finally:
        sys.setswitchinterval(interval)
        os.sched_setaffinity(0, cores)


def _collect() -> Samples:
    samples, decoder = Samples(), Decoder()
    merged: Counter[Stack] = Counter()
    while lines := _core.take():
        for stall in decoder.feed(lines):
            samples.stalls.append(stall)
            samples.torn += stall.torn
            samples.outer += stall.outer
            samples.omitted += stall.omitted
            merged.update(dict(stall.stacks))
    damage = decoder.process.damage
    assert not (damage.dropped or damage.unresolved or damage.garbage), damage
    for stack, count in merged.items():
        samples.stacks[stack.frames] += count
    return samples
