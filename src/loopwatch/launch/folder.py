"""The folder of a recording (docs/recording.md)."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

_IGNORE_ALL = "*\n"


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
