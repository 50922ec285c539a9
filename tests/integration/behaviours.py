"""ASGI apps that do what an app can do, the odd things above all."""

from __future__ import annotations

import asyncio
import contextlib
import types
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import Any

from loopwatch.asgi import App, Receive, Scope, Send

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]}
END = {"type": "http.response.body", "body": b"done"}
BEHAVIOURS: dict[str, App] = {}


def behaviour(app: App) -> App:
    """Note an app under its name."""
    BEHAVIOURS[getattr(app, "__name__", type(app).__name__)] = app
    return app


@behaviour
async def plain(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await send(END)


@behaviour
async def streaming(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    for number in range(20):
        await send({"type": "http.response.body", "body": b"%d" % number, "more_body": True})
        await asyncio.sleep(0)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@behaviour
async def generator(scope: Scope, receive: Receive, send: Send) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        try:
            for number in range(100):
                yield b"%d" % number
                await asyncio.sleep(0)
        finally:
            await send({"type": "http.response.body", "body": b"end"})

    await send(START)
    async with contextlib.aclosing(chunks()) as source:  # type: ignore[type-var]
        async for chunk in source:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if chunk == b"5":
                break


@behaviour
async def many_headers(scope: Scope, receive: Receive, send: Send) -> None:
    headers = ((name, b"%d" % number) for number, name in enumerate([b"a", b"server-timing", b"a", b"set-cookie"] * 3))
    await send({"type": "http.response.start", "status": 204, "headers": tuple(headers)})
    await send({"type": "http.response.body"})


@behaviour
async def start_twice(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await send(dict(START))
    await send(END)


@behaviour
async def no_response(scope: Scope, receive: Receive, send: Send) -> None:
    await receive()


@behaviour
async def body_only(scope: Scope, receive: Receive, send: Send) -> None:
    await send(END)


@behaviour
async def trailers(scope: Scope, receive: Receive, send: Send) -> None:
    await send({**START, "trailers": True})
    await send(END)
    await send({"type": "http.response.trailers", "headers": [(b"checksum", b"1")], "more_trailers": False})


@behaviour
async def extensions(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.early_hint", "links": [b"</style.css>"]})
    await send({"type": "http.response.debug", "info": {"template": object}})
    await send({"type": "http.response.push", "path": "/style.css", "headers": []})
    await send({**START, "extra": [1]})
    await send({"type": "http.response.pathsend", "path": "/etc/hostname"})
    await send({"type": "http.response.zerocopysend", "file": 3})
    await send({"type": "nobody.knows"})


@behaviour
async def fails_before_start(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise ValueError("outer", 1) from error


@behaviour
async def fails_after_start(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    try:
        dict[str, int]()["absent"]
    except KeyError:
        raise RuntimeError("half-way") from None


@behaviour
async def fails_in_background(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    await send(END)
    await asyncio.sleep(0.001)
    raise OSError(5, "background")


@behaviour
async def exits(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    raise GeneratorExit("odd")


@behaviour
async def stops(scope: Scope, receive: Receive, send: Send) -> None:
    async def inner() -> None:
        await asyncio.sleep(0)
        raise StopAsyncIteration((1, 2))

    await inner()


@behaviour
async def group_fails(scope: Scope, receive: Receive, send: Send) -> None:
    async def child(number: int) -> None:
        await asyncio.sleep(0)
        raise ValueError(number)

    await send(START)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(child(1))
        tasks.create_task(child(2))


@behaviour
async def times_out(scope: Scope, receive: Receive, send: Send) -> None:
    try:
        async with asyncio.timeout(0.005):
            await asyncio.sleep(60)
    except TimeoutError:
        await send({**START, "status": 504})
        await send(END)


@behaviour
async def cancels_a_child(scope: Scope, receive: Receive, send: Send) -> None:
    child = asyncio.ensure_future(asyncio.sleep(60))
    await asyncio.sleep(0)
    child.cancel("enough")
    try:
        await child
    except asyncio.CancelledError as error:
        await send({**START, "headers": [(b"why", str(error.args).encode())]})
    await send(END)


@behaviour
async def answers_in_a_child(scope: Scope, receive: Receive, send: Send) -> None:
    async def child() -> None:
        await send(START)
        await asyncio.gather(send({"type": "http.response.body", "body": b"1", "more_body": True}), asyncio.sleep(0))
        await asyncio.create_task(send(END))  # type: ignore[arg-type]

    await asyncio.create_task(child())


@behaviour
async def returns(scope: Scope, receive: Receive, send: Send) -> object:
    await plain(scope, receive, send)
    return ("a", "value")


@behaviour
async def reads_on(scope: Scope, receive: Receive, send: Send) -> None:
    await send(START)
    while (message := await receive())["type"] != "http.disconnect":
        await send({"type": "http.response.body", "body": message["body"], "more_body": True})
    await send(END)


@behaviour
def raises_when_called(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    raise TypeError("not even awaited")


@behaviour
def no_awaitable(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    return None  # type: ignore[return-value]


@behaviour
def future(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    return asyncio.ensure_future(plain(scope, receive, send))


@behaviour
@types.coroutine
def generator_based(scope: Scope, receive: Receive, send: Send) -> Generator[Any, Any, str]:
    """What `await` takes without `__await__`."""
    yield from plain(scope, receive, send).__await__()
    return "generated"


class Awaited:
    """An app whose call gives neither a coroutine nor a future."""

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[Any]:
        self.arguments = scope, receive, send
        return self

    def __await__(self) -> Generator[Any, Any, str]:
        yield from plain(*self.arguments).__await__()
        return "awaited"


behaviour(Awaited())
