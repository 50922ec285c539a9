"""The event loops that are measured."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LOOPS = ["asyncio", "uvloop"]
SERVERS = [("asyncio", "h11"), ("asyncio", "httptools"), ("uvloop", "httptools")]
"""How uvicorn is run: as `pip install uvicorn` gives it; and with what makes it faster."""


def factory_of(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes loops of this kind. uvloop is imported only then."""
    if kind != "uvloop":
        return asyncio.new_event_loop
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
