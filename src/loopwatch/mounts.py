"""Templates of Starlette's mounted apps: `/shops/{shop}`, where the scope of a request has only `/shops/acme`.

The outermost router is in the scope. From there every route can be reached, together with the mounts above it.

All of this runs on the loop, within somebody's request, and an app may have thousands of routes. So nothing is made of
a route that nobody asks for; each is only looked at, within a comprehension: once when its router is new or has got
more routes, whether it leads to another router, and once for each route that is asked for, whether it is that one.
With six thousand routes a look takes a tenth to a third of a millisecond.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

MOUNT = "/<mount>"
"""For the prefix of a mount that cannot be told."""
UNMATCHED = "<unmatched>"

_MOST_ROUTERS = 32
_MOST_ROUTES = 20_000  # that are looked at, and that are remembered
_DEEPEST = 12  # mounts in mounts, middleware around middleware
_PARAMETER = re.compile(r"\{([^}:]+)(:[^}]*)?\}")
_ANY_PARAMETER = re.compile(r"\{[^}]+\}")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a route stands."""

    prefix: str  # of the mounts above it
    own: str  # its template below them
    routes: bool  # it is a mount of a router: what it serves is not known from it


@dataclass(slots=True)
class _Level:
    """The routes of one router as it is reached in one way. It keeps the objects alive whose ids are keys."""

    routes: list[Any]
    mounted: str  # the mounts above
    included: str  # FastAPI's prefixes since the last of those
    leading: list[Any] = field(init=False)  # the routes that may lead to other routers

    def __post_init__(self) -> None:
        self.leading = [each for each in self.routes if not hasattr(each, "endpoint")]

    def place(self, route: Any) -> _Place:
        path = _path_of(route)
        routes = not hasattr(route, "endpoint") and _routes_below(route) is not None
        own = path if routes else _PARAMETER.sub(r"{\1}", str(getattr(route, "path_format", path)))
        return _Place(self.mounted, self.included + own, routes)


@dataclass(slots=True)
class Mounts:
    """The routes below one router."""

    router: Any = None
    size: int = 0
    _levels: list[_Level] = field(default_factory=list)
    _prefixes: dict[str, None] = field(default_factory=dict)  # of all mounts of routers
    # What was asked for, by its id; what is nowhere has no place.
    _routes: dict[int, Sequence[_Place]] = field(default_factory=dict)
    _endpoints: dict[int, Sequence[_Place]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.router is not None:
            self._walk()

    def prefix(self, route: Any, mounted: str) -> str:
        """The template of the mounts above a route, of which the scope has `mounted`."""
        if not mounted:
            return ""
        place = _the_one(self._of_route(route), mounted)
        return self._like(mounted) if place is None else place.prefix

    def template(self, endpoint: Any, mounted: str) -> str | None:
        """The whole template of what serves at `endpoint`. None if nothing is known of it."""
        place = _the_one(self._of_endpoint(endpoint), mounted)
        if place is None:
            return f"{self._like(mounted)}/{UNMATCHED}" if mounted else None
        if place.routes:  # a router has been chosen, and none of its routes
            return f"{place.prefix}{place.own}/{UNMATCHED}"
        return place.prefix + place.own

    def is_router(self, route: Any) -> bool:
        """Whether this is a mount of a router, so that the route that serves is another, or none."""
        return any(place.routes for place in self._of_route(route))

    def _of_route(self, route: Any) -> Sequence[_Place]:
        places = self._routes.get(id(route))
        if places is None:
            found = [(level, each) for level in self._levels for each in level.routes if each is route]
            places = _remembered(self._routes, route, found)
        return places

    def _of_endpoint(self, endpoint: Any) -> Sequence[_Place]:
        places = self._endpoints.get(id(endpoint))
        if places is None:
            found = [
                (level, each)
                for level in self._levels
                for each in level.routes
                if getattr(each, "endpoint", None) is endpoint
            ]
            mounts = ((level, each) for level in self._levels for each in level.leading)
            found += [(level, each) for level, each in mounts if getattr(each, "app", None) is endpoint]
            places = _remembered(self._endpoints, endpoint, found)
        return places

    def _like(self, mounted: str) -> str:
        """The one mount that this can be."""
        found = [prefix for prefix in self._prefixes if _fits(prefix, mounted)]
        return found[0] if len(found) == 1 else MOUNT

    def _walk(self) -> None:
        """Find all routers, those that are reached through the fewest others first."""
        left = _MOST_ROUTES
        ways: deque[tuple[Iterable[Any], str, str, int]] = deque([(getattr(self.router, "routes", ()), "", "", 0)])
        while ways and left > 0:
            routes, mounted, included, depth = ways.popleft()
            level = _Level(list(routes)[:left], mounted, included)
            self._levels.append(level)
            left -= len(level.routes)
            for each in level.leading if depth < _DEEPEST else ():
                inner = getattr(each, "original_router", None)
                if inner is not None:  # FastAPI, since it keeps included routers instead of copying their routes
                    prefix = getattr(getattr(each, "include_context", None), "prefix", "")
                    ways.append((getattr(inner, "routes", ()), mounted, included + prefix, depth + 1))
                elif (below := _routes_below(each)) is not None:
                    above = mounted + included + _path_of(each)
                    if above:
                        self._prefixes[above] = None
                    ways.append((below, above, "", depth + 1))


def _remembered(
    places: dict[int, Sequence[_Place]], searched: Any, found: list[tuple[_Level, Any]]
) -> Sequence[_Place]:
    if len(places) >= _MOST_ROUTES:  # strangers, each of them an object of one request
        places.clear()
    made = places[id(searched)] = tuple({level.place(route): None for level, route in found})
    return made


def _the_one(places: Sequence[_Place], mounted: str) -> _Place | None:
    if len(places) > 1:  # one app mounted twice
        places = [place for place in places if _could_be(place, mounted)]
    return places[0] if len(places) == 1 else None


def _could_be(place: _Place, mounted: str) -> bool:
    return _fits(place.prefix + place.own if place.routes else place.prefix, mounted)


def _fits(template: str, path: str) -> bool:
    """Whether a path can be this template filled in. A parameter is never empty and may hold slashes.

    Not by a pattern of `re`: of thousands of mounts each would have to be compiled.
    """
    if not path.startswith(template.partition("{")[0]):
        return False
    first, *others = _ANY_PARAMETER.split(template)
    if not others:
        return path == template
    at = len(first)
    for part in others[:-1]:
        found = path.find(part, at + 1)
        if found < 0:
            return False
        at = found + len(part)
    return at < len(path) - len(others[-1]) and path.endswith(others[-1])


def _path_of(route: Any) -> str:
    path = getattr(route, "path", None)  # a Host has none
    return _PARAMETER.sub(r"{\1}", path) if isinstance(path, str) else ""


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
