"""A core for the client and another one for the servers, of which one works at a time.

Left to the scheduler they change places, are now and then on one core together, and what one of them does to the other
is then most of the spread: servers that are the same differed by 1.4 %, each on the whole of its turns, and by 0.8 %
this way. The watchdog shares the core of its loop.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

_USABLE = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
CLIENT = set(_USABLE[:1])
SERVERS = set(_USABLE[-1:])


@contextlib.contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """This process, and those that it starts meanwhile, run there. Where that cannot be said, anywhere."""
    if not cores:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
