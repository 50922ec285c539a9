"""A pytest plugin for other projects' tests: every app that Starlette's TestClient gets is in our middleware.

`LOOPWATCH_CONFORMANCE` says how: `off` without headers, `on` with them. These are then taken off every response again,
after a look at whether they are there, so that tests that compare all headers stay as they are. The loops are watched.
"""

from __future__ import annotations

import os
import re
from typing import Any

from starlette import testclient

import loopwatch
from loopwatch.asgi import App, LoopwatchMiddleware, Message, Receive, Scope, Send

HEADERS = os.environ["LOOPWATCH_CONFORMANCE"] == "on"
_OURS = {
    b"x-blocking-time-ms": re.compile(rb"\d+\.\d\d"),
    b"x-loop-delay-ms": re.compile(rb"\d+\.\d\d"),
    b"server-timing": re.compile(rb"blocking;dur=\d+\.\d\d, loop-delay;dur=\d+\.\d\d"),
}


calls = 0


class WithoutOurs:
    """Takes the three headers off, which must be there once each."""

    def __init__(self, app: App) -> None:
        self.app = LoopwatchMiddleware(app, headers=HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        global calls
        calls += 1

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": _others(list(message["headers"]))}
            await send(message)

        return await self.app(scope, receive, sending if HEADERS and scope["type"] == "http" else send)


def _others(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    found = sorted(name for name, value in headers if name in _OURS and _OURS[name].fullmatch(value))
    assert found == sorted(_OURS), f"{found} of the headers are there"
    return [(name, value) for name, value in headers if not (name in _OURS and _OURS[name].fullmatch(value))]


def wrapped(app: Any) -> App:
    """The app as the client takes it, in the middleware."""
    if not testclient._is_asgi3(app):
        app = testclient._WrapASGI2(app)
    return WithoutOurs(app)


def pytest_configure() -> None:
    original = testclient.TestClient.__init__

    def __init__(self: Any, app: Any, *args: Any, **kwargs: Any) -> None:
        original(self, wrapped(app), *args, **kwargs)

    testclient.TestClient.__init__ = __init__  # type: ignore[method-assign]
    loopwatch.start(threshold=0.001, log=False)  # these tests count what is logged


def pytest_terminal_summary(terminalreporter: Any) -> None:
    terminalreporter.write_line(f"loopwatch: {calls} calls through the middleware")


def pytest_unconfigure() -> None:
    loopwatch.stop()
