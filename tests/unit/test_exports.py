"""The exports, each held against its consumer's own definition, and all against the totals."""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from loopwatch.analysis.run import Run, load
from loopwatch.analysis.selection import Selection
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter
from tests.unit.profile_proto import Profile
from tests.unit.project import make_project, make_service
from tests.unit.recordings import RUNNER, STDLIB, RecordingBuilder

# speedscope's published schema, of its npm package 1.25.0; MIT, see the file beside it.
SCHEMA = json.loads((Path(__file__).parent / "data/speedscope-schema.json").read_text())
# flamegraph.pl: `my ($stack, $samples) = (/^(.*)\s+?(\d+(?:\.\d*)?)$/);`
COLLAPSED = re.compile(r"(.*)\s+?(\d+(?:\.\d*)?)")


def make_odd(folder: Path) -> None:
    """Stacks of names that mean something to one format or another."""
    builder = RecordingBuilder(cwd=str(folder))
    builder.loop()
    names = ("a;b 12", "<b>x</b>", "c|d`e``", "é\n\x1b[31m", "@team # *x*", "\ud800", "")
    for number, name in enumerate(names):
        stack = builder.stack(*RUNNER, (f"{folder}/app/{name}.py", name, number), (f"{STDLIB}/x;y.py", "<lambda>", 0))
        builder.stall(100 * number, 20 + number, (stack, 10))
    builder.stall(1000, 15)
    builder.summary(2000, stalls=10, stalled_ns=300_000_000, longest_ns=90_000_000)
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")


MAKERS: list[Callable[[Path], Any]] = [make_project, make_service, make_odd]


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    request.param(tmp_path)
    return load(find_recordings([tmp_path]))


def export(name: str, run: Run, **options: Any) -> bytes:
    raw = io.BytesIO()
    out = io.TextIOWrapper(raw, encoding="utf-8", errors="strict", newline="")
    reporter(name).write(run, out, Options(**options))
    out.flush()
    return raw.getvalue()


def collapsed(run: Run, **options: Any) -> list[tuple[str, int]]:
    text = export("collapsed", run, **options).decode()
    assert text.endswith("\n")
    matches = [COLLAPSED.fullmatch(line) for line in text.split("\n")[:-1]]
    return [(match[1], int(match[2])) for match in matches if match] if all(matches) else []


def profile(run: Run, **options: Any) -> Any:
    return Profile.FromString(gzip.decompress(export("pprof", run, **options)))


def test_collapsed_adds_up(run: Run) -> None:
    lines = collapsed(run)
    assert sum(weight for _, weight in lines) == round(run.totals.stalled * 1e6)
    assert len({stack for stack, _ in lines}) == len(lines)
    assert lines


def test_speedscope_is_as_its_schema_says_and_adds_up(run: Run) -> None:
    document = json.loads(export("speedscope", run))
    jsonschema.validate(document, SCHEMA)
    names = [each["name"] for each in document["profiles"]]
    sums = [sum(each["weights"]) for each in document["profiles"]]
    for each, total in zip(document["profiles"], sums, strict=True):
        assert len(each["samples"]) == len(each["weights"])
        assert each["endValue"] == pytest.approx(total, abs=1e-6)
        assert all(0 <= at < len(document["shared"]["frames"]) for sample in each["samples"] for at in sample)
    expected = [("stalls", run.totals.stalled)]
    expected += [("start-up, not in the totals", run.totals.startup_seconds)] if run.totals.startup else []
    expected += [("allowed, not in the totals", run.totals.allowed_seconds)] if run.totals.allowed else []
    assert names == [name for name, _ in expected]
    assert sums == pytest.approx([seconds * 1e3 for _, seconds in expected], abs=1e-5)


def test_pprof_is_as_the_proto_says_and_adds_up(run: Run) -> None:
    found = profile(run)
    strings = list(found.string_table)
    assert strings[0] == ""  # the first one has to be
    assert [(strings[each.type], strings[each.unit]) for each in found.sample_type] == [("stalled", "nanoseconds")]
    assert found.time_nanos == pytest.approx(run.started * 1e9, abs=1e3)
    locations = {each.id: each for each in found.location}
    functions = {each.id: each for each in found.function}
    assert len(locations) == len(found.location)
    assert 0 not in locations
    total = 0
    for sample in found.sample:
        assert [strings[label.key] for label in sample.label] == ["group"]
        assert all(locations[at].line[0].function_id in functions for at in sample.location_id)
        assert len(sample.value) == 1
        total += sample.value[0] if strings[sample.label[0].str] == "stalls" else 0
    assert total == round(run.totals.stalled * 1e9)
    # Nothing is in it that the proto does not know, and nothing is lost by reading it.
    assert Profile.FromString(found.SerializeToString()) == found


def test_pprof_of_a_clock_that_stood_before_1970(tmp_path: Path) -> None:
    builder = RecordingBuilder(unix_ns=-5_000_000_000)
    builder.loop()
    builder.stall(0, 20)
    (tmp_path / "unnamed.jsonl").write_bytes(builder.data)
    assert profile(load(find_recordings([tmp_path]))).time_nanos == -5_000_000_000


def test_stacks_are_the_same_in_all(run: Run) -> None:
    for options in ({}, {"all_frames": True}):
        document = json.loads(export("speedscope", run, **options))
        names = [frame["name"] for frame in document["shared"]["frames"]]
        scope = [[names[at] for at in sample] for sample in document["profiles"][0]["samples"]]
        found = profile(run, **options)
        strings, where = list(found.string_table), {each.id: each.line[0].function_id for each in found.location}
        called = {each.id: strings[each.name] for each in found.function}
        counted = [each for each in found.sample if strings[each.label[0].str] == "stalls"]
        assert [[called[where[at]] for at in reversed(each.location_id)] for each in counted] == scope
        lines = [[part.split(" (")[0] for part in stack.split(";")] for stack, _ in collapsed(run, **options)]
        assert lines == [[name.replace(";", ":").split(" (")[0] for name in stack] for stack in scope]


def test_frames_are_folded_unless_all_are_asked_for(tmp_path: Path) -> None:
    make_project(tmp_path)
    run = load(find_recordings([tmp_path]))
    stack = max(collapsed(run), key=lambda line: line[1])[0]
    assert stack == "predict (main.py:6);predict (sk/base.py:3);Tree.predict (sk/tree.py:530)"
    whole = max(collapsed(run, all_frames=True), key=lambda line: line[1])[0]
    assert whole.endswith(stack)
    assert "Handle._run (asyncio/events.py:88)" in whole


def test_a_selection_holds_in_every_export(tmp_path: Path) -> None:
    make_project(tmp_path)
    run = load(find_recordings([tmp_path]), Selection(least=0.045))
    assert run.totals.stalls == 20
    for total in (
        sum(weight for _, weight in collapsed(run)) / 1e6,
        sum(json.loads(export("speedscope", run))["profiles"][0]["weights"]) / 1e3,
        sum(sample.value[0] for sample in profile(run).sample) / 1e9,
    ):
        assert total == pytest.approx(run.totals.stalled)


def test_markdown_has_the_figures_and_the_lines(tmp_path: Path) -> None:
    make_project(tmp_path)
    text = export("markdown", load(find_recordings([tmp_path]))).decode()
    assert text.startswith(
        "### loopwatch: the event loop was blocked for 2.23 s (22 %) in 57 stalls, the longest 48 ms\n"
    )
    assert "| 1 | `main.py:6 predict` | 1.98 s (20 %) | 45 | 44 ms | 48 ms |" in text
    assert "▶    6 │     result = heavy_model.predict(features" in text
    assert "Allowed (not counted above): 16 ms in 1 stall." in text
    assert "▶" not in export("markdown", load(find_recordings([tmp_path])), source=False).decode()


def test_markdown_keeps_texts_texts(tmp_path: Path) -> None:
    make_odd(tmp_path)
    text = export("markdown", load(find_recordings([tmp_path]))).decode()
    assert "\x1b" not in text
    assert r"``` app/c\|d`e``.py:2 c\|d`e`` ```" in text  # a fence longer than those within
    rows = [line for line in text.split("\n") if re.match(r"\| \d", line)]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 9 for row in rows)
    outside = re.sub(r"`+[^`].*?`+|<details><summary><code>|</code></summary>|</details>", "", text)
    assert "<b>" not in re.sub(r"(?s)```.*?```", "", outside)


def test_markdown_says_what_the_text_report_says(tmp_path: Path) -> None:
    builder = make_project(tmp_path, hung=True)
    (folder,) = (tmp_path / ".loopwatch").iterdir()
    odd = {"pid": 9, "executable": "/old/python", "command": ["tool", "<b>"], "reason": "Python 3.9 is *too* old"}
    (folder / "9-1.unwatched").write_text(json.dumps(odd))
    (folder / "notes.jsonl").write_text('{"a": 1}\n')
    builder.summary(10_900, stalls=70, stalled_ns=9_000_000_000)
    builder.write(folder)
    for alive, label in ((True, "STILL RUNNING"), (False, "NEVER ENDED")):
        run = load(find_recordings([tmp_path]), alive=[lambda _: False, lambda _: True][alive])
        text = export("markdown", run).decode()
        head, _, rest = text.partition("\n| #")
        assert f"\n**{label}** pid 4711 " in head
        assert (" so far" in head) is alive
        assert ', in main.py:6 predict: heavy\\_model.predict(features, tag="日本")' in head
        assert r"> Not watched: pid 9 (tool \<b\>): Python 3.9 is \*too\* old" in rest
        assert "notes.jsonl is not a loopwatch recording" in rest
        assert "only the time is known, not the line" in rest
    chosen = load(find_recordings([tmp_path]), Selection(least=0.045, endpoint="GET /*"))
    lines = export("markdown", chosen).decode().splitlines()
    assert lines[0].startswith("### loopwatch: the event loop was blocked for 0 s")
    assert lines[2] == r"Only stalls of at least 45 ms caused by GET /\* are counted."
    assert any("without a record, at times unknown" in line for line in lines)
