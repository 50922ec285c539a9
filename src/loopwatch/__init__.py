"""Finds the blocking calls that stall an asyncio event loop: which line, for how long.

The names that watch are imported when they are first used: reading a recording needs no extension.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from loopwatch.errors import LoopwatchError
from loopwatch.model import Stall

if TYPE_CHECKING:
    from loopwatch.asgi import LoopwatchMiddleware
    from loopwatch.watch import Watch, allowed, start, stop, watching

__version__ = "0.1.0"
__all__ = ["LoopwatchError", "LoopwatchMiddleware", "Stall", "Watch", "allowed", "start", "stop", "watching"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "LoopwatchMiddleware":
        from loopwatch import asgi

        return asgi.LoopwatchMiddleware
    from loopwatch import watch

    return getattr(watch, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
