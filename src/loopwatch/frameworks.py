"""Frameworks that keep the route out of the ASGI scope, or are no ASGI apps at all.

Patched after their import, like the servers (`servers.py`), and with the same care.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from loopwatch import _core
from loopwatch.endpoints import TEMPLATE, UNMATCHED, known_method, name_of
from loopwatch.patching import after, replaced


def _quart(module: ModuleType) -> None:
    """Requests and websockets. The rule is known before the handler runs."""

    def matched(context: Any) -> None:
        # The second since 0.23, where contexts are all of one class.
        request = getattr(context, "request_websocket", None) or context._request_websocket
        if request.url_rule is not None:
            request.scope[TEMPLATE] = request.url_rule.rule

    for each in list(vars(module).values()):
        if isinstance(each, type) and each.__module__ == module.__name__ and "match_request" in vars(each):
            after(each, "match_request", matched)


def _django(module: ModuleType) -> None:
    def resolved(handler: Any, request: Any) -> None:
        scope = getattr(request, "scope", None)  # a WSGI request has none
        if scope is not None:
            scope[TEMPLATE] = "/" + request.resolver_match.route.lstrip("^/").rstrip("$")

    after(module.BaseHandler, "resolve_request", resolved)


def in_phases(owner: type, name: str, phases: Callable[..., tuple[str, str]]) -> None:
    """Announce phases of the running loop around a coroutine method: `phases` gives, for its arguments, the one that
    begins before it and the one that begins when it has returned. Empty for none."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def announcing(*args: Any, **kwargs: Any) -> Any:
            before, then = phases(*args, **kwargs)
            if before:
                _core.phase(before)
            result = await original(*args, **kwargs)
            if then:
                _core.phase(then)
            return result

        return announcing

    replaced(owner, name, wrapping)


def shutting_down(*_: Any) -> tuple[str, str]:
    """For `in_phases`."""
    return "shutdown", ""


def _aiohttp(module: ModuleType) -> None:
    """Apps within apps are resolved by the outermost one: this is called once a request. It has their signals too."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def _handle(self: Any, request: Any) -> Any:
            return await _tracked(original, self, request, _aiohttp_template)

        return _handle

    replaced(module.Application, "_handle", wrapping)
    in_phases(module.Application, "startup", lambda _: ("startup", "serving"))
    in_phases(module.Application, "shutdown", shutting_down)
    in_phases(module.Application, "cleanup", shutting_down)  # all there is after a start that failed


def _aiohttp_template(request: Any) -> str | None:
    resource = request.match_info.route.resource
    return None if resource is None else resource.canonical


def _sanic(module: ModuleType) -> None:
    """When an app starts, sanic writes this method anew from its source: so it is wrapped after that."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def handle_request(self: Any, request: Any) -> Any:
            scope = getattr(getattr(request, "transport", None), "scope", None)
            if not isinstance(scope, dict):
                return await _tracked(original, self, request, _sanic_template)
            # Under an ASGI server the middleware has the request.
            try:
                return await original(self, request)
            finally:
                scope[TEMPLATE] = _sanic_template(request)

        return handle_request

    def starting(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def _startup(self: Any) -> Any:
            result = await original(self)
            with contextlib.suppress(Exception):
                replaced(module.Sanic, "handle_request", wrapping)
            return result

        return _startup

    replaced(module.Sanic, "_startup", starting)
    in_phases(module.Sanic, "_server_event", _sanic_phases)


def _sanic_phases(_: Any, concern: str, action: str, *__: Any, **___: Any) -> tuple[str, str]:
    """Around the listeners of a worker: before and after it starts to serve, before and after it stops."""
    if concern == "shutdown":
        return "shutdown", ""
    return ("startup", "") if action == "before" else ("", "serving")


def _sanic_template(request: Any) -> str | None:
    return getattr(request, "uri_template", None)


async def _tracked(handle: Any, app: Any, request: Any, template_of: Callable[[Any], str | None]) -> Any:
    """Handle a request of a framework that is no ASGI app."""
    tracked = _core.Request(request, functools.partial(_name_of, template_of))
    return await _core.drive(tracked, handle, app, request)


def _name_of(template_of: Callable[[Any], str | None], request: Any, over: bool) -> str | None:
    template = template_of(request)
    upgrade = request.headers.get("upgrade", "").lower() == "websocket"
    method = "WS" if upgrade else known_method(request.method)
    if template is not None:
        return name_of(method, template)
    return f"{method} {UNMATCHED}" if over else None


HOOKS: dict[str, Callable[[ModuleType], None]] = {
    "quart.ctx": _quart,
    "django.core.handlers.base": _django,
    "aiohttp.web_app": _aiohttp,
    "sanic.app": _sanic,
}


def hook_imported() -> None:
    """Patch those that name routes for the middleware and are there already. Never raises."""
    for name in ("quart.ctx", "django.core.handlers.base"):
        if name in sys.modules:
            with contextlib.suppress(Exception):
                HOOKS[name](sys.modules[name])
