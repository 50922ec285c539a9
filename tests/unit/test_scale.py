"""Reading by several processes, the bounds of what is kept, and the bar that says how far it is."""

from __future__ import annotations

import io
import json
import math
import pickle
import sys
from collections.abc import Sized
from dataclasses import replace
from pathlib import Path

import pytest

from loopwatch.analysis import run as reading
from loopwatch.analysis.flame import Weights
from loopwatch.analysis.run import Run, load
from loopwatch.analysis.timeline import Timeline
from loopwatch.cli import progress
from loopwatch.model import Loop, Stall
from loopwatch.recording import Decoder, find_recordings
from loopwatch.report import Options, reporter
from loopwatch.stack import Frame, Stack
from tests.unit.project import make_project, make_service
from tests.unit.recordings import MS, RUNNER, SITE, UNIX, RecordingBuilder


def as_json(run: Run) -> str:
    out = io.StringIO()
    reporter("json").write(run, out, Options(source=False))
    return out.getvalue()


def make_workers(folder: Path) -> None:
    """Three processes with sites that they share, one of which hangs; beside them a file that is no recording."""
    for number in range(3):
        builder = RecordingBuilder(pid=100 + number, parent_pid=100 if number else 1)
        builder.loop()
        for at in range(60):
            stack = builder.stack(
                *RUNNER, ("/srv/app/main.py", f"view_{at % 7}", at % 7), ("/srv/app/x.py", "deep", at)
            )
            builder.stall(100 * at, 11 + at + number / 8, (stack, 10), requests=[[at + 1, 10]])
            builder.request(at + 1, f"GET /{at % 3}")
            builder.delayed(at % 4)
        if number == 2:
            builder.stall(7000, 500, (stack, 10), t="open")
        builder.summary(8000, stalls=61, stalled_ns=3000 * MS, longest_ns=71 * MS, busy_ns=3500 * MS)
        builder.write(folder)
    (folder / "notes.jsonl").write_text("no recording\n")


def test_several_processes_read_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_workers(tmp_path / "run")
    (recording,) = find_recordings([tmp_path / "run"])
    monkeypatch.setattr(reading, "PARALLEL", 0)
    now = UNIX / 1e9 + 100
    told: list[int] = []
    alone = load([recording], clock=lambda: now, alive=lambda _: False)
    beside = load([recording], jobs=2, progress=told.append)
    assert as_json(beside) == as_json(alone)
    assert sum(told) == sum(files.size for files in recording.processes)
    assert beside.timeline == alone.timeline
    assert [site.weights for site in beside.sites] == [site.weights for site in alone.sites]
    few = load([recording], jobs=2, most_stalls=5)
    assert few.stalls_omitted == alone.stalls_omitted + len(alone.stalls) - 5
    assert few.totals.stalls == alone.totals.stalls
    assert few.totals.stalled == pytest.approx(alone.totals.stalled)
    # What never ended comes before all that did, however long these were.
    assert [stall.state for stall in load([recording], jobs=2, most_stalls=1).stalls] == ["gone"]


def test_a_stack_can_be_sent_to_another_process() -> None:
    stack: Stack | None = None
    for depth in range(5000):  # deeper than Python recurses
        stack = Stack(Frame("/a.py", f"f{depth % 7}", depth), stack)
    assert pickle.loads(pickle.dumps(stack)) == stack


def test_the_weights_of_a_site_are_bounded_and_lose_nothing() -> None:
    weights = Weights()
    own = Stack(Frame("/a.py", "own", 1))
    stall = Stall(0, 0.02, samples=1)
    for number in range(10_000):
        inner = Stack(Frame("/b.py", f"f{number}", number, kind="library"), own)
        weights.add(replace(stall, stacks=((inner, 1),)))
    assert len(weights.seconds) <= 2000
    assert sum(weights.seconds.values()) == pytest.approx(200)
    assert max(weights.seconds, key=lambda stack: weights.seconds[stack]) == own


def test_the_timeline_is_bounded_and_loses_nothing() -> None:
    timeline, other = Timeline(), Timeline()
    for number in range(20_000):
        timeline.add(1e9 + number * 7.3, 0.02 + number / 1e6)
    for number in range(50):
        other.add(1e9 - 500 + number / 10, 0.5)
    timeline.absorb(other)
    assert len(timeline.spans) <= 1024
    assert sum(count for count, _, _ in timeline.spans.values()) == 20_050
    assert max(longest for _, _, longest in timeline.spans.values()) == 0.5
    first = min(timeline.spans)
    assert first * timeline.width <= 1e9 - 500 < (first + 1) * timeline.width


def test_a_process_may_have_any_number_of_loops() -> None:
    """Those that are over are given away with their figures, and nothing is kept of them."""
    builder, decoder = RecordingBuilder(), Decoder()

    def feed() -> list[Stall]:
        data = builder.data
        builder.lines.clear()
        return decoder.feed(data)

    def sum_up(loop: int, running: bool) -> None:
        builder.summary(30 * loop + 20, loop, running=running, iterations=2, busy_ns=20 * MS, watched_ns=20 * MS)

    feed()
    stalls, over = list[Stall](), list[Loop]()
    for number in range(1, 10_001):
        builder.loop(number, at=30 * number)
        builder.phase("serving", 30 * number, loop=number)
        builder.stall(30 * number, 19, loop=number, requests=[[1, 10]], samples=10)
        builder.delayed(3, loop=number)
        builder.request(1, "GET /a")
        sum_up(number, running=False)
        stalls += feed()
        if decoder.crowded:
            for kept in range(number - 31, number + 1):
                sum_up(kept, running=False)
            over += decoder.forget_loops(builder.data)
            builder.lines.clear()
    assert [stall.loop for stall in stalls] == [*range(1, 10_001)]
    assert {(stall.phase, stall.requests_delayed, stall.endpoint) for stall in stalls} == {("serving", 3, "GET /a")}
    loops = [*over, *decoder.process.loops]
    assert [loop.id for loop in loops] == [*range(1, 10_001)]
    assert {(loop.iterations, loop.busy, loop.seconds) for loop in loops} == {(2, 0.020, 0.020)}
    for part in (decoder, decoder._loops, decoder._aftermath):
        for name, value in vars(part).items():
            assert not isinstance(value, Sized) or len(value) < 100, name


def test_loops_that_may_go_on_are_not_forgotten() -> None:
    builder, decoder = RecordingBuilder(), Decoder()
    for number in range(1, 6):
        builder.loop(number)
        builder.summary(10, number, running=False)
    builder.stall(20, 50, loop=1, t="open")
    builder.stall(20, 50, loop=2, requests=[[1, 10]], samples=10)
    decoder.feed(builder.data)
    assert decoder.due < math.inf
    builder.lines.clear()
    builder.summary(10, 4)
    assert decoder.forget_loops(b"") == ()
    assert [loop.id for loop in decoder.forget_loops(builder.data)] == [3]  # 5 began after these were asked for
    assert [loop.id for loop in decoder.process.loops] == [1, 2, 4, 5]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("seconds", "shown"), [(0.5, False), (1.5, True)])
def test_the_bar_comes_after_a_second(seconds: float, shown: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    times = iter([0.0, *[seconds] * 9])
    with progress.reading(1000, clock=lambda: next(times)) as advance:
        advance(400)
        advance(400)
    assert ("reading the recording" in terminal.getvalue()) is shown


def test_the_bar_is_for_terminals_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    times = iter([0.0, 5.0, 9.0])
    with progress.reading(1000, clock=lambda: next(times)) as advance:
        advance(400)
    assert stream.getvalue() == ""


@pytest.mark.once
def test_a_large_recording_makes_a_page_that_is_not(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    for number in range(6000):
        place = (f"/srv/app/module_{number % 300}.py", f"function_{number % 300}", 5)
        inner = (f"{SITE}/lib/inner_{number}.py", "é" * 500, number)
        stack = builder.stack(*RUNNER, *[place] * ((number % 300 == 0 and 400) or 1), inner)
        builder.stall(50 * number, 12 + number % 17 if number % 300 else 40, (stack, 10), requests=[[number, 10]])
        builder.request(number, f"GET /{number % 900}")
    builder.write(tmp_path)
    run = load(find_recordings([tmp_path]))
    out = io.StringIO()
    reporter("html").write(run, out, Options())
    assert len(out.getvalue()) < 3_000_000
    data = out.getvalue().split('<script type="application/json" id="data">')[1].split("</script>")[0]
    page = json.loads(data)
    assert sum(weight for _, _, weight, _ in page["weights"]) == pytest.approx(run.totals.stalled * 1e3, rel=1e-6)
    assert page["other_sites"]["sites"] + len(page["sites"]) == len(run.sites)
    shown = sum(site["total_ms"] for site in page["sites"] if site["counted"])
    assert shown + page["other_sites"]["total_ms"] == pytest.approx(page["totals"]["stalled_ms"])
    assert sum(count for _, count, _, _ in page["timeline"]["spans"]) == 6000
    assert len(page["stalls"]["rows"]) + page["stalls_omitted"] == 6000
    said = " ".join(page["left_out"])
    for what in ("merged into one row", "as spans of", "frames further in", "lack the middle"):
        assert what in said


def test_what_is_read_of_a_service_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_project(tmp_path / "a")
    make_service(tmp_path / "b")
    monkeypatch.setattr(reading, "PARALLEL", 0)
    recordings = find_recordings([tmp_path / "a", tmp_path / "b"])
    assert as_json(load(recordings, jobs=2)) == as_json(load(recordings))
