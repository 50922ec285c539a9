"""The cost of one sample by depth of the stack: the watchdog's own count of the time it spent sampling.

`python -m benchmarks.sample FOLDER DEPTH asleep|running|calling INTERVAL` is the program that is sampled: a stall with
so many frames. They stay the same in a sleep, which needs no look at the stack after the first, and in a loop, which
does; of one that calls, the innermost come and go. Every millisecond, as shipped, each sample finds cold caches; one
right after the other (interval 0) it costs what the gather itself does.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.outcome import Outcome, spread
from benchmarks.watched import ROOT, last_summary

DEPTHS = [10, 30, 60, 120]
SECONDS = 0.5


def asleep() -> None:
    time.sleep(SECONDS)


def running() -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        for _ in range(20_000):
            pass


def _leaf(number: int) -> int:
    return number * 3 % 7


def _branch(number: int) -> int:
    return _leaf(number) + _leaf(number + 1)


def calling() -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        sum(_branch(number) for number in range(50))


WORKS = {work.__name__: work for work in (asleep, running, calling)}
CASES = [("asleep", 0.001), ("running", 0.001), ("calling", 0.001), ("asleep", 0.0), ("running", 0.0)]


def recurse(depth: int, work: Callable[[], None]) -> None:
    if depth > 1:
        recurse(depth - 1, work)
    else:
        work()


async def stalls(depth: int, work: Callable[[], None], count: int) -> None:
    for _ in range(count):
        recurse(depth, work)
        await asyncio.sleep(0.02)


def main(folder: Path, depth: int, kind: str, interval: float) -> None:
    import loopwatch

    # The asyncio frames below the task and the work itself count too: about six.
    loopwatch.start(threshold=0.010, interval=interval, record=folder, log=False)
    asyncio.run(stalls(max(depth - 6, 1), WORKS[kind], 3))
    loopwatch.stop()


def run(quick: bool) -> list[Outcome]:
    outcome = Outcome(
        "sample",
        "Cost of one sample, µs: median [quartiles] of the runs",
        ["frames", "stack", "interval", "µs", "samples a run", "torn"],
    )
    runs = 1 if quick else 5
    for kind, interval in CASES:
        for depth in DEPTHS:
            summaries = []
            for _ in range(runs):
                with tempfile.TemporaryDirectory(prefix="loopwatch-bench-") as name:
                    command = [sys.executable, "-m", "benchmarks.sample", name, str(depth), kind, str(interval)]
                    subprocess.run(command, cwd=ROOT, check=True)
                    summaries.append(last_summary(Path(name)))
            costs = [each["sampling_ns"] / max(each["samples"] + each["torn"], 1) / 1e3 for each in summaries]
            samples = sum(each["samples"] for each in summaries)
            torn = sum(each["torn"] for each in summaries)
            outcome.add(
                [
                    str(depth),
                    kind,
                    f"{interval * 1e3:g} ms",
                    spread(costs),
                    str(samples // runs),
                    f"{torn / max(samples + torn, 1):.1%}",
                ],
                depth=depth,
                kind=kind,
                interval=interval,
                costs_us=costs,
                samples=samples,
                torn=torn,
            )
    return [outcome]


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4]))
