"""The bootstrap in every Python of this machine: nothing that a program can see of Python itself is different.

A package `loopwatch` that only leaves a mark stands in for the real one here, so that Pythons without the
extension can be tried as well.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import loopwatch
from tests.integration.project import once

BOOTSTRAP = Path(loopwatch.__file__).parent / "bootstrap"
# It stays while servers may come; nothing else about finding modules is different.
FINDERS = "[finder for finder in sys.meta_path if type(finder).__name__ != 'LoopwatchFinder']"
STAND_IN = """
import os
def start_from_environment():
    import asyncio
    asyncio.events._set_running_loop  # there, as is all the rest of it
    asyncio.run
    with open(os.path.join(os.environ["LOOPWATCH_RECORD"], "%d.came" % os.getpid()), "a") as mark:
        mark.write("came\\n")
"""


def _pythons() -> Iterator[str]:
    """Every Python here, the one of the tests first."""
    yield sys.executable
    installed = Path.home() / ".pyenv" / "versions"
    for path in sorted(installed.glob("*/bin/python")):
        yield str(path)


PYTHONS = list(dict.fromkeys(_pythons()))
# What is tried of the others is in no way that of the one that tries it.
each_python = pytest.mark.parametrize(
    "python", [PYTHONS[0], *once(*((path,) for path in PYTHONS[1:]))], ids=[Path(path).parts[-3] for path in PYTHONS]
)


@dataclass
class Bench:
    """Runs a program with and without the bootstrap, in a project of its own."""

    folder: Path
    python: str = sys.executable

    def __post_init__(self) -> None:
        self.record.mkdir(parents=True)
        self.project.mkdir()
        self.write("stand_in/loopwatch/__init__.py", f"__version__ = {loopwatch.__version__!r}\n")
        self.write("stand_in/loopwatch/watch.py", STAND_IN)

    @property
    def record(self) -> Path:
        return self.folder / "record"

    @property
    def project(self) -> Path:
        return self.folder / "project"

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def without(self, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What the program does by itself."""
        path = os.pathsep.join([str(self.project), str(self.folder / "stand_in")])
        return self._run([self.python, *args], {"PYTHONPATH": path, **variables})

    def run(self, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """What it does with the bootstrap before it."""
        path = os.pathsep.join([str(BOOTSTRAP), str(self.project), str(self.folder / "stand_in")])
        wanted = {"LOOPWATCH_RECORD": str(self.record), "LOOPWATCH_VERSION": loopwatch.__version__}
        return self._run([self.python, *args], {"PYTHONPATH": path, **wanted, **variables})

    def _run(self, command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "LOOPWATCH"))}
        environment = {**kept, "PYTHONDONTWRITEBYTECODE": "1", **variables}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, cwd=self.project)

    def same(self, *args: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run it both ways; nothing that it prints, and no status, may differ."""
        expected, found = self.without(*args, **variables), self.run(*args, **variables)
        assert _outcome(found) == _outcome(expected)
        return found

    @property
    def came(self) -> int:
        """How often the watch was started."""
        return sum(len(path.read_text().splitlines()) for path in self.record.glob("*.came"))

    @property
    def reasons(self) -> list[str]:
        """Why processes were not watched."""
        return [json.loads(path.read_text())["reason"] for path in sorted(self.record.glob("*.unwatched"))]


def _outcome(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    out, err = (re.sub(r"0x[0-9a-f]+", "0x", text) for text in (done.stdout, done.stderr))
    return done.returncode, out, err


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def any_bench(tmp_path: Path, python: str) -> Bench:
    return Bench(tmp_path, python)


def test_folder_holds_one_file() -> None:
    assert [path.name for path in BOOTSTRAP.iterdir() if path.name != "__pycache__"] == ["sitecustomize.py"]


STRICT = ("-bb", "-W", "error")


@each_python
class TestAnyPython:
    def test_silent(self, any_bench: Bench) -> None:
        any_bench.same(*STRICT, "-c", "import sys; print('sitecustomize' in sys.modules)")
        assert not list(any_bench.record.iterdir())

    def test_user_sitecustomize(self, any_bench: Bench) -> None:
        any_bench.write("project/sitecustomize.py", "import os, sys\nhere = __file__\nsys.mark = __name__\n")
        code = "import sys, sitecustomize as s; print(s.here, s.__file__, sys.mark, s is sys.modules['sitecustomize'])"
        assert "True" in any_bench.same(*STRICT, "-c", code).stdout

    @pytest.mark.parametrize("error", ["ValueError('no')", "ImportError('no')"])
    def test_user_sitecustomize_fails(self, any_bench: Bench, error: str) -> None:
        any_bench.write("project/sitecustomize.py", f"raise {error}\n")
        any_bench.same("-c", "import sys; print('sitecustomize' in sys.modules)")

    def test_user_sitecustomize_exits(self, any_bench: Bench) -> None:
        any_bench.write("project/sitecustomize.py", "raise SystemExit(3)\n")
        expected, found = any_bench.without("-c", "print(1)"), any_bench.run("-c", "print(1)")
        assert (found.returncode, found.stdout) == (expected.returncode, expected.stdout)

    def test_user_sitecustomize_misses_a_module(self, any_bench: Bench) -> None:
        any_bench.write("project/sitecustomize.py", "import not_there_at_all\n")
        any_bench.same("-c", "print(1)")

    def test_usercustomize(self, any_bench: Bench) -> None:
        any_bench.write("project/usercustomize.py", "print('user')\n")
        any_bench.same("-c", "import sys; print('usercustomize' in sys.modules)")

    def test_path_keeps_our_folder_first(self, any_bench: Bench) -> None:
        code = "import sys; print([p for p in sys.path if p][0])"
        assert any_bench.run("-c", code).stdout.strip() == str(BOOTSTRAP)

    def test_asyncio(self, any_bench: Bench) -> None:
        version = any_bench.without("-c", "import sys; print('%d %d' % sys.version_info[:2])").stdout.split()
        code = """
            import sys
            try:
                import asyncio
            except ImportError:
                raise SystemExit(0)
            loader = asyncio.__loader__
            print(type(loader), asyncio.__spec__.loader is loader, sorted(vars(loader)), FINDERS)
        """
        any_bench.same("-W", "error", "-c", textwrap.dedent(code).replace("FINDERS", FINDERS))
        number = tuple(map(int, version))
        if number >= (3, 11):
            assert (any_bench.came, any_bench.reasons) == (1, [])
        else:
            too_old = "Python {}.{} is too old for loopwatch, which needs 3.11".format(*version)
            assert any_bench.reasons == ([too_old] if number >= (3,) else [])

    def test_isolated_pythons_are_left_alone(self, any_bench: Bench) -> None:
        any_bench.run("-E", "-c", "try:\n    import asyncio\nexcept ImportError: pass")
        any_bench.run("-S", "-c", "try:\n    import asyncio\nexcept ImportError: pass")
        assert not list(any_bench.record.iterdir())


class TestChain:
    def test_site_folder(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
        bench = Bench(tmp_path / "bench", str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"))
        site = bench.without("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        Path(site, "sitecustomize.py").write_text("import sys; sys.mark = 'site folder'\n", encoding="utf-8")
        assert bench.same("-c", "import sys; print(sys.mark)").stdout == "site folder\n"

    def test_asked_for_again(self, bench: Bench) -> None:
        code = """
            for _ in range(2):
                try:
                    import sitecustomize
                except ImportError as error:
                    print(error, error.name)
            import asyncio, sys
            try:
                import sitecustomize
            except ImportError as error:
                print(error)
            print(FINDERS)
        """
        bench.same("-c", textwrap.dedent(code).replace("FINDERS", FINDERS))
        assert bench.came == 1

    def test_user_changes_the_path(self, bench: Bench) -> None:
        bench.write("project/sitecustomize.py", "import sys; sys.path.insert(0, '/first')\n")
        code = "import sys; print([p for p in sys.path if p][:2])"
        assert bench.run("-c", code).stdout.strip() == str([str(BOOTSTRAP), "/first"])

    def test_user_imports_asyncio(self, bench: Bench) -> None:
        bench.write("project/sitecustomize.py", "import asyncio\n")
        bench.same("-c", "import asyncio; print(asyncio)")
        assert bench.came == 1

    def test_one_bootstrap_behind_another(self, bench: Bench) -> None:
        bench.write("project/sitecustomize.py", (BOOTSTRAP / "sitecustomize.py").read_text(encoding="utf-8"))
        bench.run("-c", "import asyncio")
        assert (bench.came, bench.reasons) == (1, [])


class TestComing:
    """The ways in which asyncio gets imported."""

    def test_not_at_all(self, bench: Bench) -> None:
        code = "import sys; print(sorted(name for name in sys.modules if name != 'sitecustomize'))"
        bench.same("-c", code)
        assert not list(bench.record.iterdir())

    @pytest.mark.parametrize(
        "statement",
        [
            "import asyncio.events",
            "from asyncio import run",
            "import importlib; importlib.import_module('asyncio.tasks')",
            "__import__('asyncio')",
            "import importlib; import asyncio; importlib.reload(asyncio); importlib.reload(asyncio)",
            "import importlib.util as u; u.find_spec('asyncio'); u.find_spec('asyncio.events'); import asyncio",
        ],
    )
    def test_statement(self, bench: Bench, statement: str) -> None:
        shown = f"; import asyncio, sys; print(asyncio.__loader__.__dict__, {FINDERS}, asyncio.__spec__)"
        bench.same("-W", "error", "-c", statement + shown)
        assert (bench.came, bench.reasons) == (1, [])

    def test_leaves_where_it_cannot_watch(self, bench: Bench) -> None:
        bench.write("stand_in/loopwatch/watch.py", "1 / 0")
        bench.same("-c", "import asyncio, sys; print(sys.meta_path)")

    @pytest.mark.parametrize("options", [("-X", "importtime"), ("-X", "frozen_modules=off"), ("-X", "dev"), ("-v",)])
    def test_options(self, bench: Bench, options: tuple[str, ...]) -> None:
        assert bench.run(*options, "-c", "import asyncio").returncode == 0
        assert (bench.came, bench.reasons) == (1, [])

    def test_probed_only(self, bench: Bench) -> None:
        bench.same("-c", "import importlib.util as u; print(u.find_spec('asyncio'))")
        assert bench.came == 0

    def test_lazy(self, bench: Bench) -> None:
        code = """
            import importlib.util, sys
            spec = importlib.util.find_spec("asyncio")
            spec.loader = importlib.util.LazyLoader(spec.loader)
            module = importlib.util.module_from_spec(spec)
            sys.modules["asyncio"] = module
            spec.loader.exec_module(module)
            print("lazy")
            print(module.run)
        """
        bench.same("-c", textwrap.dedent(code).replace("module.run", "module.run.__name__"))
        assert bench.came == 1

    def test_imported_by_a_pth_file(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
        bench = Bench(tmp_path / "bench", str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"))
        site = bench.without("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
        Path(site, "early.pth").write_text("import asyncio\n", encoding="utf-8")
        bench.same("-c", f"import asyncio, sys; print(asyncio.__loader__.__dict__, {FINDERS})")
        assert bench.came == 1

    def test_many_threads_at_once(self, bench: Bench) -> None:
        code = """
            import threading
            barrier, seen = threading.Barrier(16), []
            def get():
                barrier.wait()
                import asyncio
                seen.append(asyncio.run.__name__ + asyncio.events.__name__)
            threads = [threading.Thread(target=get) for _ in range(16)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            print(seen)
        """
        for _ in range(5):
            bench.same("-c", textwrap.dedent(code))
        assert bench.came == 5

    def test_from_a_zip_file(self, bench: Bench) -> None:
        with zipfile.ZipFile(bench.folder / "project" / "lib.zip", "w") as archive:
            archive.writestr("asyncio/__init__.py", "from . import events\ndef run(): pass\nimport beside\n")
            archive.writestr("asyncio/events.py", "def _set_running_loop(loop): pass\n")
            archive.writestr("beside.py", "")
        code = """
            import sys
            sys.path.insert(0, "lib.zip")
            import importlib.util
            importlib.util.find_spec("asyncio")
            import beside, asyncio
            print(type(asyncio.__loader__), beside.__loader__ is asyncio.__loader__, asyncio.__loader__.__dict__.keys())
        """
        bench.same("-c", textwrap.dedent(code))
        assert bench.came == 1

    def test_behind_another_import_hook(self, bench: Bench) -> None:
        """As wrapt, ddtrace and others do it: a finder that asks all finders and wraps the loader."""
        code = """
            import importlib.util, sys
            class Chained:
                def __init__(self, loader): self.loader = loader
                def create_module(self, spec): return self.loader.create_module(spec)
                def exec_module(self, module):
                    module.__spec__.loader = module.__loader__ = self.loader
                    self.loader.exec_module(module); print("hooked", module.__name__)
                def __getattr__(self, name): return getattr(self.loader, name)
            class Hook:
                busy = set()
                def find_spec(self, name, path=None, target=None):
                    if name != "asyncio" or name in self.busy: return None
                    self.busy.add(name)
                    spec = importlib.util.find_spec(name)
                    self.busy.discard(name)
                    spec.loader = Chained(spec.loader)
                    return spec
            sys.meta_path.insert(PLACE, Hook())
            import asyncio
            print(asyncio.__loader__.__dict__, asyncio.run.__name__)
        """
        for place in ("0", "1", "len(sys.meta_path)"):
            bench.same("-c", textwrap.dedent(code).replace("PLACE", place))
        assert bench.came == 3


class TestFailing:
    def test_asyncio_fails_midway_then_comes(self, bench: Bench) -> None:
        """With the traceback that it has without the bootstrap, then again without an error."""
        bench.write("project/asyncio/__init__.py", "from . import events\nfrom .late import more\nrun = 1\n")
        bench.write("project/asyncio/events.py", "_set_running_loop = print\n")
        bench.write("project/asyncio/late.py", "import sys\nif not hasattr(sys, 'ready'): 1 / 0\nmore = 1\n")
        code = """
            import sys, traceback
            for _ in range(2):
                try:
                    import asyncio
                except ZeroDivisionError:
                    traceback.print_exc()
                    print(any(name == "asyncio" for name in sys.modules))
            sys.ready = True
            import asyncio
            print(asyncio.run)
        """
        found = bench.same("-c", textwrap.dedent(code))
        assert found.stderr.count("ZeroDivisionError") == 2
        assert bench.came == 1

    @pytest.mark.parametrize(
        "body", ["1 / 0", "import not_there", "from os import nothing", "def", "raise SystemExit(4)"]
    )
    def test_uncaught(self, bench: Bench, body: str) -> None:
        bench.write("project/asyncio/__init__.py", body)
        found = bench.same("-c", "import asyncio")
        assert found.returncode != 0
        assert bench.came == 0

    def test_warning_points_at_the_importer(self, bench: Bench) -> None:
        bench.write("project/asyncio/__init__.py", "import warnings, sys\nwarnings.warn('old', stacklevel=2)\n")
        bench.write("project/asyncio/events.py", "_set_running_loop = print\n")
        bench.write("project/uses.py", "import sys\n\nimport asyncio\n")
        assert "uses.py:3: UserWarning: old" in bench.same("uses.py").stderr

    def test_no_loopwatch(self, bench: Bench) -> None:
        bench.write("stand_in/loopwatch/__init__.py", "raise ModuleNotFoundError(name='loopwatch')\n")
        bench.same("-c", "import asyncio; print(asyncio.run.__name__)", "some", "argument")
        [path] = bench.record.iterdir()
        record = json.loads(path.read_text())
        pid, start = map(int, path.stem.split("-"))
        assert record["pid"] == pid
        assert start > 1_700_000_000_000
        assert record["command"][-2:] == ["some", "argument"]
        assert record["executable"] == sys.executable
        assert record["reason"] == "loopwatch is not installed for its Python"
        if os.name == "posix":
            assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize(
        ("package", "watch", "reason"),
        [
            ("__version__ = '0.0.1'", "", f"its Python has loopwatch 0.0.1, not {loopwatch.__version__}"),
            ("", "", "loopwatch cannot start: AttributeError"),
            ("__version__ = 1 / 0", "", "loopwatch cannot start: ZeroDivisionError"),
            (None, "import loopwatch._core", "loopwatch cannot be imported: No module named 'loopwatch._core'"),
            (None, "def start_from_environment(): raise OSError('no')", "loopwatch cannot start: OSError: no"),
        ],
    )
    def test_unfit_loopwatch(self, bench: Bench, package: str | None, watch: str, reason: str) -> None:
        if package is not None:
            bench.write("stand_in/loopwatch/__init__.py", package)
        bench.write("stand_in/loopwatch/watch.py", watch)
        bench.same("-W", "error", "-c", "import asyncio; print(asyncio.run.__name__)")
        [found] = bench.reasons
        assert found.startswith(reason)

    def test_no_folder_to_write_to(self, bench: Bench) -> None:
        bench.write("stand_in/loopwatch/watch.py", "1 / 0")
        gone = str(bench.folder / "gone")
        assert bench.run("-c", "import asyncio; print(1)", LOOPWATCH_RECORD=gone).stdout == "1\n"

    @pytest.mark.parametrize("word", ["0", "False", "no", "OFF"])
    def test_switched_off(self, bench: Bench, word: str) -> None:
        bench.write("project/sitecustomize.py", "import sys; sys.mark = 1\n")
        bench.same("-c", "import asyncio, sys; print(sys.mark, sys.meta_path)", LOOPWATCH=word)
        assert bench.came == 0

    @pytest.mark.parametrize("word", ["", "1", "maybe"])
    def test_not_switched_off(self, bench: Bench, word: str) -> None:
        bench.same("-c", "import asyncio", LOOPWATCH=word)
        assert bench.came == 1


class TestServers:
    """The modules that `loopwatch.servers` patches."""

    STAND_IN = "def arrived(name): print('arrived', name)\n"

    def test_after_its_import(self, bench: Bench) -> None:
        """A server imports asyncio itself, so it has begun before loopwatch is there."""
        bench.write("stand_in/loopwatch/servers.py", self.STAND_IN)
        bench.write("project/uvicorn/__init__.py", "from . import config\n")
        bench.write("project/uvicorn/config.py", "import asyncio\nprint('body')\n")
        code = "import uvicorn.config; print(uvicorn.config.__loader__.__dict__.keys())"
        assert bench.run("-c", code).stdout.splitlines()[:2] == ["body", "arrived uvicorn.config"]

    def test_before_asyncio(self, bench: Bench) -> None:
        bench.write("stand_in/loopwatch/servers.py", self.STAND_IN)
        bench.write("project/quart/__init__.py", "")
        bench.write("project/quart/ctx.py", "")
        assert bench.same("-c", "import sys, quart.ctx; print('asyncio' in sys.modules)").stdout == "False\n"
        assert bench.run("-c", "import quart.ctx, asyncio; print(2)").stdout == "arrived quart.ctx\n2\n"

    def test_imported_by_a_pth_file(self, tmp_path: Path) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True, timeout=60)
        bench = Bench(tmp_path / "bench", str(tmp_path / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"))
        site = Path(bench.without("-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
        (site / "quart").mkdir()
        (site / "quart" / "__init__.py").touch()
        (site / "quart" / "ctx.py").write_text("import asyncio\n", encoding="utf-8")
        (site / "early.pth").write_text("import quart.ctx\n", encoding="utf-8")
        bench.write("stand_in/loopwatch/servers.py", self.STAND_IN)
        assert bench.run("-c", "print('program')").stdout.splitlines() == ["arrived quart.ctx", "program"]

    @pytest.mark.parametrize("servers", [None, "1 / 0", "def arrived(name): raise ValueError"])
    def test_failing(self, bench: Bench, servers: str | None) -> None:
        if servers is not None:
            bench.write("stand_in/loopwatch/servers.py", servers)
        bench.write("project/quart/__init__.py", "import asyncio\n")
        bench.write("project/quart/ctx.py", "here = 1\n")
        bench.same("-W", "error", "-c", "import quart.ctx; print(quart.ctx.here)")

    def test_not_watched(self, bench: Bench) -> None:
        bench.write("stand_in/loopwatch/servers.py", self.STAND_IN)
        bench.write("stand_in/loopwatch/watch.py", "1 / 0")
        bench.write("project/quart/__init__.py", "import asyncio\n")
        bench.write("project/quart/ctx.py", "")
        bench.same("-c", "import quart.ctx")


class TestTrio:
    def test_alone(self, bench: Bench) -> None:
        bench.write("project/trio.py", "")
        bench.same("-c", "import trio; print(trio.__loader__.__dict__)")
        assert bench.reasons == ["trio runs its own loop, which loopwatch does not watch"]

    def test_beside_asyncio(self, bench: Bench) -> None:
        bench.write("project/trio.py", "")
        bench.same("-c", "import asyncio, trio")
        assert (bench.came, bench.reasons) == (1, [])
