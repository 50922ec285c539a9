"""What a request is called: `GET /items/{id}`, the template of the route that serves it, never its path.

Every framework leaves the route it has chosen at another place; all of them have done so when the response starts.
Where the place is not the scope of the request, a hook of `frameworks.py` puts the template there as
`loopwatch.template`. A websocket is called `WS /feed/{id}`. Nothing here depends on a framework being installed,
and nothing raises: a scope is other people's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loopwatch.mounts import MOUNT, mounts_of

TEMPLATE = "loopwatch.template"
"""Key of the scope under which a framework's hook leaves the template."""
UNMATCHED = "<unmatched>"

# Any word can be sent as a method. Only these are taken over, so that a client cannot make names up.
_METHODS = {
    method: method
    for method in (
        *("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "TRACE", "CONNECT"),
        *("COPY", "LOCK", "MKCOL", "MOVE", "PROPFIND", "PROPPATCH", "REPORT", "SEARCH", "UNLOCK"),
    )
}
_OTHER_METHOD = "<method>"


def endpoint_of(scope: Mapping[str, Any]) -> str | None:
    """The endpoint of an ASGI request or websocket; None while no route is known."""
    try:
        # First what most requests are: a route of Starlette or FastAPI that no mount and no included router stands
        # above. It is spelled out, since this is most of what the middleware costs.
        route: Any = scope.get("route")
        plain = route is not None and "app_root_path" not in scope and TEMPLATE not in scope
        if plain and not scope.get("fastapi") and route.endpoint is scope["endpoint"]:
            path: str = route.path_format
            if path.startswith("/"):
                method = "WS" if scope["type"] == "websocket" else _METHODS.get(scope["method"], _OTHER_METHOD)
                return f"{method} {path}"
    except Exception:
        pass
    try:
        # Ours; Litestar's; the rest is Starlette's and FastAPI's.
        template = scope.get(TEMPLATE) or scope.get("path_template") or _starlette(scope)
        if template is None:
            template = _mounted_in_litestar(scope)
        return None if template is None else name_of(method_of(scope), template)
    except Exception:
        return None


def unmatched(scope: Mapping[str, Any]) -> str:
    """What a request is called that no route has matched."""
    return f"{method_of(scope)} {UNMATCHED}"


def name_of(method: str, template: str) -> str:
    """The name of an endpoint."""
    return f"{method} {template}" if template.startswith("/") else f"{method} /{template}"


def method_of(scope: Mapping[str, Any]) -> str:
    """The method of an ASGI request, `WS` for a websocket."""
    return "WS" if scope["type"] == "websocket" else known_method(scope.get("method"))


def known_method(method: object) -> str:
    """The method as it is, or `<method>` if it is none that is known."""
    return _METHODS.get(method, _OTHER_METHOD) if isinstance(method, str) else _OTHER_METHOD


def _starlette(scope: Mapping[str, Any]) -> str | None:
    """Starlette and FastAPI, whose routes are in the scope, without what stands before them in mounts."""
    route, endpoint = scope.get("route"), scope.get("endpoint")
    if route is None and endpoint is None:
        return None
    own = _included(scope["fastapi"], route, endpoint) if "fastapi" in scope else None
    if own is None and route is not None and (endpoint is None or _serves(route, endpoint)):
        own = _path_of(route)
    mounted = _mounted(scope) if "app_root_path" in scope else ""
    if own is not None and not mounted:
        return own
    # The prefix of a mount stands nowhere in the scope but filled in; and FastAPI says nothing of plain routes.
    mounts = mounts_of(scope.get("router"))
    if own is not None and not mounts.is_router(route):
        return mounts.prefix(route, mounted) + own
    return mounts.template(endpoint, mounted)


def _mounted_in_litestar(scope: Mapping[str, Any]) -> str | None:
    """Where a handler of Litestar's stands that has all paths below its own: of these there is no template."""
    handler = scope.get("route_handler")
    if not getattr(handler, "is_mount", False):
        return None
    paths = getattr(handler, "paths", ())
    layers = [getattr(layer, "path", None) for layer in getattr(handler, "ownership_layers", ())]
    if not layers or len(paths) != 1:
        return MOUNT
    return "/" + "/".join(part for path in (*layers, *paths) for part in (path or "").split("/") if part)


def _mounted(scope: Mapping[str, Any]) -> str:
    """What mounts have taken off the path, filled in. What the server itself has before its paths is no mount's."""
    root: str = scope.get("root_path", "")
    return root.removeprefix(scope["app_root_path"])


def _included(fastapi: Any, route: Any, endpoint: Any) -> str | None:
    """FastAPI's template with the prefixes of all included routers, of which the route itself knows nothing."""
    context = fastapi.get("effective_route_context") if isinstance(fastapi, dict) else None
    if context is None or getattr(context, "endpoint", None) is not endpoint or context.original_route is not route:
        return None  # or it is from an app further out
    return context.path_format or None


def _serves(route: Any, endpoint: Any) -> bool:
    """Whether this route has the last word: FastAPI leaves those of mounts and plain routes out of the scope."""
    return getattr(route, "endpoint", None) is endpoint or getattr(route, "app", None) is endpoint


def _path_of(route: Any) -> str | None:
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else None
