"""The server's three addresses, all of them for reading: the page, its events, and nothing else.

On this machine's own address a `Host` header that names another is refused: a page from elsewhere whose name is made
to point here could otherwise read the source in the report. On any other address a token is asked for.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response, StreamingResponse

from loopwatch.report.html import html_page, policy
from loopwatch.web.local import is_local
from loopwatch.web.updates import Updates

_HOST = re.compile(r"(?:\[(.*)\]|([^:]*))(?::\d*)?")  # a browser leaves out port 80
_MOST_WATCHERS = 32
_LOOK = 0.1  # seconds between two looks for a change
_ALIVE = 15.0  # seconds after which a connection without news is told so
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def make_app(updates: Updates, token: str | None) -> FastAPI:
    """The application. With a token it serves whoever has it, without one only this machine."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    watchers = 0

    @app.middleware("http")
    async def guard(request: Request, follow: Any) -> Response:
        refusal = _refusal(request, token)
        response: Response = refusal or await follow(request)
        response.headers.update(_HEADERS)
        return response

    @app.get("/")
    async def page() -> HTMLResponse:
        events = f"events?token={token}" if token else "events"
        response = HTMLResponse(html_page(events=events))
        response.headers["Content-Security-Policy"] = f"{policy(events=True)}; frame-ancestors 'none'"
        return response

    @app.get("/events")
    async def events() -> Response:
        nonlocal watchers
        if watchers >= _MOST_WATCHERS:
            return PlainTextResponse("too many pages are open", status_code=503)

        async def stream() -> AsyncIterator[str]:
            nonlocal watchers
            watchers += 1
            updates.watch()
            try:
                async for event in _events(updates):
                    yield event
            finally:
                watchers -= 1
                updates.leave()

        return StreamingResponse(stream(), media_type="text/event-stream")

    return app


async def _events(updates: Updates) -> AsyncIterator[str]:
    seen, quiet = 0, 0.0
    yield "retry: 1000\n\n"
    while not updates.stopped:
        version, data, problem = updates.newest
        if version != seen:
            seen, quiet = version, 0.0
            # JSON as it is made here has no line breaks.
            yield f"event: problem\ndata: {json.dumps(problem)}\n\n" if problem else f"event: page\ndata: {data}\n\n"
        elif quiet >= _ALIVE:
            quiet = 0.0
            yield ": still here\n\n"
        quiet += _LOOK
        await asyncio.sleep(_LOOK)


def _refusal(request: Request, token: str | None) -> Response | None:
    if token is not None:
        given = request.query_params.get("token", "")
        if not secrets.compare_digest(given.encode(), token.encode()):
            return PlainTextResponse("the address that loopwatch ui has printed has a token\n", status_code=403)
    elif not is_local(_name(request.headers.get("host", ""))):
        return PlainTextResponse("not under this name\n", status_code=403)
    return None


def _name(host: str) -> str:
    """A `Host` header without its port; empty if it makes no sense."""
    match = _HOST.fullmatch(host)
    return (match[1] or match[2] or "") if match else ""
