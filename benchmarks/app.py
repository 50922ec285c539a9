"""The smallest FastAPI app: what loopwatch costs shows most where a request costs least."""

from __future__ import annotations

import os

from fastapi import FastAPI

from loopwatch.asgi import Message, Receive, Scope, Send

app = FastAPI()


@app.get("/")
async def root() -> dict[str, bool]:
    return {"ok": True}


@app.get("/pid")
async def pid() -> int:
    return os.getpid()


HEADERS = [
    (b"x-blocking-time-ms", b"0.04"),
    (b"x-loop-delay-ms", b"0.00"),
    (b"server-timing", b"blocking;dur=0.04, loop-delay;dur=0.00"),
]


async def with_constants(scope: Scope, receive: Receive, send: Send) -> None:
    """The same with three headers as `--headers` adds them, which know nothing: what the server needs to send them."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *HEADERS]
        await send(message)

    await app(scope, receive, sending)
