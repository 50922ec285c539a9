"""Old recordings make room, and nothing else does."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from loopwatch.launch.folder import make_folder, remove_old


def recording(base: Path, days: float, *files: str) -> Path:
    """A folder of `loopwatch run` that began so many days ago."""
    began = datetime.fromtimestamp(time.time() - days * 86400, UTC)
    folder = base / f"{began:%Y%m%dT%H%M%S}.000Z-1"
    folder.mkdir()
    for name in (".gitignore", *files):
        (folder / name).touch()
    return folder


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    """Four, the newest first."""
    return [recording(tmp_path, days, "999999999-1000.jsonl") for days in (1, 2, 3, 4)]


@pytest.mark.parametrize(
    ("most", "days", "left"), [(10, 30, 4), (3, 30, 3), (0, 30, 0), (10, 2.5, 2), (1, 2.5, 1), (10, 4.5, 4)]
)
def test_oldest_go_first(tmp_path: Path, folders: list[Path], most: int, days: int, left: int) -> None:
    assert remove_old(tmp_path, most, days) == 4 - left
    assert [folder.exists() for folder in folders] == [rank < left for rank in range(4)]


def test_what_stays(tmp_path: Path) -> None:
    mine = psutil.Process()
    running = recording(tmp_path, 5, f"{os.getpid()}-{int(mine.create_time() * 1000) + 5000}.jsonl")
    notes = recording(tmp_path, 6, "1-1.jsonl", "notes.txt")
    (tmp_path / "mine").mkdir()
    earlier = recording(tmp_path, 7, f"{os.getpid()}-{int(mine.create_time() * 1000) - 60_000}.jsonl")  # the pid's last
    assert remove_old(tmp_path, 0, 1) == 1
    assert sorted(tmp_path.iterdir()) == sorted([running, notes, tmp_path / "mine"])
    assert not earlier.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_one_that_is_written_in_another_container(tmp_path: Path) -> None:
    """Where its pid says nothing, its lock does."""
    import fcntl

    folder = recording(tmp_path, 5, "999999999-1000.jsonl")
    descriptor = os.open(folder, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    assert remove_old(tmp_path, 0, 1) == 0
    os.close(descriptor)
    assert remove_old(tmp_path, 0, 1) == 1


def test_one_whose_program_has_no_loop_yet(tmp_path: Path) -> None:
    """Nothing is in it, but who has made it still runs."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        began = datetime.fromtimestamp(psutil.Process(process.pid).create_time() + 1, UTC)
        folder = tmp_path / f"{began:%Y%m%dT%H%M%S}.000Z-{process.pid}"
        folder.mkdir()
        assert remove_old(tmp_path, 0, 1) == 0
        process.communicate()
    assert remove_old(tmp_path, 0, 1) == 1


def test_many_at_once(tmp_path: Path) -> None:
    """In containers all pids are the same, and two may begin in the same millisecond."""
    assert len({make_folder(tmp_path) for _ in range(20)}) == 20


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_whose_the_base_is(tmp_path: Path) -> None:
    """A program that gives up root can write to it."""
    os.chown(tmp_path, 12345, 12346)
    found = make_folder(tmp_path).stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (12345, 12346, 0o700)


def test_nothing_there(tmp_path: Path) -> None:
    assert remove_old(tmp_path / "none", 0, 1) == 0
    assert make_folder(tmp_path / "none").is_dir()
    assert remove_old(tmp_path / "none", 0, 30) == 1
