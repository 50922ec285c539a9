"""Templates of Starlette's mounted apps: `/shops/{shop}`, where the scope of a request has only `/shops/acme`.

The outermost router is in the scope. From there every route can be reached, together with the mounts above it. A
router is walked once, and again when it has got more routes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

MOUNT = "/<mount>"
"""For the prefix of a mount that cannot be told."""
UNMATCHED = "<unmatched>"

_MOST_ROUTERS = 32
_MOST_ROUTES = 20_000
_DEEPEST = 12  # mounts in mounts, middleware around middleware
_PARAMETER = re.compile(r"\{([^}:]+)(:[^}]*)?\}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a route stands."""

    prefix: str  # of the mounts above it
    own: str | None  # its template below them
    routes: bool  # it is a mount of a router: what it serves is not known from it
    route: Any  # keeps the objects alive whose ids are keys


@dataclass(slots=True)
class Mounts:
    """The routes below one router."""

    router: Any = None
    size: int = 0
    places: dict[int, list[_Place]] = field(default_factory=dict)  # by the id of the route and that of its endpoint
    prefixes: dict[str, re.Pattern[str]] = field(default_factory=dict)  # of all mounts: what they look like filled in

    def __post_init__(self) -> None:
        if self.router is not None:
            self._walk(getattr(self.router, "routes", ()), "", "", 0)

    def prefix(self, route: Any, mounted: str) -> str:
        """The template of the mounts above a route, of which the scope has `mounted`."""
        if not mounted:
            return ""
        place = self._place(route, mounted)
        return self._like(mounted) if place is None else place.prefix

    def template(self, endpoint: Any, mounted: str) -> str | None:
        """The whole template of what serves at `endpoint`. None if nothing is known of it."""
        place = self._place(endpoint, mounted)
        if place is None:
            return f"{self._like(mounted)}/{UNMATCHED}" if mounted else None
        if place.routes:  # a router has been chosen, and none of its routes
            return f"{place.prefix}{place.own}/{UNMATCHED}"
        return None if place.own is None else place.prefix + place.own

    def is_router(self, route: Any) -> bool:
        """Whether this is a mount of a router, so that the route that serves is another, or none."""
        return any(place.routes and place.route is route for place in self.places.get(id(route), ()))

    def _place(self, searched: Any, mounted: str) -> _Place | None:
        places = self.places.get(id(searched), [])
        if len({(place.prefix, place.own) for place in places}) > 1:  # one app mounted twice
            places = [place for place in places if self._could_be(place, mounted)]
        return places[0] if len({(place.prefix, place.own) for place in places}) == 1 else None

    def _could_be(self, place: _Place, mounted: str) -> bool:
        if place.routes:
            return _filled_in(place.prefix + (place.own or "")).fullmatch(mounted) is not None
        pattern = self.prefixes.get(place.prefix)
        return pattern.fullmatch(mounted) is not None if pattern else not place.prefix and not mounted

    def _like(self, mounted: str) -> str:
        """The one mount that this can be."""
        found = [prefix for prefix, pattern in self.prefixes.items() if pattern.fullmatch(mounted)]
        return found[0] if len(found) == 1 else MOUNT

    def _walk(self, routes: Iterable[Any], mounted: str, included: str, depth: int) -> None:
        """Note all routes. `mounted`: the mounts above them; `included`: FastAPI's prefixes since the last of those."""
        if depth > _DEEPEST:
            return
        for route in routes:
            if len(self.places) > _MOST_ROUTES:
                return
            inner = getattr(route, "original_router", None)
            if inner is not None:  # FastAPI, since it keeps included routers instead of copying their routes
                prefix = getattr(getattr(route, "include_context", None), "prefix", "")
                self._walk(getattr(inner, "routes", ()), mounted, included + prefix, depth + 1)
                continue
            path = getattr(route, "path", None)  # a Host has none
            path = _PARAMETER.sub(r"{\1}", path) if isinstance(path, str) else ""
            below = None if hasattr(route, "endpoint") else _routes_below(route)
            if below is not None:
                above = mounted + included + path
                if above:
                    self.prefixes[above] = _filled_in(above)
                self._walk(below, above, "", depth + 1)
                own = path
            else:
                own = _PARAMETER.sub(r"{\1}", str(getattr(route, "path_format", path)))
            place = _Place(mounted, included + own, below is not None, route)
            for key in (route, getattr(route, "endpoint", None), getattr(route, "app", None)):
                if key is not None:
                    self.places.setdefault(id(key), []).append(place)


def _routes_below(mount: Any) -> Iterable[Any] | None:
    """The routes of a mounted router, through the middleware around it."""
    app = mount
    for _ in range(_DEEPEST):
        app = getattr(app, "app", None)
        if app is None:
            return None
        routes = getattr(app, "routes", None)
        if isinstance(routes, list):
            return routes
    return None


def _filled_in(template: str) -> re.Pattern[str]:
    """What a path of this template looks like. A parameter may hold slashes."""
    parts = re.split(r"\{[^}]+\}", template)
    return re.compile(".+".join(map(re.escape, parts)), re.DOTALL)


_known: dict[int, Mounts] = {}


def mounts_of(router: Any) -> Mounts:
    """The mounts below a router, walked at most once for each number of routes that it has."""
    found = _known.get(id(router))
    size = len(getattr(router, "routes", ()))
    if found is None or found.router is not router or found.size != size:
        if len(_known) >= _MOST_ROUTERS:
            _known.clear()
        found = _known[id(router)] = Mounts(router, size)
    return found
