"""One call of an ASGI app, as a server makes it, and all that a server can see of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from loopwatch.asgi import App, Message, Scope

OURS = (b"x-blocking-time-ms", b"x-loop-delay-ms", b"server-timing")


def http(path: str = "/", **more: Any) -> Scope:
    """The scope of a GET request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"test")],
        "client": ("127.0.0.1", 50000),
        "server": ("test", 80),
        "extensions": {"http.response.trailers": {}, "http.response.pathsend": {}},
        **more,
    }


def websocket(path: str = "/", **more: Any) -> Scope:
    """The scope of a websocket."""
    scope = http(path, type="websocket", scheme="ws", subprotocols=[], extensions={}, **more)
    del scope["method"]
    return scope


@dataclass
class Exchange:
    """What the server got."""

    sent: list[Message] = field(default_factory=list)
    result: Any = None
    error: BaseException | None = None

    @property
    def outcome(self) -> tuple[list[Message], Any, str]:
        """All of it in a form that can be compared."""
        return self.sent, self.result, described(self.error)

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Those of the response."""
        return [tuple(each) for each in self.sent[0]["headers"]]

    def value(self, name: bytes) -> float:
        """One of our headers as a number."""
        [found] = [value for key, value in self.headers if key == name]
        return float(found)

    def without_ours(self) -> tuple[list[Message], Any, str]:
        """`outcome`, when the last three headers of every start are taken off, which have to be ours."""
        sent: list[Message] = []
        for message in self.sent:
            if message["type"] == "http.response.start":
                headers = message["headers"]
                assert tuple(name for name, _ in headers[-3:]) == OURS
                message = {**message, "headers": headers[:-3]}
            sent.append(message)
        return sent, self.result, described(self.error)


def described(error: BaseException | None) -> str:
    """An exception with all that hangs on it."""
    if error is None:
        return ""
    group = [described(each) for each in error.exceptions] if isinstance(error, BaseExceptionGroup) else []
    chain = f" from {described(error.__cause__)} while {described(error.__context__)}"
    return f"{type(error).__name__}{error.args!r}{group}{chain}"


async def exchange(
    app: App,
    scope: Scope,
    *incoming: Message,
    sending: Callable[[Message], Any] | None = None,
) -> Exchange:
    """Call an app; it receives `incoming`, then waits until its response is complete, when the client hangs up.

    `sending` may raise, as a closed connection does.
    """
    messages = list(incoming) or [{"type": "http.request", "body": b"", "more_body": False}]
    found, complete = Exchange(), asyncio.Event()

    async def receive() -> Message:
        if messages:
            return messages.pop(0)
        await complete.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        if sending is not None:
            sending(message)
        found.sent.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            complete.set()

    try:
        found.result = await app(scope, receive, send)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        found.error = error
    return found
