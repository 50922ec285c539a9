"""The folder of a recording (docs/recording.md)."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from loopwatch.recording.files import process_of, recordings_in, starters_of

if sys.platform == "win32":
    fcntl = None  # no file that is open can be removed there
else:
    import fcntl

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
    folder = _make_new(base)
    (folder / ".gitignore").write_text(_IGNORE_ALL, encoding="ascii")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # Workers that give up root have to write there: whose `base` is, theirs it is.
        owner = base.stat()
        os.chown(folder, owner.st_uid, owner.st_gid, follow_symlinks=False)
    return folder


def _make_new(base: Path) -> Path:
    """Under a name of its own. In a container the pid is always the same, and several may begin in one millisecond."""
    while True:
        now = datetime.now(UTC)
        folder = base / f"{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03}Z-{os.getpid()}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            time.sleep(0.001)
        else:
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
        if (rank >= most or began < oldest) and _is_over(folder, began):
            shutil.rmtree(folder, ignore_errors=True)
            removed += not folder.exists()
    return removed


def _is_over(folder: Path, began: float) -> bool:
    """Whether this holds recordings only, none that is still written, and whoever has made it is gone."""
    try:
        files = list(folder.iterdir())
    except OSError:
        return False
    ours = all(file.name == ".gitignore" or file.suffix in (".jsonl", ".unwatched") for file in files)
    if not ours or is_held(folder) or any(_lives(*process_of(file)) for file in files):
        return False
    return not any(_lives(pid, began) for pid in starters_of([folder]) - {os.getpid()})


def _lives(pid: int, since: float) -> bool:
    """Whether a process that was there at a point in time, Unix seconds, still is."""
    import psutil

    try:
        return pid > 0 and psutil.Process(pid).create_time() <= since + 1
    except psutil.Error:
        return False


def is_held(folder: Path) -> bool:
    """Whether a process has locked it, since it writes there, in whatever container (csrc/os/file.h)."""
    if fcntl is None:
        return False
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return isinstance(error, BlockingIOError)
    finally:
        os.close(descriptor)
    return False
