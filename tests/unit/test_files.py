"""Finding recordings, and which files belong together."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from loopwatch.analysis.run import load
from loopwatch.errors import RecordingError
from loopwatch.recording import Decoder, find_recordings, read_process
from loopwatch.recording.files import note_gone
from loopwatch.report import FORMATS, Options, reporter
from tests.unit.recordings import MS, UNIX, RecordingBuilder

START = UNIX // MS


def make(folder: Path, pid: int = 7, start: int = START, *parts: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for part in parts or (0,):
        suffix = f".{part}" if part else ""
        builder = RecordingBuilder(pid, part=part)
        builder.loop()
        builder.stall(part * 100, 20, iteration=part + 1)
        (folder / f"{pid}-{start}{suffix}.jsonl").write_bytes(builder.data)
    return folder


def found(tmp_path: Path, *runs: str) -> list[str]:
    recordings = find_recordings([Path(run) for run in runs], cwd=tmp_path)
    return [str(recording.path.relative_to(tmp_path)) for recording in recordings]


def test_the_newest_is_the_one_that_began_last(tmp_path: Path) -> None:
    make(tmp_path / ".loopwatch/b", 7, START)
    make(tmp_path / ".loopwatch/a", 7, START + 5)
    make(tmp_path / ".loopwatch/c", 7, START - 5)
    (tmp_path / ".loopwatch/not-a-recording").mkdir()
    (tmp_path / ".loopwatch/.gitignore").write_text("*\n")
    os.utime(tmp_path / ".loopwatch/c")
    assert found(tmp_path) == [".loopwatch/a"]


def test_a_process_that_left_without_a_word(tmp_path: Path) -> None:
    """Whoever knows when it was gone adds it to its newest file, if that takes one more line."""

    def seen(ending: bytes, pid: int = 7) -> float:
        make(tmp_path, 7, START - 5)
        make(tmp_path, 7, START, 0, 1)
        newest = tmp_path / f"7-{START}.1.jsonl"
        newest.write_bytes(newest.read_bytes() + ending)
        others = {path: path.read_bytes() for path in tmp_path.iterdir() if path != newest}
        note_gone(tmp_path, pid, START / 1e3 + 9)
        assert others == {path: path.read_bytes() for path in others}
        decoder = Decoder()
        decoder.feed(newest.read_bytes())
        assert decoder.process.damage.garbage == 0
        return decoder.process.seen - START / 1e3

    assert seen(b"") == pytest.approx(9)
    for ending in (b'{"t":"sta', b'{"t":"end","at":1,"dropped":0}\n'):
        assert seen(ending) == pytest.approx(0.120)
    assert seen(b"", pid=8) == pytest.approx(0.120)
    note_gone(tmp_path / "nowhere", 7, 1.0)


def test_the_newest_run_is_not_passed_over_when_it_has_recorded_nothing(tmp_path: Path) -> None:
    make(tmp_path / ".loopwatch/20261122T140000.000Z-7")
    (tmp_path / ".loopwatch/20261122T135959.999Z-7").mkdir()
    assert found(tmp_path) == [".loopwatch/20261122T140000.000Z-7"]
    (tmp_path / ".loopwatch/20261122T140000.001Z-7").mkdir()
    with pytest.raises(RecordingError, match=r"140000.001Z-7, has recorded nothing.*140000.000Z-7$"):
        found(tmp_path)
    assert found(tmp_path, ".loopwatch") == [".loopwatch/20261122T140000.000Z-7"]


def test_what_a_run_may_be(tmp_path: Path) -> None:
    make(tmp_path / ".loopwatch/one", 7, START)
    make(tmp_path / ".loopwatch/two", 8, START + 1)
    make(tmp_path / "elsewhere/.loopwatch/three")
    file = f".loopwatch/one/7-{START}.jsonl"
    assert found(tmp_path, "one") == [".loopwatch/one"]
    assert found(tmp_path, ".loopwatch/one", ".loopwatch/two") == [".loopwatch/one", ".loopwatch/two"]
    assert found(tmp_path, ".loopwatch") == [".loopwatch/one", ".loopwatch/two"]
    assert found(tmp_path, ".loopwatch", "one", ".loopwatch/../.loopwatch/two") == [".loopwatch/one", ".loopwatch/two"]
    assert found(tmp_path, "elsewhere") == ["elsewhere/.loopwatch/three"]
    assert found(tmp_path, str(tmp_path / "elsewhere/.loopwatch")) == ["elsewhere/.loopwatch/three"]
    assert found(tmp_path, file) == [file]


def test_errors_say_what_to_type_next(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no recording in .loopwatch/ here; record one first: loopwatch run"):
        found(tmp_path)
    with pytest.raises(RecordingError, match="no recording at nope; record one first"):
        found(tmp_path, "nope")
    make(tmp_path / ".loopwatch/one")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match=r"no recording in empty; the newest .*: loopwatch report .loopwatch/one"):
        found(tmp_path, "empty")


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "locked")
    iterdir = Path.iterdir

    def locked(path: Path) -> Iterator[Path]:  # root may read everything: the system's answer is given for it
        if path.name == folder.name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return iterdir(path)

    monkeypatch.setattr(Path, "iterdir", locked)
    with pytest.raises(RecordingError, match="cannot be read"):
        found(tmp_path, "locked")


def test_parts_belong_together_in_their_order(tmp_path: Path) -> None:
    make(tmp_path / "run", 7, START, 10, 9, 8)
    make(tmp_path / "run", 7, START + 1)  # the same pid after an execv
    (recording,) = find_recordings([tmp_path / "run"])
    assert [[part.name for part in files.parts] for files in recording.processes] == [
        [f"7-{START}.{part}.jsonl" for part in (8, 9, 10)],
        [f"7-{START + 1}.jsonl"],
    ]
    assert [files.missing for files in recording.processes] == [8, 0]
    files = recording.processes[0]
    decoder = files.decoder()
    assert [stall.iteration for stall in read_process(files, decoder)] == [9, 10, 11]
    assert decoder.process.damage.parts_missing == 8


def test_parts_that_vanish_while_reading_are_missing(tmp_path: Path) -> None:
    make(tmp_path / "run", 7, START, 0, 1)
    (recording,) = find_recordings([tmp_path / "run"])
    (files,) = recording.processes
    files.parts[0].unlink()
    decoder = files.decoder()
    assert [stall.iteration for stall in read_process(files, decoder)] == [2]
    assert decoder.process.damage.parts_missing == 1


@pytest.mark.parametrize("start", [0, 10**14 - 1, 10**14, 10**18])
def test_a_start_that_no_date_can_be(start: int, tmp_path: Path) -> None:
    folder = make(tmp_path, 7, start)
    run = load(find_recordings([folder]))
    assert run.totals.stalls == 1
    for name in FORMATS:
        reporter(name).write(run, io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), Options())
    (process,) = run.processes
    assert process.process.started == (start / 1e3 if 0 < start < 10**14 else UNIX / 1e9)


def test_unwatched_processes_are_named(tmp_path: Path) -> None:
    folder = make(tmp_path / "run")
    (folder / "9-1.unwatched").write_text('{"pid": 9, "executable": "/old/python", "command": ["x"], "reason": "old"}')
    (folder / "10-1.unwatched").write_text("{")
    (recording,) = find_recordings([folder])
    (other,) = recording.unwatched
    assert (other.pid, other.executable, other.command, other.reason) == (9, "/old/python", ("x",), "old")
