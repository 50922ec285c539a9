"""What a watched process finds in its environment. Children inherit it: nothing takes it out again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import loopwatch
from loopwatch.errors import LoopwatchError

BOOTSTRAP = Path(loopwatch.__file__).resolve().parent / "bootstrap"
"""The folder that has nothing but our `sitecustomize`."""


def watched_environment(
    base: Mapping[str, str], folder: Path, threshold: float, interval: float, headers: bool = False
) -> dict[str, str]:
    """`base` with what the bootstrap needs; durations in seconds. `headers`: responses tell what they cost.

    `LoopwatchError` when this installation lies where PYTHONPATH cannot point to.
    """
    bootstrap = str(BOOTSTRAP)
    if os.pathsep in bootstrap:
        raise LoopwatchError(
            f"PYTHONPATH cannot hold {bootstrap}", f"install loopwatch in a path without {os.pathsep!r}"
        )
    path = base.get("PYTHONPATH", "")
    if path.split(os.pathsep)[0] != bootstrap:
        path = os.pathsep.join([bootstrap, path]) if path else bootstrap
    return {
        **base,
        "PYTHONPATH": path,
        "LOOPWATCH_RECORD": str(folder.absolute()),
        "LOOPWATCH_THRESHOLD": _duration(threshold),
        "LOOPWATCH_INTERVAL": _duration(interval),
        "LOOPWATCH_VERSION": loopwatch.__version__,
        **({"LOOPWATCH_HEADERS": "1"} if headers else {}),
    }


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1e9)}ns"
