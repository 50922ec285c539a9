"""The JSON report holds on to its schema: other programs do."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loopwatch.analysis.run import load
from loopwatch.analysis.sites import counts
from loopwatch.model import CAUSES
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter
from tests.unit.project import PREDICT, START, make_causes, make_project, make_service
from tests.unit.recordings import MS, RecordingBuilder

NUMBER = {"type": "number", "minimum": 0}
COUNT = {"type": "integer", "minimum": 0}
TEXT = {"type": "string"}
MAYBE = {"type": ["number", "null"], "minimum": 0}  # null: the recording does not tell
CAUSE = {"enum": [*CAUSES, None]}
CAUSES_MS = {"type": "object", "propertyNames": {"enum": CAUSES}, "additionalProperties": NUMBER}
PHASE = {"enum": ["startup", "serving", "shutdown", "other"]}


def members(**properties: Any) -> dict[str, Any]:
    """An object with exactly these members."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def items(of: Any) -> dict[str, Any]:
    return {"type": "array", "items": of}


PLACE = {"file": TEXT, "line": COUNT, "function": TEXT, "expression": TEXT}
CHANGE = members(file=TEXT, line=COUNT, function=TEXT, code=TEXT)
ADVICE = members(slug=TEXT, text=TEXT, change={"anyOf": [CHANGE, {"type": "null"}]})
LOOP = members(
    kind={"enum": ["asyncio", "uvloop", "other"]},
    thread=TEXT,
    seconds=NUMBER,
    busy_seconds=NUMBER,
    utilization={"type": "number", "minimum": 0, "maximum": 1},
    iterations=COUNT,
    stalls=COUNT,
    stalled_ms=NUMBER,
    worst_ms=NUMBER,
    samples=COUNT,
    samples_torn=COUNT,
    samples_cut=COUNT,
    samples_outer=COUNT,
    samples_omitted=COUNT,
    stalls_unsampled=COUNT,
)
SCHEMA = members(
    schema={"const": "loopwatch-report/1"},
    run=members(
        path=TEXT,
        paths=items(TEXT),
        command=items(TEXT),
        started={"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"},
        seconds=NUMBER,
        threshold_ms=NUMBER,
        interval_ms=NUMBER,
    ),
    processes=items(
        members(
            pid=COUNT,
            parent_pid=COUNT,
            python=TEXT,
            command=items(TEXT),
            state={"enum": ["running", "ended"]},
            role=TEXT,
            notes=items(TEXT),
            loops=items(LOOP),
        )
    ),
    unwatched=items(members(pid=COUNT, executable=TEXT, command=items(TEXT), reason=TEXT)),
    totals=members(
        stalls=COUNT,
        stalled_ms=NUMBER,
        worst_ms=NUMBER,
        requests=COUNT,
        requests_delayed=COUNT,
        records_dropped=COUNT,
        stalls_allowed=COUNT,
        allowed_ms=NUMBER,
        stalls_startup=COUNT,
        startup_ms=NUMBER,
        requests_untracked=COUNT,
        causes_ms=CAUSES_MS,
    ),
    sites=items(
        members(
            **PLACE,
            source=TEXT,
            basis={"enum": ["own", "library", "loop", "unsampled", "unknown", "lost"]},
            blocking=members(**PLACE),
            allowed={"type": "boolean"},
            cause=CAUSE,
            causes_ms=CAUSES_MS,
            gil_held_ms=MAYBE,
            run_delay_ms=MAYBE,
            throttled_ms=MAYBE,
            shape={"enum": ["single", "pile-up"]},
            phase=PHASE,
            count={"type": "integer", "minimum": 1},
            total_ms=NUMBER,
            p50_ms=NUMBER,
            p99_ms=NUMBER,
            max_ms=NUMBER,
            endpoints=items(members(name=TEXT, count={"type": "integer", "minimum": 1}, total_ms=NUMBER)),
            requests_delayed=COUNT,
            gil_holder={"anyOf": [members(thread=TEXT, **PLACE), {"type": "null"}]},
            advice={**items(ADVICE), "maxItems": 1},
            stack=items(members(**PLACE, kind={"enum": ["app", "library", "stdlib", "loop"]})),
        )
    ),
    stalls=items(
        members(
            start=NUMBER,
            duration_ms=NUMBER,
            cpu_ms=MAYBE,
            run_delay_ms=MAYBE,
            throttled_ms=MAYBE,
            pid=COUNT,
            callbacks=COUNT,
            state={"enum": ["ended", "running", "gone", "cut"]},
            allowed={"type": "boolean"},
            cause=CAUSE,
            phase=PHASE,
            site=COUNT,
            endpoint=TEXT,
            request={"type": "string", "pattern": r"^(|[1-9]\d*)$"},
            requests_delayed=COUNT,
            samples=COUNT,
        )
    ),
    stalls_omitted=COUNT,
    files_left_out=items(TEXT),
)


VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def report(folder: Path, *, alive: bool = False, source: bool = True) -> dict[str, Any]:
    run = load(find_recordings([folder]), clock=lambda: START + 60, alive=lambda _: alive)
    out = io.StringIO()
    reporter("json").write(run, out, Options(source=source))
    found: dict[str, Any] = json.loads(out.getvalue())
    VALIDATOR.validate(found)
    return found


def test_a_whole_report(tmp_path: Path) -> None:
    builder = make_project(tmp_path, hung=True)
    found = report(tmp_path, alive=True)
    assert found["run"] == {
        "path": str(tmp_path / ".loopwatch/20261122T140000Z-4711"),
        "paths": [str(tmp_path / ".loopwatch/20261122T140000Z-4711")],
        "command": ["uvicorn", "app:app"],
        "started": "2026-11-22T14:00:00.000Z",
        "seconds": 60.0,
        "threshold_ms": 10.0,
        "interval_ms": 1.0,
    }
    (process,) = found["processes"]
    assert (process["pid"], process["state"], process["role"]) == (builder.pid, "running", "main")
    first = found["sites"][0]
    assert (first["file"], first["line"], first["function"]) == ("main.py", 6, "predict")
    assert first["expression"] == PREDICT
    assert first["source"] == f"    result = {PREDICT}"
    assert first["blocking"] == {
        "file": ".venv/lib/python3.12/site-packages/sk/tree.py",
        "line": 530,
        "function": "Tree.predict",
        "expression": "self.tree_.predict(X)",
    }
    assert [frame["kind"] for frame in first["stack"]] == ["loop"] * 5 + ["app", "library", "library"]
    assert found["stalls"][0]["state"] == "running"
    assert found["stalls"][0]["site"] == 0
    unsampled = next(site for site in found["sites"] if site["basis"] == "unsampled")
    assert (unsampled["file"], unsampled["line"], unsampled["stack"]) == ("", 0, [])


def test_sums_and_orders(tmp_path: Path) -> None:
    make_project(tmp_path)
    found = report(tmp_path)
    totals = found["totals"]
    counted = [site for site in found["sites"] if counts(site["allowed"], site["phase"])]
    assert totals["stalls"] == sum(site["count"] for site in counted) == 57
    assert totals["stalled_ms"] == pytest.approx(sum(site["total_ms"] for site in counted))
    assert totals["worst_ms"] == max(site["max_ms"] for site in counted)
    assert (totals["stalls_allowed"], totals["allowed_ms"]) == (1, 16.0)
    for key, name in [("sites", "total_ms"), ("stalls", "duration_ms")]:
        values = [each[name] for each in found[key]]
        assert values == sorted(values, reverse=True)
    for at, site in enumerate(found["sites"]):
        members_of = [stall for stall in found["stalls"] if stall["site"] == at]
        assert len(members_of) == site["count"]
        assert sum(stall["duration_ms"] for stall in members_of) == pytest.approx(site["total_ms"])


def test_requests(tmp_path: Path) -> None:
    make_service(tmp_path)
    found = report(tmp_path)
    sites = {(site["function"], site["phase"]): site for site in found["sites"]}
    predict, audit = sites["predict", "serving"], sites["audit", "serving"]
    assert predict["endpoints"] == [{"name": "GET /predict/{id}", "count": 3, "total_ms": 906.0}]
    assert predict["requests_delayed"] == 49
    assert [(each["name"], each["count"], each["total_ms"]) for each in audit["endpoints"]] == [
        ("POST /a", 2, 51.0),
        ("POST /c", 1, 26.0),
        ("POST /b", 1, 25.0),
    ]
    assert (audit["count"], audit["requests_delayed"]) == (5, 4)
    assert sites["lifespan", "startup"]["line"] == 6
    assert sites["lifespan", "shutdown"]["line"] == 8
    totals = found["totals"]
    assert (totals["stalls"], totals["stalls_startup"], totals["startup_ms"]) == (9, 1, 840.0)
    assert (totals["requests"], totals["requests_delayed"]) == (900, 53)
    assert found["processes"][0]["loops"][0]["stalls"] == 9
    first = next(stall for stall in found["stalls"] if stall["phase"] == "serving")
    assert (first["endpoint"], first["request"], first["requests_delayed"]) == ("GET /predict/{id}", "3", 0)
    assert {(stall["endpoint"], stall["request"]) for stall in found["stalls"] if stall["phase"] != "serving"} == {
        ("", "")
    }


def test_causes(tmp_path: Path) -> None:
    make_causes(tmp_path)
    found = report(tmp_path)
    predict, score, poll = found["sites"]
    assert predict["cause"] == "native"
    assert predict["causes_ms"] == {"native": pytest.approx(1560), "python": pytest.approx(40)}
    assert predict["gil_held_ms"] == pytest.approx(32)
    assert predict["gil_holder"] is None
    assert (predict["run_delay_ms"], predict["throttled_ms"]) == (0, None)
    (advice,) = predict["advice"]
    assert advice["slug"] == "compute"
    assert advice["change"] == {
        "file": "main.py",
        "line": 8,
        "function": "predict",
        "code": "result = await asyncio.to_thread(heavy_model.predict, features)",
    }
    assert score["shape"] == "single"
    assert (score["run_delay_ms"], score["throttled_ms"]) == (pytest.approx(17), pytest.approx(16))
    assert [each["slug"] for each in score["advice"]] == ["python"]
    assert poll["gil_holder"] == {
        "thread": "asyncio_0",
        "file": "main.py",
        "line": 17,
        "function": "dump",
        "expression": 'return "".join(str(row) for row in rows)',
    }
    assert [(each["slug"], each["change"]) for each in poll["advice"]] == [("gil", None)]
    for each in [*found["sites"], found["totals"]]:
        whole = each.get("total_ms", each.get("stalled_ms"))
        assert sum(each["causes_ms"].values()) == pytest.approx(whole)
    stalls = {stall["cause"]: stall for stall in found["stalls"]}
    assert stalls.keys() == {"native", "gil", "python", "starved"}
    assert stalls["native"]["cpu_ms"] == pytest.approx(395)
    assert stalls["starved"]["throttled_ms"] == pytest.approx(16)


def test_the_causes_of_a_stall_that_lasts_go_on(tmp_path: Path) -> None:
    builder = make_causes(tmp_path)
    builder.lines = [line for line in builder.lines if '"t": "end"' not in line]
    builder.stall(10_000, 100, t="open", causes={"blocked": 90 * MS, "python": 10 * MS}, cpu=20 * MS, cpu_wall=100 * MS)
    builder.write(tmp_path / ".loopwatch/20261122T140000Z-4711")
    running = report(tmp_path, alive=True)["stalls"][0]
    assert (running["state"], running["cause"]) == ("running", "blocked")
    assert running["cpu_ms"] == pytest.approx(running["duration_ms"] / 5)


def test_without_source(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert {site["expression"] + site["source"] for site in report(tmp_path, source=False)["sites"]} == {""}


@pytest.mark.once
@pytest.mark.parametrize("make", [partial(make_project, hung=True), make_service, make_causes])
def test_a_recording_cut_at_any_byte_is_a_report(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / "a")
    (whole,) = (tmp_path / "a/.loopwatch").glob("*/*.jsonl")
    lines = whole.read_bytes().splitlines(keepends=True)
    # Each kind of record once is enough: all of them would take minutes.
    records = {json.loads(line)["t"]: line for line in lines}
    data = b"".join([*lines[:4], *records.values()])
    cut = tmp_path / "b" / whole.name
    cut.parent.mkdir()
    for end in range(len(data) + 1):
        cut.write_bytes(data[:end])
        report(tmp_path / "b", source=False)


@pytest.mark.once
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.sampled_from([partial(make_project, hung=True), make_service, make_causes]))
def test_a_damaged_recording_is_a_report(
    tmp_path: Path, data: st.DataObject, make: Callable[[Path], RecordingBuilder]
) -> None:
    folder = tmp_path / getattr(make, "__name__", "project")
    if not folder.exists():
        make(folder)
    (whole,) = (folder / ".loopwatch").glob("*/*.jsonl")
    lines = whole.read_bytes().splitlines(keepends=True)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(lines) - 1))
        how = data.draw(st.sampled_from(["drop", "double", "swap", "cut", "flip"]))
        line = lines[at]
        if how == "drop":
            del lines[at]
        elif how == "double":
            lines.insert(data.draw(st.integers(0, len(lines))), line)
        elif how == "swap":
            lines[at], lines[0] = lines[0], lines[at]
        elif how == "cut":
            lines[at] = line[: data.draw(st.integers(0, len(line)))]
        elif line:
            spot = data.draw(st.integers(0, len(line) - 1))
            lines[at] = line[:spot] + data.draw(st.binary(min_size=1, max_size=2)) + line[spot + 1 :]
    damaged = tmp_path / "b" / whole.name
    damaged.parent.mkdir(exist_ok=True)
    damaged.write_bytes(b"".join(lines))
    found = report(tmp_path / "b", source=False)
    counted = [site for site in found["sites"] if counts(site["allowed"], site["phase"])]
    assert found["totals"]["stalls"] == sum(site["count"] for site in counted)
    assert found["totals"]["requests_delayed"] == sum(site["requests_delayed"] for site in counted)
