"""Where `loopwatch run` wraps what serves requests, so that a program needs no change.

A module is patched when it has been imported, in the only place of it that every app passes through. A version that
has no such place is left alone, nothing is wrapped twice, and nothing here fails: the bootstrap calls `arrived` from
within other people's imports. `bootstrap/sitecustomize.py` has the names of these modules too.
"""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from loopwatch import _core, frameworks, lifespans
from loopwatch._core import Tracking
from loopwatch.asgi import App, LoopwatchMiddleware
from loopwatch.patching import after, replaced

HEADERS_VARIABLE = "LOOPWATCH_HEADERS"
"""Set to `1` by `loopwatch run --headers`."""
REQUESTS_VARIABLE = "LOOPWATCH_REQUESTS"
"""The setting `requests`; with `0` no server is touched."""


def wrapped(app: App) -> App:
    """The app in the middleware, if it is not in one already."""
    if app is None or isinstance(app, LoopwatchMiddleware | Tracking):
        return app
    return LoopwatchMiddleware(app, headers=os.environ.get(HEADERS_VARIABLE) == "1")


def tracked(app: App) -> App:
    """The same for a server that awaits what the app gives, and asks no more of it."""
    middleware = wrapped(app)
    return middleware.tracking if isinstance(middleware, LoopwatchMiddleware) else middleware


def _wrap_attribute(name: str, wrap: Callable[[App], App] = wrapped) -> Callable[..., None]:
    """To be called with an object after a method of it: what it has under this name is wrapped."""

    def wrap_it(owner: Any, *_: Any, **__: Any) -> None:
        setattr(owner, name, wrap(getattr(owner, name)))

    return wrap_it


def _uvicorn(module: ModuleType) -> None:
    """Whatever the interface of the app was, it is one ASGI callable then, the server's own middleware around it."""
    after(module.Config, "load", _wrap_attribute("loaded_app", tracked))


def _hypercorn(module: ModuleType) -> None:
    """Also what `quart run` uses."""
    after(module.ASGIWrapper, "__init__", _wrap_attribute("app", tracked))


def _granian(module: ModuleType) -> None:
    """Others have not yet taken the function by its name: it is the first thing they import from here."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _callback_wrapper(callback: App, *args: Any, **kwargs: Any) -> Any:
            return original(wrapped(callback), *args, **kwargs)

        return _callback_wrapper

    after(module.LifespanProtocol, "__init__", _wrap_attribute("callable"))
    replaced(module, "_callback_wrapper", wrapping)


def _daphne(module: ModuleType) -> None:
    after(module.Server, "__init__", _wrap_attribute("application"))


def _gunicorn(module: ModuleType) -> None:
    """Told to be quick it sends no `lifespan.shutdown`: the app is cancelled where it waits for that."""
    after(module.ASGIWorker, "load_wsgi", _wrap_attribute("asgi"))
    frameworks.in_phases(module.ASGIWorker, "_shutdown", frameworks.shutting_down)


HOOKS: dict[str, Callable[[ModuleType], None]] = {
    "uvicorn.config": _uvicorn,
    "uvicorn.server": lifespans.hook_uvicorn,
    "hypercorn.app_wrappers": _hypercorn,
    "granian.asgi": _granian,
    "daphne.server": _daphne,
    "gunicorn.workers.gasgi": _gunicorn,
    **frameworks.HOOKS,
}
"""Name of a module: what patches it."""


def _left_alone() -> bool:
    return os.environ.get(REQUESTS_VARIABLE) == "0"


def arrived(name: str) -> None:
    """This module has been imported. Never raises."""
    module = sys.modules.get(name)
    hook = HOOKS.get(name)
    if module is None or hook is None or _left_alone():
        return
    with contextlib.suppress(Exception):  # a version that looks different: its requests have no names
        hook(module)


def join_running() -> None:
    """Patch what is imported already in a process that `loopwatch attach` has joined: of a uvicorn that serves, the
    connections that come from now on. Never raises."""
    if _left_alone():
        return
    for name in HOOKS:
        arrived(name)
    protocols = [name for name in list(sys.modules) if name.startswith("uvicorn.protocols.") and name.endswith("_impl")]
    for name in protocols:
        for each in list(vars(sys.modules[name]).values()):
            if isinstance(each, type) and each.__module__ == name and "__init__" in vars(each):
                with contextlib.suppress(Exception):
                    after(each, "__init__", _wrap_served)
    if protocols and _core.watched():
        _core.phase("serving")


def _wrap_served(protocol: Any, *_: Any, **__: Any) -> None:
    """All connections share the config, so they share the middleware."""
    protocol.config.loaded_app = protocol.app = tracked(protocol.config.loaded_app)
