"""The few lines that `loopwatch run` ends with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.cells import cell_len

from loopwatch.analysis.run import load
from loopwatch.recording import find_recordings
from loopwatch.report.summary import nothing, summary
from tests.unit.project import START, make_project
from tests.unit.recordings import RecordingBuilder

US = 1  # the pid that prints the summary


def lines(folder: Path, typed: str = "uvicorn app:app", width: int = 80, status: int = 0) -> list[str]:
    run = load(find_recordings([folder]), clock=lambda: START + 60, alive=lambda _: False)
    found = [line.plain for line in summary(run, typed, US, width, status)]
    assert [line.rstrip() for line in found] == found
    return found


def unwatched(folder: Path, pid: int, reason: str, *command: str) -> None:
    record = {"pid": pid, "executable": "/usr/bin/python3.9", "command": list(command), "reason": reason}
    (folder / f"{pid}-1.unwatched").write_text(json.dumps(record))


def test_stalls(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert lines(tmp_path) == [
        "loopwatch · 10.0 s · 57 stalls · blocked for 2.23 s (22 %) · worst 48 ms · 1 more allowed",
        " 1  main.py:6 predict                                         1.98 s · 45 stalls",
        " 2  main.py:13 crunch                                         200 ms · 10 stalls",
        " 3  uvicorn/http.py:100 H.data_received                       30 ms · 1 stall",
        " 4  (no sample: the watchdog got no CPU in time, or stacks…   15 ms · 1 stall",
    ]


@pytest.mark.parametrize("width", [40, 60, 110])
def test_sites_fit(tmp_path: Path, width: int) -> None:
    make_project(tmp_path)
    assert all(cell_len(line) <= width for line in lines(tmp_path, width=width) if line.startswith(" "))


def test_stuck_to_the_end(tmp_path: Path) -> None:
    make_project(tmp_path, hung=True)
    assert lines(tmp_path)[1].startswith("■ NEVER ENDED pid 4711 was stuck for at least ")
    assert "until it was gone, in main.py:6 predict" in lines(tmp_path)[1]


def test_no_stall(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.summary(5000, iterations=10)
    builder.write(tmp_path)
    assert lines(tmp_path) == ["loopwatch · 5.00 s · no stall of 10 ms or more"]


def test_no_loop(tmp_path: Path) -> None:
    RecordingBuilder().write(tmp_path)
    assert lines(tmp_path, "python x.py") == ["No event loop ran in python x.py: nothing was watched."]
    assert lines(tmp_path, "python x.py", status=3) == [
        "No event loop ran in python x.py, which ended with status 3: nothing was watched."
    ]


def test_loops_in_children_only(tmp_path: Path) -> None:
    RecordingBuilder(10).write(tmp_path)
    for pid in (11, 12):
        child = RecordingBuilder(pid, parent_pid=10)
        child.loop()
        child.summary(5000)
        child.write(tmp_path)
    RecordingBuilder(13, parent_pid=10, command=["resource", "tracker"]).write(tmp_path)
    found = lines(tmp_path)
    assert found[0].startswith("loopwatch · 5.00 s · 2 processes · ")
    assert found[1:] == [
        "No event loop ran in uvicorn app:app itself, only in its child processes.",
        "No event loop ran in pid 13 (resource tracker).",
    ]


def test_unwatched_ones_are_named_once(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.summary(5000)
    builder.write(tmp_path)
    for pid in range(100, 110):
        unwatched(tmp_path, pid, "Python 3.9 is too old", "/usr/bin/python3.9", "tool.py")
    unwatched(tmp_path, builder.pid, "trio runs its own loop", "x")  # it had a loop of asyncio as well
    assert lines(tmp_path)[1:] == ["Not watched: tool.py: Python 3.9 is too old."]
    for pid in range(110, 114):
        unwatched(tmp_path, pid, "not installed", f"/usr/bin/tool{pid}")
    assert lines(tmp_path)[2:] == [
        "Not watched: tool110: not installed.",
        "Not watched: tool111: not installed.",
        "Not watched: 2 more.",
    ]


def test_only_unwatched_ones(tmp_path: Path) -> None:
    """They may have had loops, so it is not said that none ran."""
    unwatched(tmp_path, 100, "Python 3.9 is too old", "python3.9", "app.py")
    assert lines(tmp_path, "python3.9 app.py") == [
        "Nothing was watched in python3.9 app.py.",
        "Not watched: app.py: Python 3.9 is too old.",
    ]


def test_notes(tmp_path: Path) -> None:
    for pid in (10, 11):
        builder = RecordingBuilder(pid, notes=["stacks: the walk is off"])
        builder.loop()
        builder.write(tmp_path)
    assert lines(tmp_path)[-1] == "Note: stacks: the walk is off."


def test_nothing_recorded() -> None:
    assert nothing("python x.py").plain.startswith("No event loop ran in python x.py: nothing was watched (")
    assert nothing("x", 130).plain.startswith("No event loop ran in x: nothing was watched (a Python started with -I")
    for status in (0, 1, 130):
        shown = nothing("x", status, "-I").plain
        assert shown.endswith("nothing was watched (Python's option -I keeps loopwatch out).")


def test_a_command_that_failed_before_it_had_a_loop() -> None:
    """It was not kept out of anything."""
    expected = "No event loop ran in uvicorn app:app, which ended with status 1: nothing was watched."
    assert nothing("uvicorn app:app", 1).plain == expected


def test_long_commands_and_odd_characters() -> None:
    line = nothing("python -c " + "x" * 10_000).plain
    assert "…: nothing was watched" in line
    assert len(line) < 250
    assert "\x1b" not in nothing("python -c '\x1b[2J\n'").plain
