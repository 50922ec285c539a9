"""Byte for byte: a Starlette app on a real uvicorn, and through httpx, with the middleware and without."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import (
    FileResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

from loopwatch import LoopwatchMiddleware
from loopwatch.asgi import App
from tests.integration.serving import Address, ridden, serving

OURS = re.compile(rb"\r\nx-blocking-time-ms: [^\r]*\r\nx-loop-delay-ms: [^\r]*\r\nserver-timing: [^\r]*")


class Tagging(BaseHTTPMiddleware):
    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        response = await call_next(request)
        response.headers["x-tag"] = "tagged"
        return response


async def hello(request: Request) -> Response:
    response = PlainTextResponse("hello", headers={"server-timing": "db;dur=1"})
    response.set_cookie("a", "1")
    response.set_cookie("b", "2")
    return response


async def echo(request: Request) -> Response:
    return JSONResponse(
        {"method": request.method, "query": str(request.query_params), "body": str(await request.body())}
    )


async def stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        for number in range(50):
            yield b"%03d\n" % number
            await asyncio.sleep(0)

    return StreamingResponse(chunks(), media_type="text/plain")


async def broken_stream(request: Request) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"some"
        await asyncio.sleep(0)
        raise RuntimeError("half-way")

    return StreamingResponse(chunks())


async def background(request: Request) -> Response:
    async def later() -> None:
        request.app.state.done.append(request.url.path)

    return PlainTextResponse("accepted", status_code=202, background=BackgroundTask(later))


async def file(request: Request) -> Response:
    return FileResponse(request.app.state.file, headers={"etag": "fixed"})


async def fail(request: Request) -> Response:
    raise ZeroDivisionError


async def teapot(request: Request) -> Response:
    raise HTTPException(418, headers={"x-pot": "short"})


async def talk(websocket: WebSocket) -> None:
    await websocket.accept(headers=[(b"x-hi", b"1")])
    await websocket.send_text(await websocket.receive_text())
    await websocket.close(4001)


def make_app(folder: Path, *, inner: bool = False) -> Starlette:
    """The app; with `inner` its mounted part has the middleware as well."""
    mounted: Any = Starlette(routes=[Route("/hello", hello), Route("/fail", fail)])
    app = Starlette(
        routes=[
            *(Route(f"/{each.__name__}", each, methods=["GET", "POST"]) for each in (hello, echo, stream, background)),
            *(Route(f"/{each.__name__}", each) for each in (broken_stream, file, fail, teapot)),
            Route("/away", lambda request: RedirectResponse("/hello")),
            Mount("/mounted", LoopwatchMiddleware(mounted) if inner else mounted),
            WebSocketRoute("/talk", talk),
        ],
        middleware=[Middleware(Tagging), Middleware(GZipMiddleware, minimum_size=100)],
    )
    app.state.done = []
    app.state.file = folder / "file.txt"
    app.state.file.write_bytes(bytes(range(256)) * 300)
    return app


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def servers(folder: Path) -> Iterator[list[Address]]:
    """The app bare, under the middleware, under it twice, and as `loopwatch run` has it."""
    apps: list[App] = [
        make_app(folder),
        LoopwatchMiddleware(make_app(folder)),
        LoopwatchMiddleware(make_app(folder, inner=True)),
    ]
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(serving(app)) for app in apps]
        yield [*found, stack.enter_context(ridden(LoopwatchMiddleware(make_app(folder, inner=True))))]


REQUESTS: dict[str, tuple[str, list[str], str, bytes]] = {
    "hello": ("/hello", [], "GET", b""),
    "head": ("/hello", [], "HEAD", b""),
    "wrong method": ("/teapot", [], "DELETE", b""),
    "query": ("/echo?a=1&b=%20", [], "GET", b""),
    "body": ("/echo", [], "POST", b"x" * 200_000),
    "expect": ("/echo", ["Expect: 100-continue"], "POST", b"abc"),
    "stream": ("/stream", [], "GET", b""),
    "gzip": ("/stream", ["Accept-Encoding: gzip"], "GET", b""),
    "background": ("/background", [], "POST", b""),
    "file": ("/file", [], "GET", b""),
    "range": ("/file", ["Range: bytes=100-70000"], "GET", b""),
    "fail": ("/fail", [], "GET", b""),
    "teapot": ("/teapot", [], "GET", b""),
    "redirect": ("/away", [], "GET", b""),
    "absent": ("/absent", [], "GET", b""),
    "slash": ("/mounted", [], "GET", b""),
    "mounted": ("/mounted/hello", [], "GET", b""),
    "mounted fail": ("/mounted/fail", [], "GET", b""),
    "broken stream": ("/broken_stream", [], "GET", b""),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_answers(servers: list[Address], name: str) -> None:
    path, headers, method, body = REQUESTS[name]
    expected, *found = (server.get(path, *headers, method=method, body=body) for server in servers)
    for each in found:
        assert len(OURS.findall(each)) == 1
        assert _steady(OURS.sub(b"", each)) == _steady(expected)


def _steady(answer: bytes) -> bytes:
    """Without the times of a gzip header."""
    return re.sub(rb"\x1f\x8b\x08\x00.{4}", b"gzip", answer, flags=re.DOTALL)


def test_pipelined(servers: list[Address]) -> None:
    requests = (
        b"GET /hello HTTP/1.1\r\nHost: a\r\n\r\n" * 5 + b"GET /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    )
    expected, *found = (server.exchange(requests) for server in servers)
    for each in found:
        assert len(OURS.findall(each)) == 6
        assert OURS.sub(b"", each) == expected


def test_client_hangs_up(servers: list[Address]) -> None:
    for server in servers:
        server.talk((b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n", b"000"))
        assert b"hello" in server.get("/hello")


def test_websocket(servers: list[Address]) -> None:
    key = base64.b64encode(b"0123456789abcdef").decode()
    handshake = (
        "GET /talk HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n"
    )
    steps = (handshake.encode(), b"\r\n\r\n"), (b"\x81\x85\0\0\0\0hello", b"\x88\x02\x0f\xa1")  # masked with nothing
    expected, *found = (server.talk(*steps) for server in servers)
    assert b"x-hi: 1" in expected
    assert b"\x81\x05hello" in expected
    assert found == [expected] * len(found)


@pytest.mark.parametrize("name", REQUESTS)
async def test_through_httpx(folder: Path, name: str) -> None:
    path, _, method, body = REQUESTS[name]
    outcomes = []
    for app in (make_app(folder), LoopwatchMiddleware(make_app(folder), headers=False)):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            try:
                answer = await client.request(method, path, content=body)
            except Exception as error:
                outcomes.append(repr(error))
            else:
                outcomes.append(repr((answer.status_code, answer.headers.raw, answer.content)))
    assert outcomes[0] == outcomes[1]
