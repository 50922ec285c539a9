"""The event loops that are measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOPS = ["asyncio", "uvloop"]


def factory_of(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes loops of this kind. uvloop is imported only then."""
    if kind != "uvloop":
        return asyncio.new_event_loop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
