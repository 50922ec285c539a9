"""What a request is called, in every framework: the template of its route, never a piece of its path."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Host, Mount, Route, WebSocketRoute

from loopwatch import LoopwatchMiddleware, _core, asgi, frameworks
from loopwatch.asgi import App, Message, Receive, Scope, Send
from loopwatch.endpoints import endpoint_of
from tests.integration.behaviours import plain
from tests.integration.exchange import exchange, http, websocket

SECRET = "s3cret"  # stands in every path and must stand in no name


@pytest.fixture(autouse=True)
def named(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names that requests have got."""
    names: list[str] = []

    class Named:
        """Asks for the name at the end, as is done for a request that a stall refers to."""

        def __init__(self, subject: Any, name_of: Callable[[Any, bool], str | None]) -> None:
            self._request = _Request()
            self._name = functools.partial(name_of, subject)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._request, name)

        def end(self) -> None:
            before, name = self._name(False), self._name(True)
            assert name is not None
            assert before in (None, name)
            names.append(name)
            self._request.end()

    monkeypatch.setattr(_core, "Request", Named)
    monkeypatch.setattr(_core, "drive", drive)
    return names


_Request = _core.Request


async def drive(request: Any, function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
    try:
        return await function(*arguments)
    finally:
        request.end()


async def name_in(app: App, scope: Scope, named: list[str]) -> str:
    """Ask an app for something; the one name that the request has then, and had before if it had any."""
    named.clear()
    incoming: list[Message] = [{"type": "http.request"}]
    if scope["type"] == "websocket":
        incoming = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    await exchange(LoopwatchMiddleware(app, headers=False), scope, *incoming)
    before, name = asgi._name_of(scope, False), asgi._name_of(scope, True)
    assert name is not None
    assert before in (None, name)
    assert SECRET not in name
    return name


def optional(name: str) -> Any:
    """A framework; without a wheel for this Python the test is skipped."""
    version = "{}.{}".format(*sys.version_info)
    return pytest.importorskip(name, reason=f"{name} cannot be imported on Python {version}", exc_type=ImportError)


async def answer(request: Request) -> Response:
    return PlainTextResponse("answer")


async def feed(socket: WebSocket) -> None:
    await socket.accept()
    await socket.close()


class TestStarlette:
    inner = Starlette(routes=[Route("/a/{x}", answer), Route("/", answer)])
    app = Starlette(
        routes=[
            Route("/a/{x:int}", answer, methods=["GET", "POST"]),
            Route("/files/{path:path}", answer),
            WebSocketRoute("/feed/{x}", feed),
            Mount("/m/{tenant}", routes=[Route("/a/{x}", answer), WebSocketRoute("/feed/{y}", feed)]),
            Mount("/twice", inner),
            Mount("/again/{z}", inner),
            Mount(
                "/wrapped/{w}",
                CORSMiddleware(LoopwatchMiddleware(Starlette(routes=[Route("/b", answer)]), headers=False)),
            ),
            Mount("/raw", PlainTextResponse("raw")),
            Mount("/deep/{x}", routes=[Mount("/er/{y:int}", routes=[Route("/{z}", answer)])]),
            Mount("/same/{x}", routes=[Route("/{x}", answer)]),
            Host("{shop}.test", app=Starlette(routes=[Route("/hosted/{x}", answer)])),
        ]
    )

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/a/1", "GET /a/{x}"),
            (f"/files/{SECRET}/b", "GET /files/{path}"),
            (f"/m/{SECRET}/a/{SECRET}", "GET /m/{tenant}/a/{x}"),
            ("/m/m/a/m", "GET /m/{tenant}/a/{x}"),
            (f"/m/{SECRET}/absent", "GET /m/{tenant}/<unmatched>"),
            (f"/twice/a/{SECRET}", "GET /twice/a/{x}"),
            (f"/again/{SECRET}/a/{SECRET}", "GET /again/{z}/a/{x}"),
            (f"/again/{SECRET}/", "GET /again/{z}/"),
            (f"/again/{SECRET}/absent", "GET /again/{z}/<unmatched>"),
            (f"/wrapped/{SECRET}/b", "GET /wrapped/{w}/b"),
            (f"/raw/{SECRET}", "GET /raw/{path}"),
            (f"/deep/{SECRET}/er/5/{SECRET}", "GET /deep/{x}/er/{y}/{z}"),
            (f"/same/{SECRET}/{SECRET}", "GET /same/{x}/{x}"),
            (f"/{SECRET}", "GET <unmatched>"),
        ],
    )
    async def test_name(self, path: str, name: str, named: list[str]) -> None:
        assert await name_in(self.app, http(path), named) == name

    async def test_behind_a_proxy(self, named: list[str]) -> None:
        """The server's own root path is nobody's mount."""
        scope = http(f"/{SECRET}/again/1/a/2", root_path=f"/{SECRET}")
        assert await name_in(self.app, scope, named) == "GET /again/{z}/a/{x}"

    async def test_host(self, named: list[str]) -> None:
        scope = http("/hosted/1", headers=[(b"host", f"{SECRET}.test".encode())])
        assert await name_in(self.app, scope, named) == "GET /hosted/{x}"

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (f"/feed/{SECRET}", "WS /feed/{x}"),
            (f"/m/{SECRET}/feed/1", "WS /m/{tenant}/feed/{y}"),
            (f"/{SECRET}", "WS <unmatched>"),
        ],
    )
    async def test_websocket(self, path: str, name: str, named: list[str]) -> None:
        assert await name_in(self.app, websocket(path), named) == name

    @pytest.mark.parametrize(
        ("method", "name"), [("POST", "POST"), ("HEAD", "HEAD"), ("DELETE", "DELETE"), (SECRET, "<method>")]
    )
    async def test_method(self, method: str, name: str, named: list[str]) -> None:
        assert await name_in(self.app, http("/a/1", method=method), named) == f"{name} /a/{{x}}"

    async def test_answered_before_the_route(self, named: list[str]) -> None:
        app = CORSMiddleware(self.app, allow_origins=["*"])
        headers = [(b"origin", b"http://a"), (b"access-control-request-method", b"GET")]
        assert await name_in(app, http("/a/1", method="OPTIONS", headers=headers), named) == "OPTIONS <unmatched>"

    async def test_routes_added_later(self, named: list[str]) -> None:
        app = Starlette(routes=[Mount("/one/{x}", routes=[Route("/", answer)])])
        assert await name_in(app, http("/one/1/"), named) == "GET /one/{x}/"
        app.router.routes.append(Mount("/two/{x}", routes=[Route("/", answer)]))
        assert await name_in(app, http("/two/1/"), named) == "GET /two/{x}/"

    async def test_unknown_router(self, named: list[str]) -> None:
        """A dispatcher that is not Starlette's, with Starlette's words: no filled-in prefix is copied."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.update(
                app_root_path="", root_path=f"/{SECRET}", route=self.inner.routes[0], path_params={"x": SECRET}
            )
            await plain(scope, receive, send)

        assert await name_in(app, http(f"/{SECRET}/a/1"), named) == "GET /<mount>/a/{x}"

    def test_odd_scopes(self) -> None:
        for odd in ({"route": 1, "endpoint": 2}, {"route": object()}, {"endpoint": plain, "router": 3}, {"fastapi": 4}):
            assert endpoint_of(http(**odd)) is None
        assert endpoint_of(http(path_template=5)) is None

    @pytest.mark.parametrize(("path", "expected"), [("/a", "GET /a"), ("a", "GET /a"), ("", "GET /"), (7, None)])
    def test_odd_routes(self, path: Any, expected: str | None) -> None:
        route = SimpleNamespace(endpoint=answer, path_format=path, path="" if path == "" else None)
        assert endpoint_of(http(route=route, endpoint=answer)) == expected


class TestFastAPI:
    @pytest.fixture
    def app(self) -> FastAPI:
        app, router, versions, part = FastAPI(), APIRouter(prefix="/items"), APIRouter(prefix="/v/{version}"), FastAPI()

        @router.get("/{item}")
        @router.post("/{item}")
        async def item(item: str) -> None: ...

        @router.get("/sync/{item}")
        def sync(item: str) -> None: ...

        @router.websocket("/feed/{item}")
        async def feed_item(socket: WebSocket, item: str) -> None:
            await feed(socket)

        versions.include_router(router)
        app.include_router(router, prefix="/api")
        app.include_router(versions)
        part.include_router(router)
        app.mount("/tenant/{tenant}", part)
        app.mount("/fixed", part)
        app.mount("/starlette", Starlette(routes=[Route("/a/{x}", answer)]))
        app.mount("/raw", PlainTextResponse("raw"))
        return app

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (f"/api/items/{SECRET}", "GET /api/items/{item}"),
            (f"/v/{SECRET}/items/{SECRET}", "GET /v/{version}/items/{item}"),
            (f"/v/{SECRET}/items/sync/{SECRET}", "GET /v/{version}/items/sync/{item}"),
            (f"/tenant/{SECRET}/items/{SECRET}", "GET /tenant/{tenant}/items/{item}"),
            (f"/tenant/{SECRET}/absent", "GET /tenant/{tenant}/<unmatched>"),
            (f"/tenant/{SECRET}/docs", "GET /tenant/{tenant}/docs"),
            (f"/fixed/items/{SECRET}", "GET /fixed/items/{item}"),
            ("/fixed/docs", "GET /fixed/docs"),
            (f"/starlette/a/{SECRET}", "GET /starlette/a/{x}"),
            (f"/raw/{SECRET}", "GET /raw/{path}"),
            ("/docs", "GET /docs"),
            (f"/{SECRET}", "GET <unmatched>"),
        ],
    )
    async def test_name(self, app: FastAPI, path: str, name: str, named: list[str]) -> None:
        assert await name_in(app, http(path), named) == name

    async def test_method(self, app: FastAPI, named: list[str]) -> None:
        assert await name_in(app, http("/api/items/1", method="POST"), named) == "POST /api/items/{item}"

    @pytest.mark.parametrize("path", [f"/api/items/feed/{SECRET}", f"/tenant/{SECRET}/items/feed/1"])
    async def test_websocket(self, app: FastAPI, path: str, named: list[str]) -> None:
        prefix = "/api" if path.startswith("/api") else "/tenant/{tenant}"
        assert await name_in(app, websocket(path), named) == f"WS {prefix}/items/feed/{{item}}"


class TestLitestar:
    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (f"/api/part/{SECRET}/item/5", "GET /api/part/{z}/item/{number}"),
            ("/", "GET /"),
            (f"/{SECRET}", "GET <unmatched>"),
        ],
    )
    async def test_name(self, path: str, name: str, named: list[str]) -> None:
        litestar = optional("litestar")

        class Part(litestar.Controller):  # type: ignore[name-defined, misc]
            path = "/part/{z:str}"

            @litestar.get("/item/{number:int}")  # type: ignore[untyped-decorator]
            async def item(self) -> None: ...

        @litestar.get("/")  # type: ignore[untyped-decorator]
        async def index() -> None: ...

        for annotated in (Part.item.fn, index.fn):
            annotated.__annotations__["return"] = None
        app = litestar.Litestar([litestar.Router(path="/api", route_handlers=[Part]), index])
        assert await name_in(app, http(path), named) == name

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            (f"/api/raw/{SECRET}", "GET /api/raw"),
            ("/api/raw", "GET /api/raw"),
            (f"/one/{SECRET}", "GET /<mount>"),
            (f"/{SECRET}", "GET <unmatched>"),
        ],
    )
    async def test_mounted(self, path: str, name: str, named: list[str]) -> None:
        litestar = optional("litestar")

        def mount(*paths: str) -> Any:
            async def handler(scope: Scope, receive: Receive, send: Send) -> None:
                await plain(scope, receive, send)

            types = litestar.types
            handler.__annotations__.update(scope=types.Scope, receive=types.Receive, send=types.Send)
            handler.__annotations__["return"] = None
            return litestar.asgi([*paths], is_mount=True, copy_scope=False)(handler)

        part = litestar.Router(path="/api", route_handlers=[mount("/raw")])
        app = litestar.Litestar([part, mount("/one", "/two")])
        assert await name_in(app, http(path), named) == name


class TestQuart:
    @pytest.fixture
    def app(self) -> Any:
        quart = optional("quart")
        app, part = quart.Quart("app"), quart.Blueprint("part", "part", url_prefix="/part")

        @part.get("/item/<int:number>")  # type: ignore[untyped-decorator]
        async def item(number: int) -> str:
            return "item"

        @part.websocket("/feed/<name>")  # type: ignore[untyped-decorator]
        async def feed_item(name: str) -> None:
            await quart.websocket.accept()

        app.register_blueprint(part)
        return app

    async def test_name(self, app: Any, named: list[str]) -> None:
        assert await name_in(app, http("/part/item/5"), named) == "GET /part/item/<int:number>"
        assert await name_in(app, http(f"/{SECRET}"), named) == "GET <unmatched>"

    async def test_websocket(self, app: Any, named: list[str]) -> None:
        assert await name_in(app, websocket(f"/part/feed/{SECRET}"), named) == "WS /part/feed/<name>"


class TestDjango:
    @pytest.fixture
    def app(self) -> Any:
        django = optional("django")
        from django.conf import settings
        from django.core.asgi import get_asgi_application
        from django.http import HttpResponse
        from django.urls import include, path, re_path

        async def view(request: Any, **kwargs: Any) -> Any:
            return HttpResponse("view")

        def sync_view(request: Any, **kwargs: Any) -> Any:
            return HttpResponse("sync")

        urls = ModuleType("urls")
        urls.urlpatterns = [  # type: ignore[attr-defined]
            path("", view),
            path("item/<int:number>/", view),
            re_path(r"^old/(?P<number>\d+)$", sync_view),
            path("shop/<slug:shop>/", include([path("page/<slug:page>/", sync_view)])),
        ]
        if not settings.configured:
            settings.configure(
                ROOT_URLCONF=urls,
                ALLOWED_HOSTS=["*"],
                SECRET_KEY="x",
                MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
                LOGGING_CONFIG=None,
            )
            django.setup()
        return get_asgi_application()

    @pytest.mark.parametrize(
        ("path", "name"),
        [
            ("/", "GET /"),
            ("/item/5/", "GET /item/<int:number>/"),
            ("/old/5", r"GET /old/(?P<number>\d+)"),
            (f"/shop/{SECRET}/page/{SECRET}/", "GET /shop/<slug:shop>/page/<slug:page>/"),
            (f"/{SECRET}", "GET <unmatched>"),
        ],
    )
    async def test_name(self, app: Any, path: str, name: str, named: list[str]) -> None:
        assert await name_in(app, http(path), named) == name


async def get(port: int, path: str, *headers: str) -> bytes:
    """One request over the loopback address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = [f"GET {path} HTTP/1.1", "Host: test", *(headers or ["Connection: close"]), "", ""]
    writer.write("\r\n".join(lines).encode())
    received = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return received


class TestAiohttp:
    @pytest.fixture
    def web(self) -> Any:
        optional("aiohttp")
        from aiohttp import web, web_app

        frameworks.HOOKS["aiohttp.web_app"](web_app)
        frameworks.HOOKS["aiohttp.web_app"](web_app)  # no difference
        return web

    @pytest.fixture
    async def port(self, web: Any) -> AsyncIterator[int]:
        async def handler(request: Any) -> Any:
            return web.Response(text="x")

        async def fails(request: Any) -> Any:
            raise web.HTTPGone

        async def feed(request: Any) -> Any:
            socket = web.WebSocketResponse(timeout=0.1)  # the client does not answer
            await socket.prepare(request)
            await socket.close()
            return socket

        app, part = web.Application(), web.Application()
        app.router.add_get(r"/item/{number:\d+}", handler)
        app.router.add_get("/fails", fails)
        app.router.add_get("/feed/{name}", feed)
        part.router.add_get("/inner/{x}", handler)
        app.add_subapp("/part", part)
        runner = web.AppRunner(app, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield site._server.sockets[0].getsockname()[1]
        await runner.cleanup()

    @pytest.mark.parametrize(
        ("path", "status", "name"),
        [
            ("/item/5", b"200", "GET /item/{number}"),
            ("/fails", b"410", "GET /fails"),
            (f"/part/inner/{SECRET}", b"200", "GET /part/inner/{x}"),
            (f"/{SECRET}", b"404", "GET <unmatched>"),
        ],
    )
    async def test_name(self, port: int, path: str, status: bytes, name: str, named: list[str]) -> None:
        assert (await get(port, path)).startswith(b"HTTP/1.1 " + status)
        assert named == [name]

    async def test_websocket(self, port: int, named: list[str]) -> None:
        key = "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg=="
        headers = ["Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13", key]
        task = asyncio.create_task(get(port, f"/feed/{SECRET}", *headers))
        for _ in range(1000):
            if named:
                break
            await asyncio.sleep(0.02)
        task.cancel()
        assert named == ["WS /feed/{name}"]


class TestSanic:
    @pytest.fixture
    def app(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        sanic = optional("sanic")
        import sanic.app as sanic_app

        monkeypatch.setattr(sanic.Sanic, "test_mode", True)
        sanic.Sanic._app_registry.clear()
        frameworks.HOOKS["sanic.app"](sanic_app)
        frameworks.HOOKS["sanic.app"](sanic_app)  # no difference
        app = sanic.Sanic("app", configure_logging=False)

        @app.get("/item/<number:int>")  # type: ignore[untyped-decorator]
        async def item(request: Any, number: int) -> Any:
            return sanic.response.text("item")

        return app

    async def test_as_asgi_app(self, app: Any, named: list[str]) -> None:
        async with self.started(app):
            assert await name_in(app, http("/item/5"), named) == "GET /item/<number:int>"
            assert await name_in(app, http(f"/{SECRET}"), named) == "GET <unmatched>"

    async def test_own_server(self, app: Any, named: list[str]) -> None:
        server = await app.create_server(host="127.0.0.1", port=0, return_asyncio_server=True)
        await server.startup()
        await server.start_serving()
        try:
            port = server.server.sockets[0].getsockname()[1]
            assert b"200 OK" in await get(port, "/item/5")
            assert b"404 Not Found" in await get(port, f"/{SECRET}")
        finally:
            await server.close()
        assert named == ["GET /item/<number:int>", "GET <unmatched>"]

    @staticmethod
    @contextlib.asynccontextmanager
    async def started(app: Any) -> AsyncIterator[None]:
        """As an ASGI server starts it and ends it."""
        incoming: asyncio.Queue[Message] = asyncio.Queue()
        sent: asyncio.Queue[Message] = asyncio.Queue()
        task = asyncio.create_task(app({"type": "lifespan", "asgi": {}}, incoming.get, sent.put))
        await incoming.put({"type": "lifespan.startup"})
        assert (await sent.get())["type"] == "lifespan.startup.complete"
        yield
        await incoming.put({"type": "lifespan.shutdown"})
        await task
