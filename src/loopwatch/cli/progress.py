"""How far a large recording is read: a bar on standard error, where that is a terminal and it takes a while."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

_PATIENCE = 1.0  # seconds


@contextlib.contextmanager
def reading(size: int, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Callable[[int], None]]:
    """What is to be told how many of `size` bytes were read now. It shows nothing within the first second."""
    bar: Progress | None = None
    begin, done = clock(), 0

    def advance(count: int) -> None:
        nonlocal bar, done
        done += count
        if bar is None and clock() - begin > _PATIENCE and sys.stderr is not None and sys.stderr.isatty():
            bar = _bar(size)
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _bar(size: int) -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("reading the recording"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console, transient=True)
    bar.add_task("reading", total=size)
    bar.start()
    return bar
