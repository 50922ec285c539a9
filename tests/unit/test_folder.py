"""Old recordings make room, and nothing else does."""

from __future__ import annotations

import os
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


def test_nothing_there(tmp_path: Path) -> None:
    assert remove_old(tmp_path / "none", 0, 1) == 0
    assert make_folder(tmp_path / "none").is_dir()
    assert remove_old(tmp_path / "none", 0, 30) == 1
