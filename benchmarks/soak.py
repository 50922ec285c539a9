"""An hour at saturation: whether what watching costs stays what it is.

`python -m benchmarks.soak asyncio 180` does so for 180 seconds.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence

from rich.console import Console

from benchmarks.load import MOMENT, Slice, in_turns
from benchmarks.outcome import Outcome, spread
from benchmarks.sites import memory
from benchmarks.watched import last_summary, recorded_bytes, uvicorn

SLICES = 12
MIB = 1024 * 1024
COUNTERS = ["stalls", "samples", "torn", "lost"]  # of a summary
Pairs = Sequence[tuple[Slice, ...]]


def ratios(pairs: Pairs) -> list[float]:
    return [watched.per_second / bare.per_second for bare, watched in pairs]


def watchdog_share(pairs: Pairs) -> float:
    return statistics.median(watched.others_us / watched.cpu_us for _, watched in pairs)


def soak(loop: str, seconds: float) -> Outcome:
    outcome = Outcome(
        f"soak-{loop}",
        f"uvicorn on {loop}, saturated for {seconds:.0f} s, watched and unwatched in turns of {MOMENT * 1000:.0f} ms",
        ["until s", "req/s", "ratio", "watchdog", "resident, MiB", "recorded, KiB", *COUNTERS],
    )
    every: list[tuple[Slice, ...]] = []
    with uvicorn(loop, watched=False) as bare, uvicorn(loop, watched=True) as watched:
        before = dict.fromkeys(COUNTERS, 0)
        for number in range(1, SLICES + 1):
            pairs = in_turns([bare, watched], max(1, round(seconds / SLICES / MOMENT / 2)))
            every += pairs
            summary = last_summary(watched.folder)
            counts = {name: summary[name] - before[name] for name in COUNTERS}
            before = {name: summary[name] for name in COUNTERS}
            resident = [memory(server.pid)[0] for server in (bare, watched)]
            outcome.add(
                [
                    f"{number * seconds / SLICES:.0f}",
                    " → ".join(
                        f"{statistics.median(each.per_second for each in side):.0f}"
                        for side in zip(*pairs, strict=True)
                    ),
                    spread(ratios(pairs), 3),
                    f"{watchdog_share(pairs):.1%}",
                    " → ".join(f"{each / MIB:.1f}" for each in resident),
                    f"{recorded_bytes(watched.folder) / 1024:.0f}",
                    *(f"{counts[name]:,}" for name in COUNTERS),
                ],
                loop=loop,
                until=number * seconds / SLICES,
                ratios=ratios(pairs),
                watchdog=watchdog_share(pairs),
                resident=resident,
                recorded=recorded_bytes(watched.folder),
                counts=counts,
            )
    outcome.notes.append(
        f"all of it: ratio {spread(ratios(every), 3)}, watchdog {watchdog_share(every):.1%} of the CPU"
    )
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [soak("uvloop", 60 if quick else 3600)]


if __name__ == "__main__":
    found = soak(sys.argv[1], float(sys.argv[2]))
    found.show(Console(width=None if sys.stdout.isatty() else 140))
    found.save()
