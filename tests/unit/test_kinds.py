"""Whose code a file is."""

from __future__ import annotations

import pytest

from loopwatch.recording.kinds import Kinds
from tests.unit.recordings import CWD, SITE, STDLIB

PATHS = {"stdlib": [STDLIB], "site": [SITE, "/usr/lib/python3/dist-packages"], "loopwatch": ["/dev/src/loopwatch"]}


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (f"{CWD}/app/main.py", "app"),
        ("/somewhere/else/job.py", "app"),
        (f"{SITE}/sklearn/tree/_classes.py", "library"),  # inside the project's own .venv
        (f"{STDLIB}/site-packages/sk/a.py", "library"),  # inside the standard library's folder, not in the header
        ("/usr/lib/python3/dist-packages/yaml/__init__.py", "library"),
        ("/opt/other/site-packages/x.py", "library"),
        ("/dev/src/loopwatch/asgi.py", "loopwatch"),
        ("/dev/src/loopwatcher.py", "app"),
        (f"{STDLIB}/json/decoder.py", "stdlib"),
        (f"{STDLIB}x/json.py", "app"),
        ("<frozen importlib._bootstrap>", "stdlib"),
        (f"{STDLIB}/asyncio/base_events.py", "loop"),
        (f"{STDLIB}/selectors.py", "loop"),
        (f"{SITE}/uvloop/__init__.py", "loop"),
        (f"{SITE}/nest_asyncio.py", "loop"),
        (f"{SITE}/asyncio/x.py", "library"),
        (f"{CWD}/asyncio/base_events.py", "app"),
        ("<string>", "app"),
        ("<stdin>", "app"),
        ("<ipython-input-3-abc>", "app"),
        ("<my rules>", "app"),
        ("<attrs generated init main.Point>", "library"),
        ("", "app"),
    ],
)
def test_kind(file: str, kind: str) -> None:
    assert Kinds(PATHS, CWD, "linux").kind(file) == kind


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (f"{SITE}/ours/main.py", "app"),
        (f"{SITE}/ours.py", "app"),
        (f"{SITE}/ours2/main.py", "library"),
        (f"{SITE}/other/ours/main.py", "library"),
        (f"{SITE}/space/ours/main.py", "app"),
        (f"{SITE}/space/main.py", "library"),
        ("/opt/other/site-packages/ours/x.py", "app"),
        (f"{SITE}/uvloop/loop.py", "loop"),
        (f"{STDLIB}/ours/x.py", "stdlib"),
    ],
)
def test_packages_that_are_own_code(file: str, kind: str) -> None:
    assert Kinds(PATHS, CWD, "linux", app=("ours", "space.ours")).kind(file) == kind


def test_methods_that_dataclasses_makes_are_not_the_users_own() -> None:
    assert Kinds(PATHS).kind("<string>", "__create_fn__.<locals>.__init__") == "library"


def test_relative_files_are_taken_from_the_working_directory() -> None:
    kinds = Kinds(PATHS, CWD, "linux")
    assert kinds.absolute("app/main.py") == f"{CWD}/app/main.py"
    assert kinds.absolute("/x/main.py") == "/x/main.py"
    assert kinds.absolute("<string>") == "<string>"
    assert Kinds(PATHS, "", "linux").absolute("main.py") == "main.py"


def test_windows_ignores_case_and_direction() -> None:
    paths = {"stdlib": [r"C:\Python312\Lib"], "site": [r"C:\Python312\Lib\site-packages"], "loopwatch": []}
    kinds = Kinds(paths, r"C:\work", "win32")
    assert kinds.kind(r"c:\python312\lib\json\decoder.py") == "stdlib"
    assert kinds.kind(r"C:\Python312\Lib\site-packages\uvicorn\main.py") == "library"
    assert kinds.kind(r"C:\work\main.py") == "app"
    assert kinds.absolute(r"C:\work\main.py") == r"C:\work\main.py"


@pytest.mark.parametrize("paths", [None, [], "x", {"site": 7}, {"site": [7, None, ""]}, {"stdlib": "/usr"}])
def test_paths_that_make_no_sense(paths: object) -> None:
    assert Kinds(paths).kind("/usr/x.py") == "app"
