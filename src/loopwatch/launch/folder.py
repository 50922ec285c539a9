"""The folder of a recording (docs/recording.md)."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import psutil

from loopwatch.recording.files import process_of, recordings_in

_IGNORE_ALL = "*\n"
_SOMETHING = 4096  # bytes, more than the first line of a recording


def make_folder(base: Path) -> Path:
    """Make `<UTC time>-<pid>` in `base`, for its owner alone, and `base` itself if need be. OSError if that fails.

    git ignores both. A `base` that was there before is somebody's own folder, and keeps to what git knows of it.
    """
    try:
        base.mkdir(parents=True)
    except FileExistsError:
        if not base.is_dir():
            raise
    else:
        (base / ".gitignore").write_text(_IGNORE_ALL, encoding="ascii")
    now = datetime.now(UTC)
    # Milliseconds: in a container that starts over and over, the pid is always the same.
    folder = base / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{os.getpid()}"
    folder.mkdir(mode=0o700)
    (folder / ".gitignore").write_text(_IGNORE_ALL, encoding="ascii")
    return folder


def why_unwritable(folder: Path) -> str | None:
    """What the system says to something new in this folder; None if there is room for it."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(_SOMETHING))
    except OSError as error:
        return error.strerror
    return None


def remove_old(base: Path, most: int, days: int) -> int:
    """Remove recordings of `base` that are older than so many days, or beyond the newest `most`; how many were.

    Only folders of `loopwatch run` with nothing else in them, and none of a process that still runs.
    """
    oldest = time.time() - days * 86400
    removed = 0
    for rank, (began, folder) in enumerate(sorted(recordings_in(base), reverse=True)):
        if (rank >= most or began < oldest) and _is_over(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _is_over(folder: Path) -> bool:
    """Whether this holds recordings only, and none that is still written."""
    try:
        files = list(folder.iterdir())
    except OSError:
        return False
    ours = all(file.name == ".gitignore" or file.suffix in (".jsonl", ".unwatched") for file in files)
    return ours and not any(_is_written(*process_of(file)) for file in files)


def _is_written(pid: int, started: float) -> bool:
    try:
        return pid > 0 and psutil.Process(pid).create_time() <= started + 1
    except psutil.Error:
        return False
