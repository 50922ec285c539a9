"""Two runs compared, from recordings of a file that was edited in between."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len

from loopwatch.analysis.diff import Change, Diff, compare
from loopwatch.analysis.run import Run, load
from loopwatch.analysis.source import Source
from loopwatch.recording import find_recordings
from loopwatch.report.diff import write_json, write_text
from tests.unit.recordings import MS, RUNNER, Place, RecordingBuilder

LINES = {"a": "    sleep(1)", "b": "    load(path)", "c": "    crunch(data)", "d": "    other()"}


def record(
    folder: Path, stalls: dict[str, tuple[int, float]], *, shift: int = 0, seconds: int = 60, requests: int = 0
) -> Run:
    """A run of a file in which `shift` lines were put before the function: for each of its lines so many stalls of so
    many milliseconds."""
    main = folder / "main.py"
    folder.mkdir(parents=True)
    main.write_text("\n" * shift + "def handler():\n" + "\n".join(LINES.values()) + "\n", encoding="utf-8")
    os.utime(main, (1, 1))
    builder = RecordingBuilder(cwd=str(folder))
    builder.loop()
    builder.phase("serving", 0)
    at = 100.0
    for name, (count, length) in stalls.items():
        line = shift + 2 + list(LINES).index(name)
        place: Place = (str(main), "handler", line, line, 4, len(LINES[name]))
        stack = builder.stack(*RUNNER, place)
        for _ in range(count):
            builder.stall(at, length, (stack, 9))
            at += length + 5
    count, stalled = sum(each for each, _ in stalls.values()), sum(int(n * ms * MS) for n, ms in stalls.values())
    builder.summary(seconds * 1000, stalls=count, stalled_ns=stalled, requests=requests)
    builder.end(seconds * 1000)
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")
    return load(find_recordings([folder]), alive=lambda _: False)


def source_of(run: Run) -> Source:
    return Source(recorded=run.cwd)


def diff_of(before: Run, after: Run) -> Diff:
    return compare(before, after, source_of)


def by_expression(diff: Diff) -> dict[str, Change]:
    return {change.expression.strip(): change for change in diff.changes}


def outcomes(diff: Diff) -> dict[str, str]:
    return {expression: change.outcome for expression, change in by_expression(diff).items()}


def test_went_came_grew_and_shrank(tmp_path: Path) -> None:
    before = record(tmp_path / "a", {"a": (10, 50), "b": (4, 20), "c": (4, 20)})
    after = record(tmp_path / "b", {"b": (8, 20), "c": (4, 10), "d": (1, 30)}, shift=7)
    diff = diff_of(before, after)
    assert outcomes(diff) == {"sleep(1)": "gone", "load(path)": "grown", "crunch(data)": "shrunk", "other()": "new"}
    moved = by_expression(diff)["load(path)"]
    assert moved.before and moved.after and moved.before.frame and moved.after.frame
    assert (moved.before.frame.line, moved.after.frame.line) == (3, 10)
    assert diff.changes[0].outcome == "gone"  # most has changed there
    totals = [
        sum(rates.total for rates in each)
        for each in zip(*((c.rates_before, c.rates_after) for c in diff.changes), strict=True)
    ]
    assert totals == pytest.approx([diff.rates_before.total, diff.rates_after.total])


def test_a_longer_run_has_not_grown(tmp_path: Path) -> None:
    before = record(tmp_path / "a", {"a": (10, 50)}, seconds=60)
    after = record(tmp_path / "b", {"a": (30, 50)}, seconds=180)
    assert outcomes(diff_of(before, after)) == {"sleep(1)": "same"}
    (change,) = diff_of(before, after).changes
    assert change.rates_after.per_minute == pytest.approx(0.5)


def test_more_requests_are_no_growth(tmp_path: Path) -> None:
    before = record(tmp_path / "a", {"a": (10, 50)}, requests=100)
    after = record(tmp_path / "b", {"a": (30, 50)}, requests=300)
    diff = diff_of(before, after)
    assert diff.by_request
    assert outcomes(diff) == {"sleep(1)": "same"}
    alone = record(tmp_path / "c", {"a": (30, 50)})
    assert outcomes(diff_of(before, alone)) == {"sleep(1)": "grown"}  # per minute: this one served none


def test_a_run_with_itself(tmp_path: Path) -> None:
    run = record(tmp_path / "a", {"a": (10, 50), "b": (4, 20)})
    assert set(outcomes(diff_of(run, run)).values()) == {"same"}


def test_the_same_folder_after_an_edit(tmp_path: Path) -> None:
    """The file of the first run is no longer what it was: its lines tell nothing, but its functions do."""
    before = record(tmp_path / "a", {"a": (10, 50)})
    main = tmp_path / "a/main.py"
    main.write_text("\n\n" + main.read_text())
    (change,) = diff_of(before, before).changes
    assert (change.outcome, change.expression) == ("same", "")


def text_of(diff: Diff, width: int = 110) -> str:
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        write_text(diff, out)
    assert all(cell_len(line) <= width for line in out.getvalue().splitlines())
    return out.getvalue()


def test_text(tmp_path: Path) -> None:
    before = record(tmp_path / "a", {"a": (10, 50), "b": (4, 20), "c": (4, 20)}, requests=1000)
    after = record(tmp_path / "b", {"b": (8, 20), "c": (4, 20), "d": (1, 30)}, shift=7, requests=1000)
    lines = text_of(diff_of(before, after)).splitlines()
    assert lines[0].startswith("before  uvicorn app:app, ") and lines[0].endswith(" · 60.0 s · 1,000 requests")
    assert lines[3] == "The loop was blocked for 660 µs a request before, and for 270 µs after (-59 %)."
    assert [line.split()[0] for line in lines if line[:1].isalpha()][3:] == ["new", "grown", "gone"]
    (grown,) = (" ".join(line.split()) for line in lines if line.startswith("grown"))
    assert grown == "grown main.py:10 handler 80 µs → 160 µs a request · 4 → 8 stalls · worst 20 ms → 20 ms"
    assert lines[-1] == "1 site stayed much the same."
    for width in (40, 60, 80):
        text_of(diff_of(before, after), width)


def test_text_without_stalls(tmp_path: Path) -> None:
    run = record(tmp_path / "a", {})
    assert "Neither run has a stall." in text_of(diff_of(run, run))


def test_json(tmp_path: Path) -> None:
    before = record(tmp_path / "a", {"a": (10, 50)}, requests=100)
    after = record(tmp_path / "b", {"d": (1, 30)}, shift=7, requests=100)
    out = io.StringIO()
    write_json(diff_of(before, after), out)
    found: dict[str, Any] = json.loads(out.getvalue())
    assert (found["schema"], found["judged_by"]) == ("loopwatch-diff/1", "request")
    assert (found["before"]["ms_per_request"], found["after"]["ms_per_request"]) == (5.0, 0.3)
    gone, new = found["sites"]
    assert (gone["outcome"], gone["file"], gone["function"], gone["expression"]) == (
        "gone",
        "main.py",
        "handler",
        "sleep(1)",
    )
    assert (gone["after"], new["before"]) == (None, None)
    assert gone["before"] == {
        "line": 2,
        "cause": None,
        "stalls": 10,
        "stalled_ms": 500.0,
        "max_ms": 50.0,
        "ms_per_minute": 500.0,
        "ms_per_request": 5.0,
    }
