"""A whole run: what counts, and what adds up."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from loopwatch.analysis.liveness import is_running
from loopwatch.analysis.run import Run, load
from loopwatch.analysis.selection import Selection
from loopwatch.errors import RecordingError
from loopwatch.model import Process
from loopwatch.recording import find_recordings
from tests.unit.recordings import CWD, MS, RUNNER, SECOND, UNIX, RecordingBuilder

START = UNIX / SECOND
HANDLER = (f"{CWD}/main.py", "handler", 42)


def read(folder: Path, selection: Selection | None = None, *, alive: bool = False, **more: Any) -> Run:
    return load(find_recordings([folder]), selection, clock=lambda: START + 60, alive=lambda _: alive, **more)


def watched(pid: int = 4711, **header: object) -> RecordingBuilder:
    builder = RecordingBuilder(pid, **header)
    builder.loop()
    return builder


def test_totals_are_the_sums_of_sites_loops_and_stalls(tmp_path: Path) -> None:
    for pid in (1, 2, 3):
        builder = watched(pid)
        stack = builder.stack(*RUNNER, HANDLER)
        for number in range(20):
            builder.stall(number * 100, 10 + number, (stack, 5 + number))
        builder.stall(5000, 30)
        builder.stall(6000, 40, (stack, 9), allowed=True)
        builder.summary(10_000, stalls=25, stalled_ns=800 * MS, longest_ns=90 * MS)
        builder.write(tmp_path)
    run = read(tmp_path)
    counted = [site for site in run.sites if not site.allowed]
    loops = [loop for each in run.processes for loop in each.loops]
    assert run.totals.stalls == sum(site.count for site in counted) == sum(loop.stalls for loop in loops) == 3 * 24
    for total in (run.totals.stalled, sum(site.total for site in counted), sum(loop.stalled for loop in loops)):
        assert total == pytest.approx(3 * (0.800 - 0.040))
    assert run.totals.worst == pytest.approx(0.090)
    assert run.totals.allowed == 3
    assert run.totals.allowed_seconds == pytest.approx(0.120)
    assert run.totals.lost == run.stalls_omitted == 9
    assert len(run.stalls) == 3 * 22
    assert [stall.duration for stall in run.stalls] == sorted((stall.duration for stall in run.stalls), reverse=True)
    for stall in run.stalls:
        assert run.sites[stall.site].allowed == stall.allowed
        assert (run.sites[stall.site].basis == "unsampled") == (not stall.samples)


def test_a_lost_site_has_no_stall_longer_than_all_of_its_time(tmp_path: Path) -> None:
    """The longest of the loop is recorded in part, and another one not at all."""
    builder = watched()
    builder.stall(0, 100, t="open")
    builder.stall(1000, 20)
    builder.summary(2000, stalls=3, stalled_ns=530 * MS, longest_ns=500 * MS)
    builder.write(tmp_path)
    run = read(tmp_path)
    (lost,) = (site for site in run.sites if site.basis == "lost")
    assert lost.longest == lost.total == pytest.approx(0.410)
    assert run.totals.worst == pytest.approx(0.500)


@pytest.mark.parametrize("others", [0, 2])
def test_a_stall_that_is_cut_hides_nothing(tmp_path: Path, others: int) -> None:
    """The record of its end is lost, but the loop's counters have it: how long it was counts, and as one stall."""
    builder = watched()
    builder.stall(0, 10, t="open")
    builder.stall(1000, 20)
    builder.summary(2000, stalls=2 + others, stalled_ns=(320 + 50 * others) * MS, longest_ns=300 * MS)
    builder.write(tmp_path)
    run = read(tmp_path)
    (loop,) = run.processes[0].loops
    assert [stall.state for stall in run.stalls] == ["ended", "cut"]
    assert run.totals.stalls == loop.stalls == sum(site.count for site in run.sites) == 2 + others
    for total in (run.totals.stalled, loop.stalled, sum(site.total for site in run.sites)):
        assert total == pytest.approx(0.320 + 0.050 * others)
    assert run.totals.worst == run.totals.worst_serving == loop.worst == pytest.approx(0.300)
    assert run.totals.lost == others
    selected = read(tmp_path, Selection(least=0.001))
    assert (selected.totals.stalls, selected.totals.unplaced) == (2, others)


def test_a_stall_that_is_cut_where_nothing_is_missing(tmp_path: Path) -> None:
    builder = watched()
    builder.stall(0, 10, t="open")
    builder.stall(1000, 20)
    builder.summary(2000, stalls=2, stalled_ns=30 * MS + 100, longest_ns=20 * MS)
    builder.write(tmp_path)
    assert {site.basis for site in read(tmp_path).sites} == {"unsampled"}


def test_only_the_longest_stalls_are_kept_and_the_others_counted(tmp_path: Path) -> None:
    builder = watched()
    for number in range(50):
        builder.stall(number * 100, 10 + number % 25)
    builder.write(tmp_path)
    run = read(tmp_path, most_stalls=10)
    assert (len(run.stalls), run.stalls_omitted, run.totals.stalls) == (10, 40, 50)
    assert min(stall.duration for stall in run.stalls) == pytest.approx(0.030)
    assert sum(site.count for site in run.sites) == 50


def test_selection(tmp_path: Path) -> None:
    builder = watched()
    for start, length in [(0, 20), (1000, 60), (2000, 30)]:
        builder.stall(start, length)
    builder.summary(3000, stalls=9, stalled_ns=SECOND)
    builder.write(tmp_path)

    def lengths(selection: Selection) -> list[int]:
        run = read(tmp_path, selection)
        assert (run.totals.lost, run.totals.unplaced) == (0, 6)  # nobody knows when these were
        assert run.stalls_omitted == 6
        return [round(stall.duration * 1e3) for stall in run.stalls]

    assert lengths(Selection(least=0.030)) == [60, 30]
    assert lengths(Selection(since=START + 1.050)) == [60, 30]  # it lasted still
    assert lengths(Selection(since=START + 1.070)) == [30]
    assert lengths(Selection(until=START + 1.5)) == [60, 20]
    assert lengths(Selection(since=START + 5)) == []
    assert Selection().everything
    assert not Selection(least=0.01).everything


def test_a_running_stall_lasts_until_now_and_one_that_never_ended_until_its_last_record(tmp_path: Path) -> None:
    builder = watched()
    builder.summary(1000)
    builder.stall(2000, 500, t="open")
    builder.write(tmp_path)
    gone, running = read(tmp_path), read(tmp_path, alive=True)
    assert gone.stalls[0].state == "gone"
    assert gone.stalls[0].duration == pytest.approx(0.5)
    assert gone.seconds == pytest.approx(2.5)
    assert running.stalls[0].state == "running"
    assert running.stalls[0].duration == pytest.approx(58)
    assert running.seconds == pytest.approx(60)
    (loop,) = running.processes[0].loops
    assert loop.seconds == pytest.approx(60)
    assert loop.busy == pytest.approx(58.1)
    assert running.sites[0].running == 1
    assert gone.totals.stalls == running.totals.stalls == 1


def test_a_loop_that_was_killed_was_watched_until_the_newest_record_of_its_process(tmp_path: Path) -> None:
    """Nothing more is known of it; and what it did after its last summary is counted."""
    builder = watched()
    builder.loop(2)
    builder.loop(3)
    builder.stall(10, 20, requests=[[1, 5]])
    builder.summary(30, busy_ns=20 * MS, iterations=1, stalls=1, stalled_ns=20 * MS)
    builder.summary(40, loop=3, running=False)
    for number in range(5):
        builder.stall(60 + 50 * number, 20, requests=[[2 + number, 9], [1, 1]])
    builder.summary(500, loop=2)
    builder.write(tmp_path)
    run = read(tmp_path)
    quiet, other, stopped = run.processes[0].loops
    assert [loop.seconds for loop in (quiet, other, stopped)] == pytest.approx([0.5, 0.5, 0.04])
    assert [loop.busy for loop in (quiet, other, stopped)] == pytest.approx([0.12, 0.05, 0.004])
    assert (quiet.stalls, quiet.requests, run.totals.requests) == (6, 6, 6)
    assert run.seconds == pytest.approx(0.5)


def test_a_loop_that_never_was_summed_up(tmp_path: Path) -> None:
    builder = watched()
    builder.stall(100, 50)
    builder.stall(200, 50, t="open")
    builder.record("gone", at=builder.at(5000))  # it was stuck, not idle
    builder.write(tmp_path)
    (loop,) = read(tmp_path).processes[0].loops
    assert (loop.seconds, loop.busy) == pytest.approx((0.25, 0.1), abs=1e-6)


def test_a_loop_that_went_on_after_it_was_stopped(tmp_path: Path) -> None:
    """When it began again is not known: only its stalls are."""
    builder = watched()
    builder.summary(1000, running=False)
    builder.stall(5000, 500)
    builder.write(tmp_path)
    (loop,) = read(tmp_path).processes[0].loops
    assert (loop.seconds, loop.busy) == pytest.approx((1.5, 0.6))


def test_a_loop_that_is_quiet_was_watched_until_now_or_the_end(tmp_path: Path) -> None:
    builder = watched()
    builder.stall(100, 100)
    builder.summary(1000, stalls=1, stalled_ns=100 * MS)
    builder.write(tmp_path)
    (loop,) = read(tmp_path, alive=True).processes[0].loops
    assert 58 < loop.seconds < 60  # what it has done just now may not be written yet
    assert loop.busy == pytest.approx(0.1)
    for last, at in [("gone", 20_000), ("end", 30_000)]:
        builder.record(last, at=builder.at(at))
        builder.write(tmp_path)
        (loop,) = read(tmp_path).processes[0].loops
        assert (loop.seconds, loop.busy) == pytest.approx((at / 1000, 0.1))


def test_a_run_is_as_long_as_its_loops(tmp_path: Path) -> None:
    """The file is made a moment after the loop began."""
    builder = RecordingBuilder()
    builder.loop(at=-40)
    builder.stall(-40, 100)
    builder.summary(60, watched_ns=100 * MS, busy_ns=100 * MS, stalls=1, stalled_ns=100 * MS)
    builder.write(tmp_path)
    run = read(tmp_path)
    assert run.seconds == run.totals.stalled == pytest.approx(0.1)


def test_the_first_process_is_the_one_that_no_other_has_started(tmp_path: Path) -> None:
    watched(30, parent_pid=20, unix_ns=UNIX + SECOND, command=["child"]).write(tmp_path)
    watched(20, parent_pid=1, command=["uvicorn", "--workers", "1"]).write(tmp_path)
    run = read(tmp_path)
    assert run.command == ("uvicorn", "--workers", "1")
    assert [(each.process.pid, each.role) for each in run.processes] == [(20, "main"), (30, "child")]


def test_nothing_that_can_be_read(tmp_path: Path) -> None:
    def failure(name: str, data: bytes) -> str:
        file = tmp_path / name
        file.write_bytes(data)
        with pytest.raises(RecordingError) as caught:
            load(find_recordings([file]))
        return str(caught.value)

    assert "a.jsonl is empty; name the folder" in failure("a.jsonl", b"")
    assert "b.jsonl is not a loopwatch recording" in failure("b.jsonl", b'{"level": "info"}\n{"t": "header"}\n')
    assert "c.jsonl is not a loopwatch recording" in failure("c.jsonl", b"\x00\xff" * 99)


def test_a_recording_that_has_only_just_begun(tmp_path: Path) -> None:
    (tmp_path / f"4711-{UNIX // MS}.jsonl").write_bytes(b'{"t": "hea')
    run = read(tmp_path)
    (each,) = run.processes
    assert (each.process.pid, each.process.damage.headless, each.loops) == (4711, True, ())
    assert run.totals.stalls == 0


def test_a_foreign_file_beside_a_recording_is_left_out_and_named(tmp_path: Path) -> None:
    watched().write(tmp_path)
    foreign = tmp_path / "log.jsonl"
    foreign.write_text('{"level": "info"}\n')
    assert read(tmp_path).skipped == (foreign,)


def test_a_file_that_cannot_be_read_is_an_error_by_itself_and_named_beside_others(tmp_path: Path) -> None:
    (tmp_path / f"7-{UNIX // MS}.jsonl").mkdir()  # as good as one without permission, and root cannot read it either
    with pytest.raises(RecordingError, match=r"cannot be read \(7-\d+.jsonl: Is a directory\)"):
        read(tmp_path)
    watched().write(tmp_path)
    run = read(tmp_path)
    assert [each.process.pid for each in run.processes] == [4711]
    assert run.unreadable == (f"7-{UNIX // MS}.jsonl: Is a directory",)


def test_is_running() -> None:
    now = time.time()
    me = Process(os.getpid(), started=now, executable=sys.executable, command=("x", "no", "such", "command"))
    assert is_running(me)
    assert not is_running(Process(os.getpid(), started=now, executable=sys.executable, ended=True))
    assert not is_running(Process(os.getpid(), started=1000.0, executable=sys.executable))  # the pid of another, later
    assert not is_running(Process(os.getpid(), started=now, executable="/bin/another", command=("x", "y")))
    assert not is_running(Process(0))
    assert not is_running(Process(2**40, started=now))
