"""A real uvicorn in this process, on a thread of its own, and a client that sees every byte."""

from __future__ import annotations

import contextlib
import gc
import socket
import threading
import time
import types
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from loopwatch import _core
from loopwatch.asgi import App, LoopwatchMiddleware, Receive, Scope, Send

PATIENCE = 30.0  # seconds


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    port: int

    def get(self, path: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
        """One request; all that comes back until the server closes the connection."""
        lines = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close", *headers]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        return self.exchange("\r\n".join([*lines, "", ""]).encode() + body)

    def exchange(self, sent: bytes) -> bytes:
        """Send bytes; all that comes back until the end."""
        return self.talk((sent, None))

    def talk(self, *steps: tuple[bytes, bytes | None]) -> bytes:
        """Send bytes, wait for what is to come back (None: the end), send the next, and hang up after the last."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), PATIENCE) as connection:
            for sent, awaited in steps:
                connection.sendall(sent)
                while awaited is None or awaited not in received:
                    chunk = connection.recv(65536)
                    if not chunk:
                        return received
                    received += chunk
        return received


@contextlib.contextmanager
def serving(app: App, **options: object) -> Iterator[Address]:
    """Serve an app on the loopback address."""
    defaults = {"log_level": "critical", "date_header": False, "timeout_graceful_shutdown": 5}
    server = uvicorn.Server(uvicorn.Config(app, **{**defaults, **options}))  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, args=([listener],), name="server")
        thread.start()
        try:
            end = time.monotonic() + PATIENCE
            while not server.started and thread.is_alive():
                assert time.monotonic() < end, "the server did not start"
                time.sleep(0.005)
            yield Address(listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive(), "the server did not end"


@contextlib.contextmanager
def ridden(app: App, **options: object) -> Iterator[Address]:
    """Serve an app as `loopwatch run` has it served: where its loop is watched, requests ride on its coroutines."""
    tracking = LoopwatchMiddleware(app, headers=False).tracking
    kinds: list[type] = []

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        awaitable = tracking(scope, receive, send)
        if _core.watched():
            kinds.append(type(awaitable))
        await awaitable

    gc.collect()  # middlewares of other tests, which ask for times
    with serving(around, interface="asgi3", proxy_headers=False, lifespan="off", **options) as address:
        for _ in range(2):
            address.get("/unknown")
        assert kinds in ([], [_core.Request, types.CoroutineType]), "only the first one of a loop is awaited"
        yield address
