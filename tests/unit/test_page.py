"""What the page's data keep where there is more than it can show."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from loopwatch.analysis.run import load
from loopwatch.analysis.source import Source
from loopwatch.recording import find_recordings
from loopwatch.report import Options
from loopwatch.report.page import Limits, page_data, page_object
from tests.unit.recordings import RUNNER, UNIX, RecordingBuilder


def test_all_processes_count_and_those_that_run_are_listed(tmp_path: Path) -> None:
    for pid in range(1, 201):
        builder = RecordingBuilder(pid)
        builder.loop()
        builder.stall(0, 20)
        builder.write(tmp_path).rename(tmp_path / f"{pid}-{UNIX // 1_000_000 + pid}.jsonl")
    for pid in range(1001, 1201):
        (tmp_path / f"{pid}-1.unwatched").write_text('{"pid": 9, "command": ["x"], "reason": "old"}')
    run = load(find_recordings([tmp_path]), alive=lambda process: process.pid in (3, 5))
    page = json.loads(page_data(run, Options()))
    assert page["counts"] == {"processes": 200, "running": 2, "loops": 200}
    pids = [each["pid"] for each in page["processes"]]
    assert pids == [3, 5, *range(75, 201)]
    assert "128 of 200 processes are listed: those that run, and the newest" in page["left_out"]
    assert "128 of 200 processes that were not watched are listed" in page["left_out"]


def test_long_commands_are_cut(tmp_path: Path) -> None:
    words = ["serve", *("w" * 400 for _ in range(5000))]
    for pid in range(1, 151):
        builder = RecordingBuilder(pid, command=words)
        builder.loop()
        builder.stall(0, 20)
        builder.write(tmp_path)
        other = {"pid": pid, "command": words, "reason": "old"}
        (tmp_path / f"{pid}-1.unwatched").write_text(json.dumps(other))
    data = page_data(load(find_recordings([tmp_path])), Options())
    assert len(data) < 2_500_000
    page = json.loads(data)
    for found in (page["run"], *page["processes"], *page["unwatched"]):
        assert len(found["command"]) == 51
        assert found["command"][-1] == "…"
    assert page["counts"]["processes"] == 150


def test_stalls_without_an_end_are_not_those_that_are_left_out(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    stack = builder.stack(*RUNNER, ("/srv/app/main.py", "view", 3))
    for number in range(20):
        builder.stall(100 * number, 20 + number, (stack, 10))
    builder.stall(3000, 12, (stack, 10), t="open")
    builder.write(tmp_path)
    run = load(find_recordings([tmp_path]), alive=lambda _: False)
    page: dict[str, Any] = page_object(run, Options(), Source(), Limits(stalls=4))
    state, duration = (page["stalls"]["columns"].index(name) for name in ("state", "duration_ms"))
    rows = [(row[state], row[duration]) for row in page["stalls"]["rows"]]
    assert rows == [("ended", 39), ("ended", 38), ("ended", 37), ("gone", 12)]
    assert page["stalls_omitted"] == 17
