"""Where servers and frameworks are patched: the table, and what happens with versions that look different."""

from __future__ import annotations

import ast
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from loopwatch import LoopwatchMiddleware, patching, servers
from tests.integration.behaviours import plain
from tests.integration.exchange import exchange, http

BOOTSTRAP = Path(servers.__file__).parent / "bootstrap" / "sitecustomize.py"


def test_bootstrap_awaits_what_the_table_has() -> None:
    [names] = [
        ast.literal_eval(node.value)
        for node in ast.parse(BOOTSTRAP.read_text(encoding="utf-8")).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SERVERS"
    ]
    assert sorted(names) == sorted(servers.HOOKS)


class TestUnknownVersions:
    """A server that looks different is left alone."""

    @pytest.mark.parametrize("name", servers.HOOKS)
    def test_empty_module(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType(name)
        before = dict(vars(module))
        monkeypatch.setitem(sys.modules, name, module)
        servers.arrived(name)
        assert vars(module) == before

    @pytest.mark.parametrize("name", servers.HOOKS)
    def test_other_classes(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        module = types.ModuleType(name)
        for each in ("Config", "ASGIWrapper", "LifespanProtocol", "Server", "ASGIWorker", "Application", "Sanic"):
            setattr(module, each, type(each, (), {"__module__": name}))
        before = {key: dict(vars(value)) for key, value in vars(module).items() if isinstance(value, type)}
        monkeypatch.setitem(sys.modules, name, module)
        servers.arrived(name)
        assert {key: dict(vars(value)) for key, value in vars(module).items() if isinstance(value, type)} == before

    def test_absent(self) -> None:
        servers.arrived("nobody.has.this")
        servers.arrived("json")

    def test_attribute_is_gone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Config:
            def load(self) -> str:
                return "loaded"

        module = types.ModuleType("uvicorn.config")
        module.Config = Config  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "uvicorn.config", module)
        servers.arrived("uvicorn.config")
        assert Config().load() == "loaded"


class TestPatching:
    def test_never_twice(self) -> None:
        calls: list[Any] = []

        class Config:
            def load(self, value: int, *, more: int = 0) -> int:
                """Load."""
                return value + more

        original = Config.load
        for _ in range(3):
            patching.after(Config, "load", lambda *args, **kwargs: calls.append((args[1:], kwargs)))
        assert Config().load(1, more=2) == 3
        assert calls == [((1,), {"more": 2})]
        assert (Config.load.__name__, Config.load.__doc__) == ("load", "Load.")
        assert Config.load.__wrapped__ is original  # type: ignore[attr-defined]

    def test_errors_are_the_original_ones(self) -> None:
        class Config:
            def load(self) -> None:
                raise KeyError("own")

        def then(*_: Any) -> None:
            raise AssertionError("not reached")

        patching.after(Config, "load", then)
        with pytest.raises(KeyError, match="own"):
            Config().load()

    def test_what_comes_after_may_fail(self) -> None:
        class Config:
            def load(self) -> int:
                return 1

        def then(*_: Any) -> None:
            raise ValueError

        patching.after(Config, "load", then)
        assert Config().load() == 1

    def test_inherited_is_not_patched(self) -> None:
        class Base:
            def load(self) -> None: ...

        class Config(Base): ...

        with pytest.raises(AttributeError):
            patching.after(Config, "load", lambda: None)

    def test_wrapped_once(self) -> None:
        once = servers.wrapped(plain)
        assert isinstance(once, LoopwatchMiddleware)
        assert servers.wrapped(once) is once
        none: Any = None
        assert servers.wrapped(none) is None

    @pytest.mark.parametrize(("value", "wanted"), [("1", True), ("0", False), ("", False), (None, False)])
    async def test_headers_are_asked_for(
        self, monkeypatch: pytest.MonkeyPatch, value: str | None, wanted: bool
    ) -> None:
        monkeypatch.delenv(servers.HEADERS_VARIABLE, raising=False)
        if value is not None:
            monkeypatch.setenv(servers.HEADERS_VARIABLE, value)
        found = await exchange(servers.wrapped(plain), http())
        assert (b"server-timing" in dict(found.headers)) is wanted
