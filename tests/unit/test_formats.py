"""What holds in every format: the same numbers, the same filters, and what is said of a damaged recording."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loopwatch.analysis.run import Run, load
from loopwatch.analysis.selection import Selection
from loopwatch.errors import RecordingError
from loopwatch.recording import find_recordings
from loopwatch.report import FORMATS, Options, reporter
from loopwatch.report.words import duration
from tests.unit.profile_proto import Profile
from tests.unit.project import make_project, make_service
from tests.unit.recordings import RUNNER, RecordingBuilder

SELECTIONS = {
    "all": Selection(),
    "min": Selection(least=0.022),
    "endpoint": Selection(endpoint="GET *"),
    "since": Selection(since=1_795_356_003.0),
    "none": Selection(least=99),
    "cause": Selection(cause="gil"),
}


def render(name: str, run: Run, **options: Any) -> bytes:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", newline="")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "100")
        reporter(name).write(run, out, Options(**options))
    out.flush()
    return raw.getvalue()


def page(run: Run, **options: Any) -> Any:
    text = render("html", run, **options).decode()
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert match
    return json.loads(match[1])


def seconds_of(run: Run) -> dict[str, float]:
    """The stalled time that each format adds up to."""
    found = json.loads(render("json", run))
    shown = page(run)
    profile = Profile.FromString(gzip.decompress(render("pprof", run)))
    strings = list(profile.string_table)
    counted = [each.value[0] for each in profile.sample if strings[each.label[0].str] == "stalls"]
    collapsed = render("collapsed", run).decode().splitlines()
    return {
        "json": found["totals"]["stalled_ms"] / 1e3,
        "json sites": sum(site["total_ms"] for site in found["sites"] if is_counted(site)) / 1e3,
        "json stalls": sum(stall["duration_ms"] for stall in found["stalls"] if is_counted(stall)) / 1e3,
        "html": shown["totals"]["stalled_ms"] / 1e3,
        "html sites": sum(site["total_ms"] for site in shown["sites"] if site["counted"]) / 1e3,
        "html graph": sum(ms for _, _, ms, _ in shown["weights"]) / 1e3,
        "speedscope": sum(json.loads(render("speedscope", run))["profiles"][0]["weights"]) / 1e3,
        "collapsed": sum(int(line.rpartition(" ")[2]) for line in collapsed) / 1e6,
        "pprof": sum(counted) / 1e9,
    }


def is_counted(each: dict[str, Any]) -> bool:
    return not each["allowed"] and each["phase"] != "startup"


@pytest.mark.parametrize("make", [make_project, make_service], ids=["project", "service"])
@pytest.mark.parametrize("selection", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_every_number_is_the_same(make: Callable[[Path], object], selection: Selection, tmp_path: Path) -> None:
    make(tmp_path)
    run = load(find_recordings([tmp_path]), selection)
    totals = run.totals
    for name, seconds in seconds_of(run).items():
        assert seconds == pytest.approx(totals.stalled, abs=2e-5), name
    found, shown = json.loads(render("json", run)), page(run)
    assert shown["totals"] == found["totals"]
    assert shown["run"] == found["run"]
    assert shown["processes"] == found["processes"]
    for mine, theirs in zip(shown["sites"], found["sites"], strict=True):
        same = theirs.keys() - {"stack"}
        assert {key: mine[key] for key in same} == {key: theirs[key] for key in same}
        frames = []
        at = mine["stack"] if mine["stack"] is not None else -1
        while at >= 0:
            at, frame = shown["stacks"][at]
            frames.append(tuple(shown["frames"][frame][2:]))
        assert frames[::-1] == [(each["line"], each["kind"], each["expression"]) for each in theirs["stack"]]
    columns = shown["stalls"]["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in shown["stalls"]["rows"]]
    assert rows == [{key: stall[key] for key in columns} for stall in found["stalls"]]
    texts = [render(name, run).decode() for name in ("text", "markdown")]
    for text in texts:
        if totals.stalls:
            assert f"blocked for {duration(totals.stalled)} (" in text
            assert f"in {totals.stalls} stall" in text
        for site in run.sites:
            if site.counted:
                assert duration(site.total) in text
                assert duration(site.longest) in text


def test_all_frames_and_no_source_hold_everywhere(tmp_path: Path) -> None:
    make_project(tmp_path)
    run = load(find_recordings([tmp_path]))
    with_stacks = {name for name in FORMATS if name != "pprof"}
    for name in with_stacks:
        bare = render(name, run, source=False).decode()
        assert "heavy_model" not in bare, name
        assert "self.tree_" not in bare, name
        assert "Handle._run" in render(name, run, all_frames=True).decode(), name
    for name in with_stacks - {"speedscope", "collapsed"}:
        assert "heavy_model.predict" in render(name, run).decode(), name
    # json has every frame anyway, and the page shows them when it is told to.
    for name in with_stacks - {"json", "html"}:
        assert "Handle._run" not in render(name, run).decode(), name
    assert (page(run)["all_frames"], page(run, all_frames=True)["all_frames"]) == (False, True)
    for all_frames in (False, True):
        profile = Profile.FromString(gzip.decompress(render("pprof", run, all_frames=all_frames)))
        assert ("Handle._run" in profile.string_table) is all_frames


def damaged(folder: Path) -> dict[str, tuple[Path, str]]:
    """Recordings that are not as they should be: where, and what is said of them."""
    builder = RecordingBuilder()
    builder.loop()
    stack = builder.stack(*RUNNER, ("/srv/app/main.py", "view", 3))
    for number in range(5):
        builder.stall(100 * number, 30, (stack, 20))
    whole = builder.data
    (folder / "cut").mkdir()
    (folder / "cut/4711-1795356000000.jsonl").write_bytes(whole + b'{"t": "stall", "loop": 1, "itera')
    (folder / "torn").mkdir()
    (folder / "torn/4711-1795356000000.jsonl").write_bytes(whole + b"\x00\xff{{{\n" + whole.split(b"\n")[-2] + b"\n")
    newer = RecordingBuilder(schema="loopwatch-recording/9")
    newer.loop()
    newer.stall(0, 30, (newer.stack(*RUNNER, ("/srv/app/main.py", "view", 3)), 20))
    newer.record("hologram", of="the future")
    newer.write(folder / "newer")
    builder.write(folder / "foreign")
    (folder / "foreign/notes.jsonl").write_text('{"t": "shopping", "milk": 2}\n')
    return {
        "cut": (folder / "cut", ""),  # half a last line is how a killed process's file ends
        "torn": (folder / "torn", "1 line of its recording made no sense"),
        "newer": (folder / "newer", "it was recorded by a newer loopwatch"),
        "foreign": (folder / "foreign", "notes.jsonl"),
    }


@pytest.mark.parametrize("which", ["cut", "torn", "newer", "foreign"])
def test_of_a_damaged_recording_the_readable_part_is_shown(which: str, tmp_path: Path) -> None:
    path, said = damaged(tmp_path)[which]
    run = load(find_recordings([path]))
    assert run.totals.stalls >= 1
    for name, seconds in seconds_of(run).items():
        assert seconds == pytest.approx(run.totals.stalled, abs=1e-4), name
    for name in ("text", "json", "html", "markdown"):
        text = re.sub(r"\\(.)", r"\1", " ".join(render(name, run).decode().split()))
        assert said in text, name
    text = render("text", run).decode()
    assert sum(line.startswith(("Note on", "Left out")) for line in text.splitlines()) == bool(said)


def test_what_is_no_recording_ends_in_one_line(tmp_path: Path) -> None:
    for name, content in (("empty.jsonl", b""), ("foreign.jsonl", b'{"a": 1}\n'), ("binary.jsonl", os.urandom(4096))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(RecordingError) as error:
            load(find_recordings([tmp_path / name]))
        assert "\n" not in str(error.value)
        assert name in error.value.message
        assert error.value.hint
