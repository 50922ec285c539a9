"""The middleware: which request the loop works for, and how long that held the loop, as headers of its response.

It imports no framework and touches nothing but the start of a response: every other message, every exception and
every cancellation passes through as it is. `docs/headers.md` says what the headers mean.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from loopwatch import _core
from loopwatch.config import switched_off
from loopwatch.endpoints import endpoint_of, unmatched
from loopwatch.errors import ConfigError
from loopwatch.frameworks import hook_imported
from loopwatch.location import location_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]

REQUEST = "loopwatch.request"
"""Key of the scope: the `_core.Request`, so that a second middleware further in knows that there is one."""
HEADERS = "loopwatch.headers"
"""Key of the scope: one of the middlewares adds the headers."""

responding: Callable[[_core.Request], None] | None = None
"""To be called when the response of a request starts, on the loop's thread; set by `metrics.otel`."""

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]*")  # of RFC 9110: what a header's name may consist of


class LoopwatchMiddleware:
    """Pure ASGI middleware: `app.add_middleware(LoopwatchMiddleware)`, or `app = LoopwatchMiddleware(app)`.

    `headers` adds `X-Blocking-Time-Ms`, `X-Loop-Delay-Ms` and `Server-Timing` to HTTP responses, `locations` the line
    that blocked to the last of these; leave that off where strangers see the responses. `header_prefix` replaces `X-`.
    Paths that match a pattern of `exclude` (`/health`, `/static/*`) pass untouched.
    """

    def __init__(
        self,
        app: App,
        *,
        headers: bool = True,
        locations: bool = False,
        header_prefix: str = "X-",
        exclude: Iterable[str] = (),
    ) -> None:
        if not _TOKEN.fullmatch(header_prefix):
            raise ConfigError(f"{header_prefix!r} cannot begin a header's name", 'give letters and dashes, like "X-"')
        self.app = app
        self._headers = headers
        self._locations = locations
        self._blocking_name = f"{header_prefix}Blocking-Time-Ms".lower().encode("ascii")
        self._delay_name = f"{header_prefix}Loop-Delay-Ms".lower().encode("ascii")
        patterns = [exclude] if isinstance(exclude, str) else list(exclude)
        if switched_off():
            patterns = ["*"]
        self._excluded = re.compile("|".join(map(fnmatch.translate, patterns))).match if patterns else None
        hook_imported()  # without `loopwatch run` nobody else has
        self._serving = False  # a phase has been announced that requests come after

    # `scope`, `receive` and `send` by these names: daphne calls with them. And a real coroutine function: servers ask.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        kind = scope["type"]
        if kind == "lifespan" and REQUEST not in scope:
            return await self._lifespan(scope, receive, send)
        if kind not in ("http", "websocket") or (self._excluded and self._excluded(scope.get("path", ""))):
            return await self.app(scope, receive, send)
        known = scope.get(REQUEST)
        if known is not None:
            if self._adds_headers(scope):
                send = self._telling(send, known, headers=True)
            return await self.app(scope, receive, send)
        if not self._serving:
            self._serving = True
            _core.phase("serving")
        scope[REQUEST] = request = _core.Request(scope, _name_of)
        headers = self._adds_headers(scope)
        if headers or responding is not None:
            send = self._telling(send, request, headers=headers)
        request.enter()
        try:
            return await _core.drive(self.app(scope, receive, send), request)
        finally:
            request.leave()
            request.end()

    def _adds_headers(self, scope: Scope) -> bool:
        if not self._headers or scope["type"] != "http" or HEADERS in scope:
            return False
        scope[HEADERS] = True
        return True

    def _telling(self, send: Send, request: _core.Request, *, headers: bool) -> Send:
        """A `send` that tells of the start of the response whoever is to know, in its headers first of all."""

        def sending(message: Message) -> Awaitable[None]:
            kind = message.get("type")
            if responding is not None and kind in ("http.response.start", "websocket.accept"):
                with contextlib.suppress(Exception):
                    responding(request)
            if headers and kind == "http.response.start":
                message = self._told(message, request)
            return send(message)

        return sending

    def _told(self, message: Message, request: _core.Request) -> Message:
        """The start of a response with the headers; the message itself stays as it is."""
        waited = request.delay_ns()
        blocking, delay = b"%.2f" % (request.blocking_ns() / 1e6), b"%.2f" % (waited / 1e6) if waited else b"0.00"
        where = _described(location_of(request.frames())) if self._locations else b""
        headers = [
            *message.get("headers", ()),
            (self._blocking_name, blocking),
            (self._delay_name, delay),
            # A line of its own is the same as one more member of a line that is there (RFC 9110, section 5.3).
            (b"server-timing", b"blocking;dur=" + blocking + where + b", loop-delay;dur=" + delay),
        ]
        return {**message, "headers": headers}

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Announce when start-up ends and shutdown begins."""
        scope[REQUEST] = None

        async def receiving() -> Message:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                _core.phase("shutdown")
            return message

        async def sending(message: Message) -> None:
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                self._serving = True
                _core.phase("serving")

        _core.phase("startup")
        return await self.app(scope, receiving, sending)


def _name_of(scope: Scope, over: bool) -> str | None:
    return endpoint_of(scope) or (unmatched(scope) if over else None)


def _described(location: str) -> bytes:
    """A place in the code as `desc` of Server-Timing."""
    if not location:
        return b""
    # Windows alone would need the escapes.
    shown = location.removeprefix(os.getcwd() + os.sep).replace("\\", "\\\\").replace('"', '\\"')
    return b';desc="%b"' % "".join(c if " " <= c <= "~" else "?" for c in shown).encode("ascii")
