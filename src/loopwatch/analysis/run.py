"""A whole run: recordings read to their ends, stalls put to their sites, figures that add up.

Stalls are read as a stream. What stays in memory is bounded: a few numbers for each stall, and the longest ones
themselves; `stalls_omitted` counts the rest.
"""

from __future__ import annotations

import gc
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context

from loopwatch.analysis.liveness import is_running
from loopwatch.analysis.reader import Reader
from loopwatch.analysis.result import PlacedStall, Run, Totals, WatchedProcess
from loopwatch.analysis.selection import Selection
from loopwatch.model import Process
from loopwatch.recording import ProcessFiles, Recording

__all__ = ["MOST_STALLS", "PARALLEL", "PlacedStall", "Run", "Totals", "WatchedProcess", "load"]

MOST_STALLS = 100_000
PARALLEL = 48 << 20  # bytes; less is read before other processes have started


def load(
    recordings: Iterable[Recording],
    selection: Selection | None = None,
    *,
    clock: Callable[[], float] = time.time,
    alive: Callable[[Process], bool] = is_running,
    most_stalls: int = MOST_STALLS,
    jobs: int = 1,
    progress: Callable[[int], object] | None = None,
) -> Run:
    """Read recordings to their ends. `RecordingError` when there is nothing in them that can be read.

    With several `jobs`, processes read large recordings beside this one, and `clock` and `alive` have to be functions
    of a module. `progress` is told of every few bytes that were read how many.
    """
    recordings = list(recordings)
    reader = Reader(selection or Selection(), clock, alive, most_stalls)
    every = [files for recording in recordings for files in recording.processes]
    if jobs > 1 and len(every) > 1 and sum(files.size for files in every) >= PARALLEL:
        read_beside(every, reader, jobs, progress)
    else:
        for files in every:
            reader.read(files, progress)
    unwatched = tuple(each for recording in recordings for each in recording.unwatched)
    if not reader.processes and not unwatched:
        raise reader.failure(recordings)
    return reader.run(tuple(recording.path for recording in recordings), unwatched)


def read_beside(every: list[ProcessFiles], reader: Reader, jobs: int, progress: Callable[[int], object] | None) -> None:
    """Read processes' files in processes of their own, as many at a time as there are jobs."""
    ahead = jobs + 1  # what is read before it is taken waits in memory
    waiting: deque[tuple[Future[Reader], ProcessFiles]] = deque()
    # Spawned, not forked: whoever calls this may have threads.
    with ProcessPoolExecutor(min(jobs, len(every)), get_context("spawn")) as pool:
        for files in (*every, *[None] * ahead):
            if files is not None:
                waiting.append((pool.submit(_read, files, reader.empty()), files))
            if waiting and (len(waiting) > ahead or files is None):
                result, read = waiting.popleft()
                reader.absorb(result.result())
                if progress is not None:
                    progress(read.size)


def _read(files: ProcessFiles, reader: Reader) -> Reader:
    gc.disable()  # what is read has no cycles, and looking for some is a tenth of the work
    try:
        reader.read(files)
    finally:
        gc.enable()
    return reader
