"""The house rules: two halves that meet in the recording only, and files of a size that one can read."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import loopwatch

PACKAGE = Path(loopwatch.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400

# Modules by the half they belong to. Whatever begins with one of these names belongs to it as well.
SHARED = ("errors", "cwd", "config", "settings", "stack", "model", "recording")
REQUESTS = ("asgi", "endpoints", "mounts", "servers", "frameworks", "lifespans", "patching", "location")
WRITING = (
    "",
    "watch",
    "attach",
    "injected",
    "callers",
    "header",
    "location",
    "bootstrap",
    *REQUESTS,
    "wants",
    "logs",
    "metrics",
)
READING = ("analysis", "report", "web", "cli.report", "cli.diff", "cli.live", "cli.ui")
WITH_LIBRARY = {"metrics.prometheus", "metrics.otel"}  # of who asks for them
# What the watched process runs, so what may not be imported elsewhere.
WRITERS_OWN = (
    "_core",
    "watch",
    "attach",
    "wants",
    "callers",
    "logs",
    "metrics",
    "header",
    "location",
    "bootstrap",
    *REQUESTS,
)


def name_of(file: Path) -> str:
    """``recording.decoder`` for src/loopwatch/recording/decoder.py, nothing for the package itself."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(file: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it, with full names. Imports for type checkers only are none."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            skipped.update(child for statement in node.body for child in ast.walk(statement))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            module = node.module or ""
            if module == "loopwatch":  # `from loopwatch import watch` imports a module, `__version__` does not
                yield from (f"loopwatch.{alias.name}" for alias in node.names if _is_module(alias.name))
            else:
                yield module


def _is_module(name: str) -> bool:
    return name == "_core" or (PACKAGE / f"{name}.py").exists() or (PACKAGE / name).is_dir()


def belongs(name: str, to: tuple[str, ...]) -> bool:
    return any(name == each or (each and name.startswith(f"{each}.")) for each in to)


def ours(file: Path) -> list[str]:
    return [
        name.removeprefix("loopwatch").lstrip(".") for name in imports_of(file) if name.split(".")[0] == "loopwatch"
    ]


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_halves_keep_apart(file: Path) -> None:
    name = name_of(file)
    if belongs(name, ("errors", "stack", "cwd")):
        allowed: tuple[str, ...] = ()  # leaves
    elif belongs(name, ("model",)):
        allowed = ("stack",)
    elif belongs(name, ("config",)):
        allowed = ("errors",)
    elif belongs(name, ("settings",)):
        allowed = ("errors", "config")
    elif belongs(name, ("recording",)):
        allowed = ("errors", "cwd", "stack", "model", "recording")
    elif belongs(name, ("analysis",)):
        allowed = ("errors", "stack", "model", "recording", "analysis")
    elif belongs(name, ("report",)):
        allowed = ("errors", "stack", "model", "recording", "analysis", "report")
    elif belongs(name, WRITING):
        allowed = (*SHARED, *WRITERS_OWN)
    elif belongs(name, ("web",)):
        allowed = ("errors", "stack", "model", "recording", "analysis", "report", "web")
    elif belongs(name, ("cli.report", "cli.diff", "cli.live", "cli.ui")):
        allowed = (*SHARED, "analysis", "report", "web", "cli")
    else:
        return
    strangers = [each for each in ours(file) if each and not belongs(each, allowed)]
    assert not strangers, f"{name} imports {strangers}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_the_watched_process_imports_the_standard_library_only(file: Path) -> None:
    name = name_of(file)
    if belongs(name, (*WRITING, *SHARED)):
        if name in WITH_LIBRARY:
            return
        foreign = {each.split(".")[0] for each in imports_of(file)} - sys.stdlib_module_names - {"loopwatch"}
        assert not foreign - {"sitecustomize"}, f"{name} imports {foreign}"


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_no_file_is_too_long(file: Path) -> None:
    assert len(file.read_text(encoding="utf-8").splitlines()) < MOST_LINES
