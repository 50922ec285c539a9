"""`[tool.loopwatch]` and `LOOPWATCH_*`, as the commands heed them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import STALL, Project

PROGRAM = """
import asyncio, sys
sys.path.insert(0, "site-packages")
import library

async def main():
    await asyncio.sleep(0.001)
    library.entry()
asyncio.run(main())
"""
LIBRARY = "import time\ndef entry():\n    inner()\ndef inner():\n    time.sleep(0.03)\n"


@pytest.fixture
def with_library(project: Project) -> Project:
    """A program that calls an installed package."""
    (project.folder / "site-packages" / "library").mkdir(parents=True)
    project.write("site-packages/library/__init__.py", LIBRARY)
    project.write("app.py", PROGRAM)
    return project


def report(project: Project, *arguments: str, **variables: str) -> dict[str, Any]:
    done = project.loopwatch("report", "-f", "json", *arguments, **variables)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def functions(project: Project, **variables: str) -> list[str]:
    return [site["function"] for site in report(project, **variables)["sites"]]


def test_own_packages(with_library: Project) -> None:
    """Named when it was recorded, or only for the report."""
    project = with_library
    assert project.loopwatch("run", "-q", "app.py").returncode == 0
    assert functions(project) == ["main"]
    assert functions(project, LOOPWATCH_APP="library") == ["inner"]
    project.write("pyproject.toml", '[tool.loopwatch]\napp = ["library"]\n')
    assert functions(project) == ["inner"]
    project.loopwatch("run", "-q", "app.py")
    (project.folder / "pyproject.toml").unlink()
    assert functions(project) == ["inner"]


def test_where_recordings_are(project: Project) -> None:
    project.write("pyproject.toml", '[tool.loopwatch]\ndir = "stalls/here"\nthreshold = "20ms"\n')
    project.write("app.py", STALL + "asyncio.run(stall())\n")
    done = project.loopwatch("run", "app.py")
    assert done.stderr.splitlines()[-1] == "Next: loopwatch report"
    found = report(project)
    assert Path(found["run"]["path"]).parent == project.folder / "stalls" / "here"
    assert found["run"]["threshold_ms"] == 20
    assert report(project, Path(found["run"]["path"]).name)["totals"] == found["totals"]
    assert not (project.folder / ".loopwatch").exists()


def test_command_line_counts_most(project: Project) -> None:
    project.write("pyproject.toml", '[tool.loopwatch]\nthreshold = "20ms"\ninterval = "5ms"\nheaders = true\n')
    project.write("app.py", STALL + "import os\nprint(os.environ.get('LOOPWATCH_HEADERS'))\nasyncio.run(stall())\n")
    variables = {"LOOPWATCH_THRESHOLD": "1s", "LOOPWATCH_INTERVAL": "2ms"}
    done = project.loopwatch("run", "-q", "--threshold", "15ms", "app.py", **variables)
    assert done.stdout == "1\n"
    run = report(project)["run"]
    assert (run["threshold_ms"], run["interval_ms"]) == (15, 2)


def test_recordings_make_room(project: Project) -> None:
    project.write("pyproject.toml", "[tool.loopwatch]\nrecordings = 2\n")
    project.write("app.py", STALL + "asyncio.run(stall())\n")
    said = [project.loopwatch("run", "app.py").stderr for _ in range(4)]
    assert ["1 old recording removed from .loopwatch" in each for each in said] == [False, False, True, True]
    assert len(list((project.folder / ".loopwatch").glob("*Z-*"))) == 2


def test_size_of_a_recording(project: Project) -> None:
    """The oldest parts make room, and the report says so."""
    begin = "import asyncio, time\nasync def main():\n"
    project.write("app.py", begin + _many_lines(3000) + "asyncio.run(main())")
    done = project.loopwatch(
        "run", "-q", "--threshold", "50us", "--interval", "0", "app.py", LOOPWATCH_RECORDING_SIZE="1MB"
    )
    assert done.returncode == 0, done.stderr
    files = list((project.folder / ".loopwatch").glob("*/*.jsonl"))
    assert 1 < len(files) <= 5
    assert sum(file.stat().st_size for file in files) < 2 << 20
    [process] = report(project)["processes"]
    assert any("made room for newer ones" in note for note in process["notes"])


def _many_lines(count: int) -> str:
    """Stalls that all differ."""
    return "".join("    await asyncio.sleep(0)\n    time.sleep(0.0002)\n" for _ in range(count))


def test_requests_at_once(project: Project) -> None:
    project.write(
        "app.py",
        """
        import asyncio
        from loopwatch import LoopwatchMiddleware

        async def app(scope, receive, send):
            await asyncio.sleep(0.05)

        async def main():
            scopes = [{"type": "http", "method": "GET", "path": "/", "headers": []} for _ in range(5)]
            await asyncio.gather(*(LoopwatchMiddleware(app)(scope, None, None) for scope in scopes))
        asyncio.run(main())
        """,
    )
    for most, untracked in (("2", 3), ("", 0)):
        assert project.loopwatch("run", "-q", "app.py", LOOPWATCH_REQUESTS=most).returncode == 0
        totals = report(project)["totals"]
        assert (totals["requests"], totals["requests_untracked"]) == (5, untracked)


@pytest.mark.parametrize("command", [["report"], ["run", sys.executable, "-c", ""]])
def test_errors(project: Project, command: list[str]) -> None:
    project.write("pyproject.toml", "[tool.loopwatch]\nthreshhold = 5\n")
    done = project.loopwatch(*command)
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert "threshhold: there is no such setting; did you mean threshold" in line


@pytest.mark.parametrize("text", ["tool = 5", "tool = [1]"])
def test_tool_is_no_table(project: Project, text: str) -> None:
    project.write("pyproject.toml", text)
    done = project.loopwatch("run", sys.executable, "-c", "")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.endswith("pyproject.toml: tool is no table; write [tool.loopwatch]")


class TestLimits:
    # One stall in which the stack is so many frames deep, below those of the loop.
    DEEP = """
import asyncio, sys, time
def dive(frames):
    if frames:
        dive(frames - 1)
    else:
        time.sleep(0.4)
async def main(frames):
    sys.setrecursionlimit(10_000)
    await asyncio.sleep(0.01)
    dive(frames)
asyncio.run(main(int(sys.argv[1])))
"""

    def loop_and_stack(self, project: Project, depth: str, frames: int) -> tuple[dict[str, Any], list[str]]:
        """What the report has of the loop, and the functions of its longest stall's stack."""
        project.write("app.py", self.DEEP)
        done = project.loopwatch(
            "run", "-q", "--threshold", "100ms", "app.py", str(frames), LOOPWATCH_STACK_DEPTH=depth
        )
        assert done.returncode == 0, done.stderr
        found = report(project)
        (loop,) = found["processes"][0]["loops"]
        return loop, [frame["function"] for frame in found["sites"][0]["stack"]]

    def test_stack_depth(self, project: Project) -> None:
        loop, stack = self.loop_and_stack(project, "32", 300)
        assert loop["samples"] == loop["samples_cut"] > 0
        assert set(stack) == {"dive"}
        assert 32 <= len(stack) <= 64
        note = f"{loop['samples']} samples had more frames than stack_depth, and lack the outermost"
        assert note in project.loopwatch("report").stdout.replace("\n", " ")

    @pytest.mark.parametrize(("depth", "frames"), [("", 300), ("64", 10), ("8192", 5000)])
    def test_stack_that_fits(self, project: Project, depth: str, frames: int) -> None:
        loop, stack = self.loop_and_stack(project, depth, frames)
        assert loop["samples"] > loop["samples_cut"] == 0
        assert stack.count("dive") == frames + 1
        assert "main" in stack

    def test_stack_depth_in_the_summary(self, project: Project) -> None:
        project.write("app.py", self.DEEP)
        done = project.loopwatch("run", "--threshold", "100ms", "app.py", "300", LOOPWATCH_STACK_DEPTH="16")
        assert "had more frames than stack_depth" in done.stderr

    def test_distinct_stacks_of_a_stall(self, project: Project) -> None:
        sleeps = "; ".join(["time.sleep(0.1)"] * 5)
        project.write("app.py", f"import asyncio, time\nasync def main():\n    {sleeps}\nasyncio.run(main())\n")
        done = project.loopwatch("run", "-q", "--threshold", "100ms", "app.py", LOOPWATCH_STACKS="1")
        assert done.returncode == 0, done.stderr
        (loop,) = report(project)["processes"][0]["loops"]
        assert 0 < loop["samples_omitted"] < loop["samples"]
        text = project.loopwatch("report").stdout.replace("\n", " ")
        assert f"{loop['samples_omitted']} samples had no room among the stacks of their stall" in text
