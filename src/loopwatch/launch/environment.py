"""What a watched process finds in its environment. Children inherit it: nothing takes it out again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import loopwatch
from loopwatch.errors import LoopwatchError
from loopwatch.settings import Settings

BOOTSTRAP = Path(loopwatch.__file__).resolve().parent / "bootstrap"
"""The folder that has nothing but our `sitecustomize`."""


def watched_environment(base: Mapping[str, str], folder: Path, settings: Settings) -> dict[str, str]:
    """`base` with what the bootstrap needs.

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
        **settings.into(base),
        "PYTHONPATH": path,
        "LOOPWATCH_RECORD": str(folder.absolute()),
        "LOOPWATCH_VERSION": loopwatch.__version__,
    }
