"""When a server has started and when it ends: announced to the watchdog as the phases of its loop.

An app in the middleware announces its own lifespan. Where there is none, as in a program that calls `start()` or offers
metrics, the server is hooked where it calls the lifespan, and nowhere that a request passes. Patched with the care of
`servers.py`, and with the same switch: `requests = 0` leaves servers as they are.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

from loopwatch import _core
from loopwatch._core import REQUEST
from loopwatch.patching import after


async def announced(app: Callable[..., Awaitable[Any]], scope: Any, receive: Any, send: Any, *others: Any) -> Any:
    """The app's lifespan, with its phases: start-up is over when the app says so, or has no lifespan."""
    scope[REQUEST] = None
    told = False

    async def receiving() -> Any:
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            _core.phase("shutdown")
        return message

    async def sending(message: Any) -> None:
        nonlocal told
        await send(message)
        told = True
        if message["type"] == "lifespan.startup.complete":
            _core.phase("serving")

    _core.phase("startup")
    try:
        return await app(scope, receiving, sending, *others)
    finally:
        if not told:
            _core.phase("serving")


def _announcing(app: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def lifespan(scope: Any, *others: Any) -> Any:
        return await (app(scope, *others) if REQUEST in scope else announced(app, scope, *others))

    return lifespan


def _hook_caller(module: ModuleType, name: str, attribute: str) -> None:
    """A class of the server's whose objects call the lifespan alone, of the app that they have under `attribute`."""

    def made(caller: Any, *_: Any, **__: Any) -> None:
        setattr(caller, attribute, _announcing(getattr(caller, attribute)))

    after(getattr(module, name), "__init__", made)


def hook_uvicorn(module: ModuleType) -> None:
    """It may import the app within its loop, before there is a lifespan."""

    def serves(server: Any) -> None:
        _core.phase("serving")
        after(type(server.lifespan), "shutdown", lambda _: _core.phase("shutdown"))

    # These are coroutine functions: what comes after their call comes before they run.
    after(module.Server, "main_loop", serves)
    after(module.Server, "_serve", lambda *_, **__: _core.phase("startup"))


def _hook_gunicorn(_: ModuleType) -> None:
    """The worker imports the other when it needs it, which is later."""
    _hook_caller(importlib.import_module("gunicorn.asgi.lifespan"), "LifespanManager", "app")


_HOOKS: dict[str, Callable[[ModuleType], None]] = {
    "uvicorn.server": hook_uvicorn,
    "hypercorn.asyncio.lifespan": lambda module: _hook_caller(module, "Lifespan", "app"),
    "gunicorn.workers.gasgi": _hook_gunicorn,
    "granian.asgi": lambda module: _hook_caller(module, "LifespanProtocol", "callable"),
}
_STARTING = {("uvicorn.config", "load"), ("uvicorn.lifespan.on", "main")}
"""Functions, by module, that call the app's own code within the loop, and before it serves."""


def hook_imported() -> None:
    """Patch the servers that are there already, and announce the start-up that is under way. Never raises."""
    for name, hook in _HOOKS.items():
        if name in sys.modules:
            with contextlib.suppress(Exception):  # a version that looks different: its loops have no phases
                hook(sys.modules[name])
    frame = sys._getframe() if "uvicorn.server" in sys.modules else None
    while frame is not None:
        if (frame.f_globals.get("__name__"), frame.f_code.co_name) in _STARTING:
            _core.phase("startup")
            return
        frame = frame.f_back
