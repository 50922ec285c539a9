"""The cost of one loop iteration, in this very process: `python -m benchmarks.iteration asyncio 20`.

Prints a JSON list of pairs, without and with loopwatch, each [nanoseconds, nanoseconds of CPU] per iteration.
Both of a pair run one right after the other in the same process, in changing order, so that neither the machine's
mood nor the layout of memory decides. The CPU time is that of the whole process, the watchdog's thread included,
and does not grow when other programs want the cores.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import loopwatch
from benchmarks.loops import factory_of
from benchmarks.watched import last_summary

ITERATIONS = 20_000
Cost = tuple[float, float]


async def iterate(count: int) -> Cost:
    """So many iterations with one callback each; what one took, in nanoseconds of the clock and of the CPU."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    begin, cpu_begin = time.perf_counter_ns(), time.process_time_ns()
    loop.call_soon(step)
    await done
    return (time.perf_counter_ns() - begin) / count, (time.process_time_ns() - cpu_begin) / count


def measure(factory: Callable[[], asyncio.AbstractEventLoop], folder: Path | None) -> Cost:
    if folder:
        loopwatch.start(threshold=0.010, interval=0.001, record=folder, log=False)
    try:
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(iterate(2_000))
            return runner.run(iterate(ITERATIONS))
    finally:
        if folder:
            loopwatch.stop()


def main() -> None:
    kind, pairs = sys.argv[1], int(sys.argv[2])
    # Before uvloop is imported: it takes the hook that it will call then.
    loopwatch.start()
    loopwatch.stop()
    factory = factory_of(kind)
    gc.disable()
    found = []
    with tempfile.TemporaryDirectory() as name:
        for pair in range(pairs):
            folder = Path(name, str(pair))
            if pair % 2:
                bare, watched = measure(factory, None), measure(factory, folder)
            else:
                watched, bare = measure(factory, folder), measure(factory, None)
            if last_summary(folder)["iterations"] < ITERATIONS:
                raise SystemExit("benchmarks: the loop was not watched, so there is nothing to compare")
            found.append((bare, watched))
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
