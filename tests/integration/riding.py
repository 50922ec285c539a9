"""Requests that ride on the coroutine of their app, and how one is sure that they do."""

from __future__ import annotations

import contextlib
import gc
import types
from collections.abc import AsyncIterator, Callable
from typing import Any

import loopwatch
from loopwatch import LoopwatchMiddleware
from loopwatch._core import Request
from loopwatch.asgi import App, Message, Receive, Scope, Send
from loopwatch.watch import Watch
from tests.integration.exchange import exchange, http


def carried(awaitable: object) -> Request:
    """The request that rides on a coroutine."""
    assert type(awaitable) is types.CoroutineType
    [found] = [each for each in gc.get_referents(awaitable) if type(each) is Request]
    return found


def is_awaited(awaitable: object) -> bool:
    """Whether it is a request itself: nothing rides."""
    return type(awaitable) is Request


def around(app: App) -> Callable[..., Any]:
    """The app as `loopwatch run` has it."""
    return LoopwatchMiddleware(app, headers=False).tracking


def rides(app: App) -> Callable[..., Any]:
    """The same, where a request that does not ride is an error."""
    tracking = around(app)

    def called(scope: Scope, receive: Receive, send: Send) -> Any:
        awaitable = tracking(scope, receive, send)
        carried(awaitable)
        return awaitable

    return called


async def nothing(*_: Any) -> Any:
    """An app, a `receive` or a `send` that has nothing to do."""


@contextlib.asynccontextmanager
async def riding(threshold: float = 1) -> AsyncIterator[Watch]:
    """Have requests of the running loop ride."""
    gc.collect()  # middlewares of other tests, which ask for times
    with loopwatch.watching(threshold) as watch:
        await around(nothing)(http(), nothing, nothing)  # the first of a loop does not
        yield watch


class Cycle:
    """One request of a server."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def run(self, app: App) -> Any:
        """All that a server sees."""
        incoming: list[Message] = [
            {"type": "http.request", "body": b"abc", "more_body": False},
            {"type": "http.disconnect"},
        ]
        return await exchange(app, self.scope, *incoming)

    async def let_out(self, app: App) -> Any:
        """The call alone: what it raises is not caught."""
        return await app(self.scope, nothing, nothing)
