"""The middleware changes nothing but three headers: the same messages, bytes, exceptions and cancellations."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Awaitable
from typing import Any

import pytest

import loopwatch
from loopwatch import LoopwatchMiddleware, _core, asgi
from loopwatch._core import REQUEST
from loopwatch.asgi import App, Message, Receive, Scope, Send
from tests.integration.behaviours import BEHAVIOURS, END, START, plain
from tests.integration.exchange import Exchange, described, exchange, http, websocket

INCOMING: list[Message] = [
    {"type": "http.request", "body": b"one", "more_body": True},
    {"type": "http.request", "body": b"two", "more_body": False},
    {"type": "http.disconnect"},
]
each_behaviour = pytest.mark.parametrize("app", BEHAVIOURS.values(), ids=list(BEHAVIOURS))


@each_behaviour
class TestSame:
    async def test_without_headers(self, app: App) -> None:
        expected = await exchange(app, http(), *INCOMING)
        found = await exchange(LoopwatchMiddleware(app, headers=False), http(), *INCOMING)
        assert found.outcome == expected.outcome

    async def test_with_headers(self, app: App) -> None:
        expected = await exchange(app, http(), *INCOMING)
        for message in expected.sent:
            if message["type"] == "http.response.start":
                message["headers"] = list(message["headers"])
        found = await exchange(LoopwatchMiddleware(app), http(), *INCOMING)
        assert found.without_ours() == expected.outcome

    async def test_where_sending_fails(self, app: App) -> None:
        """The client has gone: servers raise, at one message or another."""

        class Closing:
            def __init__(self, after: int) -> None:
                self.left = after

            def __call__(self, message: Message) -> None:
                self.left -= 1
                if self.left < 0:
                    raise OSError("closed")

        for after in range(4):
            expected = await exchange(app, http(), *INCOMING, sending=Closing(after))
            middleware = LoopwatchMiddleware(app, headers=False)
            found = await exchange(middleware, http(), *INCOMING, sending=Closing(after))
            assert found.outcome == expected.outcome

    async def test_watched(self, app: App) -> None:
        expected = await exchange(app, http(), *INCOMING)
        with loopwatch.watching():
            found = await exchange(LoopwatchMiddleware(app, headers=False), http(), *INCOMING)
        assert found.outcome == expected.outcome


async def test_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOPWATCH", "0")
    expected = await exchange(plain, http(), *INCOMING)
    assert (await exchange(LoopwatchMiddleware(plain), http(), *INCOMING)).outcome == expected.outcome


def test_is_what_servers_look_for() -> None:
    middleware = LoopwatchMiddleware(plain)
    assert inspect.iscoroutinefunction(middleware.__call__)
    assert list(inspect.signature(middleware).parameters) == ["scope", "receive", "send"]
    assert loopwatch.LoopwatchMiddleware is LoopwatchMiddleware


async def test_messages_are_the_same_objects() -> None:
    body = {"type": "http.response.body", "body": b"x"}
    start = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        assert await receive() is incoming
        await send(start)
        await send(body)

    incoming = {"type": "http.request"}
    found = await exchange(LoopwatchMiddleware(app), http(), incoming)
    assert found.error is None
    assert found.sent[1] is body
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}
    bare = await exchange(LoopwatchMiddleware(app, headers=False), http(), incoming)
    assert bare.sent[0] is start


class TestHeaders:
    async def test_values(self) -> None:
        found = await exchange(LoopwatchMiddleware(plain), http())
        (own, blocking), (delayed, delay), (timing, both) = found.headers[-3:]
        assert (own, delayed, timing) == (b"x-blocking-time-ms", b"x-loop-delay-ms", b"server-timing")
        assert re.fullmatch(rb"\d+\.\d\d", blocking)
        assert re.fullmatch(rb"\d+\.\d\d", delay)
        assert both == b"blocking;dur=" + blocking + b", loop-delay;dur=" + delay

    async def test_server_timing_is_appended(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({**START, "headers": [(b"server-timing", b"db;dur=3")]})
            await send(END)

        found = await exchange(LoopwatchMiddleware(app), http())
        lines = [value for name, value in found.headers if name == b"server-timing"]
        assert lines[0] == b"db;dur=3"
        assert lines[1].startswith(b"blocking;dur=")

    async def test_start_without_headers(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "http.response.start", "status": 200})

        assert len((await exchange(LoopwatchMiddleware(app), http())).headers) == 3

    async def test_prefix(self) -> None:
        found = await exchange(LoopwatchMiddleware(plain, header_prefix="My-"), http())
        assert [name for name, _ in found.headers[1:]] == [
            b"my-blocking-time-ms",
            b"my-loop-delay-ms",
            b"server-timing",
        ]
        for wrong in ("X ", "X:", "\n", "é", 5, None, b"X-"):
            with pytest.raises(loopwatch.LoopwatchError, match="header"):
                LoopwatchMiddleware(plain, header_prefix=wrong)  # type: ignore[arg-type]

    @pytest.mark.parametrize("wrong", [5, None, b"/x", [5], ["/x", None], object])
    def test_exclude_that_names_no_paths(self, wrong: Any) -> None:
        with pytest.raises(loopwatch.LoopwatchError, match=r"^exclude=.* names no paths; give patterns, like exclude="):
            LoopwatchMiddleware(plain, exclude=wrong)

    async def test_location(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(asgi, "location_of", lambda frames: 'pkg/a "b"\\é.py:42')
        found = await exchange(LoopwatchMiddleware(plain, locations=True), http())
        assert found.error is None
        where = rb';desc="pkg/a \"b\"\\?.py:42"'
        assert re.fullmatch(
            rb"blocking;dur=[\d.]+" + re.escape(where) + rb", loop-delay;dur=[\d.]+", found.headers[-1][1]
        )
        found = await exchange(LoopwatchMiddleware(plain), http())
        assert re.fullmatch(rb"blocking;dur=[\d.]+, loop-delay;dur=[\d.]+", found.headers[-1][1])

    async def test_own_time(self) -> None:
        """In ms, with two decimals: of a block of 30 ms, and that is more than the rest takes."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            time.sleep(0.03)
            await plain(scope, receive, send)

        found = await exchange(LoopwatchMiddleware(app), http())
        assert 30 <= float(dict(found.headers)[b"x-blocking-time-ms"]) < 3000


class TestExcluded:
    @pytest.mark.parametrize("exclude", [["/health", "/static/*"], "/health", ("/h*",), iter(["/health"])])
    async def test_pattern(self, exclude: Any) -> None:
        middleware = LoopwatchMiddleware(plain, exclude=exclude)
        assert len((await exchange(middleware, http("/health"))).headers) == 1
        assert len((await exchange(middleware, http("/HEALTH"))).headers) == 4
        assert len((await exchange(middleware, http("/other/health"))).headers) == 4

    async def test_untouched(self) -> None:
        seen: list[Any] = []

        async def app(*arguments: Any) -> None:
            seen.extend(arguments)

        scope = http("/static/a.css")

        async def receive() -> Message: ...  # type: ignore[empty-body]
        async def send(message: Message) -> None: ...

        await LoopwatchMiddleware(app, exclude=["/static/*"])(scope, receive, send)
        assert [seen[0] is scope, seen[1] is receive, seen[2] is send] == [True] * 3
        assert scope == http("/static/a.css")

    async def test_unknown_scope(self) -> None:
        scope = {"type": "news.protocol"}
        seen: list[Any] = []

        async def app(*arguments: Any) -> str:
            seen.extend(arguments)
            return "result"

        assert await LoopwatchMiddleware(app)(scope, app, app) == "result"  # type: ignore[arg-type]
        assert seen == [scope, app, app]
        assert scope == {"type": "news.protocol"}


class TestTwice:
    async def test_one_set_of_headers(self) -> None:
        found = await exchange(LoopwatchMiddleware(LoopwatchMiddleware(plain)), http())
        assert len(found.headers) == 4

    async def test_outer_without_headers(self) -> None:
        """`loopwatch run` wraps an app that has the middleware in it."""
        inner = LoopwatchMiddleware(plain, header_prefix="Mine-")
        found = await exchange(LoopwatchMiddleware(inner, headers=False), http())
        assert [name for name, _ in found.headers[1:]] == [
            b"mine-blocking-time-ms",
            b"mine-loop-delay-ms",
            b"server-timing",
        ]

    async def test_one_request(self) -> None:
        before = _core.Request().number

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            assert scope[REQUEST].number == before + 1
            await inner(dict(scope), receive, send)  # as a dispatcher does

        inner = LoopwatchMiddleware(LoopwatchMiddleware(plain))
        found = await exchange(LoopwatchMiddleware(app), http())
        assert found.error is None
        assert _core.Request().number == before + 2

    async def test_served_once(self) -> None:
        async def five(*_: object) -> int:
            return 5

        one = _core.Request()
        assert await _core.drive(one, five) == 5
        with pytest.raises(RuntimeError, match="served once"):
            _core.drive(one, five)
        with pytest.raises(RuntimeError, match="already awaited"):
            await one  # type: ignore[misc]
        with pytest.raises(TypeError, match="at most three"):
            _core.drive(_core.Request(), five, 1, 2, 3, 4)

    async def test_closed_by_what_it_calls(self) -> None:
        async def five() -> int:
            return 5

        def function(*_: object) -> Awaitable[int]:
            one.close()  # type: ignore[attr-defined]
            return five()

        one = _core.drive(_core.Request(), function, "what", "it is", "called with")
        assert await one == 5

    async def test_next_request_is_another(self) -> None:
        middleware, scopes = LoopwatchMiddleware(plain), [http(), http()]
        for scope in scopes:
            await exchange(middleware, scope)
        assert scopes[0][REQUEST].number != scopes[1][REQUEST].number


class TestCancelled:
    """A server that cancels, as hypercorn does when the client goes."""

    @staticmethod
    async def both(app: App, message: str | None) -> list[tuple[Any, ...]]:
        outcomes = []
        for each in (app, LoopwatchMiddleware(app, headers=False), LoopwatchMiddleware(app)):
            task = asyncio.create_task(exchange(each, http(), sending=lambda message: None))
            await asyncio.sleep(0.005)
            task.cancel(message) if message else task.cancel()
            done: Exchange = await task
            outcomes.append((len(done.sent), done.result, described(done.error), task.cancelling()))
        return outcomes

    @pytest.mark.parametrize("message", [None, "client went"])
    async def test_waiting(self, message: str | None) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await send(START)
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError as error:
                assert error.args == ((message,) if message else ())
                raise

        expected, *found = await self.both(app, message)
        assert found == [expected, expected]
        assert "CancelledError" in expected[2]

    async def test_swallowed(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> str:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                await asyncio.sleep(0)
                await send(START)
            return "stayed"

        expected, *found = await self.both(app, "go")
        assert found == [expected, expected]
        assert expected[1] == "stayed"

    async def test_replaced(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                raise LookupError("instead")

        expected, *found = await self.both(app, "go")
        assert found == [expected, expected]

    async def test_child_tasks(self) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(60))
                tasks.create_task(asyncio.sleep(60))

        expected, *found = await self.both(app, "go")
        assert found == [expected, expected]

    @pytest.mark.parametrize("after_start", [False, True])
    async def test_closed(self, after_start: bool) -> None:
        """A server that goes down with requests in flight: their coroutines are closed, not cancelled."""
        seen: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if after_start:
                await send(START)
            try:
                await receive()
            except BaseException as error:
                seen.append(type(error).__name__)
                raise
            finally:
                seen.append("finally")

        async def receive() -> Message:
            await asyncio.sleep(60)
            return {}

        async def send(message: Message) -> None: ...

        for each in (app, LoopwatchMiddleware(app), LoopwatchMiddleware(LoopwatchMiddleware(app))):
            coroutine = each(http(), receive, send)
            assert inspect.iscoroutine(coroutine)
            coroutine.send(None)
            coroutine.close()
        assert seen == ["GeneratorExit", "finally"] * 3

    async def test_never_awaited_further(self) -> None:
        """Collected while it waits."""
        seen: list[str] = []

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("finally")

        coroutine = LoopwatchMiddleware(app)(http(), None, None)  # type: ignore[arg-type]
        coroutine.send(None)
        del coroutine
        assert seen == ["finally"]


class TestWebsocket:
    async def test_same(self) -> None:
        async def echo(scope: Scope, receive: Receive, send: Send) -> None:
            assert (await receive())["type"] == "websocket.connect"
            await send({"type": "websocket.accept", "headers": [(b"a", b"b")]})
            while (message := await receive())["type"] == "websocket.receive":
                await send({"type": "websocket.send", "text": message["text"]})

        incoming: list[Message] = [
            {"type": "websocket.connect"},
            {"type": "websocket.receive", "text": "hello"},
            {"type": "websocket.disconnect", "code": 1001},
        ]
        expected = await exchange(echo, websocket(), *incoming)
        found = await exchange(LoopwatchMiddleware(echo), websocket(), *incoming)
        assert found.outcome == expected.outcome

    async def test_denied_with_a_response(self) -> None:
        async def deny(scope: Scope, receive: Receive, send: Send) -> None:
            await send({"type": "websocket.http.response.start", "status": 403, "headers": []})
            await send({"type": "websocket.http.response.body", "body": b"no"})

        expected = await exchange(deny, websocket())
        assert (await exchange(LoopwatchMiddleware(deny), websocket())).outcome == expected.outcome


class TestLifespan:
    @pytest.fixture
    def phases(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        seen: list[str] = []
        monkeypatch.setattr(_core, "phase", seen.append)
        return seen

    @staticmethod
    async def lifespan(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await plain(scope, receive, send)
            return
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})

    INCOMING: tuple[Message, ...] = ({"type": "lifespan.startup"}, {"type": "lifespan.shutdown"})

    async def test_phases(self, phases: list[str]) -> None:
        expected = await exchange(self.lifespan, {"type": "lifespan"}, *self.INCOMING)
        middleware = LoopwatchMiddleware(LoopwatchMiddleware(self.lifespan))
        assert (await exchange(middleware, {"type": "lifespan"}, *self.INCOMING)).outcome == expected.outcome
        assert phases == ["startup", "serving", "shutdown"]
        await exchange(middleware, http())  # still in flight: the server is going down all the same
        assert phases == ["startup", "serving", "shutdown"]

    async def test_failed(self, phases: list[str]) -> None:
        async def failing(scope: Scope, receive: Receive, send: Send) -> None:
            await receive()
            await send({"type": "lifespan.startup.failed", "message": "no"})
            raise RuntimeError("no")

        expected = await exchange(failing, {"type": "lifespan"}, *self.INCOMING)
        found = await exchange(LoopwatchMiddleware(failing), {"type": "lifespan"}, *self.INCOMING)
        assert found.outcome == expected.outcome
        assert phases == ["startup"]

    async def test_without(self, phases: list[str]) -> None:
        async def only_http(scope: Scope, receive: Receive, send: Send) -> None:
            assert scope["type"] == "http"
            await plain(scope, receive, send)

        middleware = LoopwatchMiddleware(only_http)
        found = await exchange(middleware, {"type": "lifespan"}, *self.INCOMING)
        assert isinstance(found.error, AssertionError)
        found = await exchange(middleware, http())
        assert found.error is None
        assert phases == ["startup", "serving"]
