"""Following a recording: however it grows, in the end it is what reading it at once gives."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest

from loopwatch.analysis.follow import Follower
from loopwatch.analysis.run import Run, load
from loopwatch.analysis.selection import Selection
from loopwatch.errors import RecordingError
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter
from loopwatch.web.updates import Updates
from tests.unit.project import make_service
from tests.unit.recordings import RUNNER, SECOND, UNIX, RecordingBuilder

NOW = UNIX / SECOND + 60


def as_json(run: Run) -> str:
    out = io.StringIO()
    reporter("json").write(run, out, Options(source=False))
    return out.getvalue()


def follow(folder: Path, selection: Selection | None = None, *, alive: bool = False) -> Follower:
    recordings = find_recordings([folder])
    return Follower(recordings, selection, most_stalls=100_000, clock=lambda: NOW, alive=lambda _: alive)


def read(folder: Path, selection: Selection | None = None, *, alive: bool = False) -> Run:
    return load(find_recordings([folder]), selection, clock=lambda: NOW, alive=lambda _: alive)


def test_records_that_are_lost_while_the_file_cannot_grow(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(100, 40, (builder.stack(*RUNNER), 40))
    builder.write(tmp_path)
    follower = follow(tmp_path)
    for records in (0, 7, 12):
        builder.lost(records)
        builder.write(tmp_path)
        follower.update()
        assert follower.run().totals.dropped == records
        assert as_json(follower.run()) == as_json(read(tmp_path))


@pytest.mark.parametrize("step", [1, 97, 1000, 10**6])
def test_it_ends_as_reading_at_once_does(tmp_path: Path, step: int) -> None:
    make_service(tmp_path)
    (file,) = tmp_path.glob(".loopwatch/*/*.jsonl")
    data = file.read_bytes()
    growing = tmp_path / "growing" / file.name
    growing.parent.mkdir()
    growing.write_bytes(data[:600])  # the header
    follower = follow(growing.parent)
    stalls = 0
    size = 600
    while size < len(data):
        size = max(size + step, size + len(data) // 40)
        growing.write_bytes(data[:size])
        follower.update()
        run = follower.run()
        assert run.totals.stalls >= stalls  # none that was seen is gone again
        stalls = run.totals.stalls
        assert as_json(follower.run()) == as_json(run)  # asking changes nothing
    follower.update()
    assert as_json(follower.run()) == as_json(read(growing.parent))
    assert stalls == 9


def test_parts_and_processes_that_come_and_go(tmp_path: Path) -> None:
    first = RecordingBuilder(pid=1)
    first.loop()
    first.stall(0, 30, (first.stack(*RUNNER, ("/srv/app/a.py", "f", 1)), 20))
    first.write(tmp_path)
    follower = follow(tmp_path)
    follower.update()
    assert follower.run().totals.stalls == 1
    second = RecordingBuilder(pid=1, part=1)
    second.loop()
    second.stall(100, 40, (second.stack(*RUNNER, ("/srv/app/a.py", "f", 1)), 20), iteration=7)
    second.write(tmp_path, part=1)
    other = RecordingBuilder(pid=2, parent_pid=1)
    other.loop()
    other.stall(50, 20, (other.stack(*RUNNER, ("/srv/app/a.py", "f", 1)), 20))
    other.write(tmp_path)
    follower.update()
    assert as_json(follower.run()) == as_json(read(tmp_path))
    # The oldest part makes room: what was read of it stays known.
    next(path for path in tmp_path.iterdir() if path.name.startswith("1-") and ".1." not in path.name).unlink()
    follower.update()
    run = follower.run()
    assert run.totals.stalls == 3
    assert [len(site.weights) for site in run.sites] == [1]
    assert sum(each.process.damage.parts_missing for each in run.processes) == 1


def test_what_runs_now(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    stack = builder.stack(*RUNNER, ("/srv/app/a.py", "f", 1))
    builder.stall(0, 30, (stack, 20))
    builder.stall(40_000, 5000, (stack, 20), t="open")
    builder.write(tmp_path)
    follower = follow(tmp_path, alive=True)
    follower.update()
    (running,) = follower.running()
    assert running.duration == pytest.approx(20)
    assert running.stack
    assert running.stack.place.function == "f"
    assert as_json(follower.run()) == as_json(read(tmp_path, alive=True))
    gone = follow(tmp_path)
    gone.update()
    assert gone.running() == []
    assert [stall.state for stall in gone.run().stalls] == ["gone", "ended"]


def test_a_selection_and_nothing_yet(tmp_path: Path) -> None:
    make_service(tmp_path)
    selection = Selection(endpoint="GET *")
    follower = follow(tmp_path, selection)
    follower.update()
    assert as_json(follower.run()) == as_json(read(tmp_path, selection))
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "1-2.jsonl").write_text("")
    (recording,) = find_recordings([empty])
    (empty / "1-2.jsonl").unlink()
    nothing = Follower([recording])
    nothing.update()
    with pytest.raises(RecordingError):
        nothing.run()


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ValueError("year 60000 is out of range"), "ValueError: year 60000 is out of range"),
        (RecordingError("nothing is there"), "nothing is there"),
        (OSError(5, "Input/output error"), "[Errno 5] Input/output error"),
    ],
)
def test_whoever_looks_is_told_what_is_wrong_until_it_is_right(
    error: Exception, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_service(tmp_path)
    follower = follow(tmp_path)

    def fail() -> None:
        raise error

    def wait_for(version: int) -> tuple[str, str]:
        end = time.monotonic() + 30
        while updates.newest[0] < version:
            assert time.monotonic() < end, "it looks no more"
            time.sleep(0.01)
        return updates.newest[1:]

    updates = Updates(follower, Options())
    with monkeypatch.context() as patch:
        patch.setattr(follower, "update", fail)
        updates.watch()
        updates.start()
        assert wait_for(1) == ("null", problem)
    assert wait_for(2)[1] == ""
    assert "GET /predict/{id}" in wait_for(2)[0]
    updates.stop()
