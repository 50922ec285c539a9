"""Where the routes of mounted apps stand, found without holding the loop. Against the frameworks themselves:
tests/integration/test_endpoints.py."""

from __future__ import annotations

import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwatch import mounts


class Route:
    """A route that counts how often anybody asks for its template."""

    asked = 0

    def __init__(self, path: str) -> None:
        self._path = path
        self.endpoint = object()

    @property
    def path(self) -> str:
        Route.asked += 1
        return self._path


def mount(path: str, *routes: Any) -> Any:
    return SimpleNamespace(path=path, app=SimpleNamespace(routes=list(routes)))


def router(*routes: Any) -> Any:
    return SimpleNamespace(routes=list(routes))


@pytest.fixture
def many() -> tuple[Any, Route, Route]:
    """A router with thousands of routes and two mounts, and a route below each of these."""
    first, second = Route("/{y:int}"), Route("/{z}")
    routes = [Route(f"/{number}/{{x}}") for number in range(6000)]
    return router(*routes, mount("/one/{a}", first), mount("/two", second)), first, second


def test_only_what_is_asked_for_is_made_a_name(many: tuple[Any, Route, Route]) -> None:
    outer, first, second = many
    Route.asked = 0
    for _ in range(3):
        found = mounts.mounts_of(outer)
        assert found.prefix(first, "/one/secret") == "/one/{a}"
        assert found.template(second.endpoint, "/two") == "/two/{z}"
        assert not found.is_router(first)
        assert found.is_router(outer.routes[-1])
        assert found.template(object(), "/two") == "/two/<unmatched>"
    assert Route.asked < 10


def test_thousands_of_routes_do_not_hold_the_loop(many: tuple[Any, Route, Route]) -> None:
    """The best of some: others use this machine too. It was fifty milliseconds."""
    outer, first, _ = many
    took = []
    for _ in range(20):
        begun = time.perf_counter()
        assert mounts.Mounts(outer, len(outer.routes)).prefix(first, "/one/secret") == "/one/{a}"
        took.append(time.perf_counter() - begun)
    assert min(took) < 0.002


def test_many_mounts_are_told_apart() -> None:
    leaf = Route("/{y}")
    outer = router(*[mount(f"/{number}/{{x}}", leaf) for number in range(1000)])
    assert mounts.Mounts(outer).prefix(leaf, "/77/secret") == "/77/{x}"
    assert mounts.Mounts(outer).prefix(leaf, "/secret") == "/<mount>"
    assert mounts.Mounts(outer).prefix(Route("/absent"), "/7/secret") == "/7/{x}"


def test_a_router_within_itself_comes_to_an_end() -> None:
    outer = router(Route("/a"))
    outer.routes += [SimpleNamespace(path=f"/{name}", app=outer) for name in "abcd"]
    found = mounts.Mounts(outer)
    assert found.template(outer.routes[0].endpoint, "/b") == "/b/a"
    assert found.template(outer.routes[0].endpoint, "/b/d") == "/b/d/a"


def test_strangers_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "_MOST_ROUTES", 50)
    leaf = Route("/{y}")
    found = mounts.Mounts(router(mount("/one", leaf)))
    strangers = [object() for _ in range(500)]
    assert {found.template(each, "/one") for each in strangers} == {"/one/<unmatched>"}
    assert len(found._endpoints) <= 50
    assert found.template(leaf.endpoint, "/one") == "/one/{y}"


LETTERS = st.text("ab/", max_size=6)


@given(st.lists(LETTERS, min_size=1, max_size=4), st.data())
def test_what_a_template_looks_like_filled_in(parts: list[str], data: st.DataObject) -> None:
    filled = [data.draw(LETTERS) for _ in parts[1:]]
    path = parts[0] + "".join(value + part for value, part in zip(filled, parts[1:], strict=True))
    expected = re.fullmatch(".+".join(map(re.escape, parts)), path) is not None
    assert mounts._fits("{x}".join(parts), path) is expected
    assert expected or "" in filled
