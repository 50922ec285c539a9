"""The middleware: which request the loop works for, and how long that held the loop, as headers of its response.

It imports no framework and touches nothing but the start of a response: every other message, every exception and
every cancellation passes through as it is. `docs/headers.md` says what the headers mean.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from loopwatch import _core
from loopwatch._core import REQUEST
from loopwatch.config import switched_off
from loopwatch.cwd import relative
from loopwatch.endpoints import endpoint_of, unmatched
from loopwatch.errors import ConfigError
from loopwatch.frameworks import hook_imported
from loopwatch.lifespans import announced
from loopwatch.location import location_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[Any]]

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
        if not isinstance(header_prefix, str) or not _TOKEN.fullmatch(header_prefix):
            raise ConfigError(f"{header_prefix!r} cannot begin a header's name", 'give letters and dashes, like "X-"')
        self.app = app
        patterns = _patterns(exclude)
        if switched_off():
            patterns = ["*"]
        excluded = re.compile("|".join(map(fnmatch.translate, patterns))).match if patterns else None
        prefix = header_prefix.lower().encode("ascii")
        names = (prefix + b"blocking-time-ms", prefix + b"loop-delay-ms", b"server-timing")
        self.tracking = _core.Tracking(
            app, self._other, _name_of, names if headers else None, _where if locations else None, excluded
        )
        """The same as this, for a server that awaits at once what it gives: faster by a frame of Python."""
        hook_imported()  # without `loopwatch run` nobody else has

    # `scope`, `receive` and `send` by these names: daphne calls with them. And a real coroutine function: servers ask.
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        return await self.tracking(scope, receive, send)

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> Any:
        if scope["type"] == "lifespan" and REQUEST not in scope:
            return await announced(self.app, scope, receive, send)
        return await self.app(scope, receive, send)


def _patterns(exclude: Iterable[str]) -> list[str]:
    patterns = list(exclude) if isinstance(exclude, Iterable) and not isinstance(exclude, str) else [exclude]
    if not all(isinstance(each, str) for each in patterns):
        raise ConfigError(f"exclude={exclude!r} names no paths", 'give patterns, like exclude=["/health", "/static/*"]')
    return patterns


def _name_of(scope: Scope, over: bool) -> str | None:
    return endpoint_of(scope) or (unmatched(scope) if over else None)


def _where(request: _core.Request) -> bytes:
    """The line that blocked it longest, as `desc` of Server-Timing."""
    location = location_of(_core.frames(request))
    if not location:
        return b""
    # Windows alone would need the escapes.
    shown = relative(location).replace("\\", "\\\\").replace('"', '\\"')
    return b';desc="%b"' % "".join(c if " " <= c <= "~" else "?" for c in shown).encode("ascii")
