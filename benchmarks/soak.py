"""An hour at saturation: whether what watching costs stays what it is.

`python -m benchmarks.soak asyncio 180` does so for 180 seconds. There are several servers of each kind, since one
process can be luckier with its memory than another, for as long as it lives.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
from collections.abc import Sequence

from rich.console import Console

from benchmarks.load import MOMENT, Slice, in_turns
from benchmarks.outcome import Outcome, spread
from benchmarks.sites import memory
from benchmarks.watched import Server, last_summary, recorded_bytes, uvicorn

SLICES = 12
SERVERS = 4  # watched, and as many that are not
MIB = 1024 * 1024
COUNTERS = ["stalls", "samples", "torn", "lost"]  # of a summary
Turn = Sequence[Slice]  # of all servers, those that are watched last


def per_second(side: Turn) -> float:
    return statistics.mean(each.per_second for each in side)


def ratios(turns: Sequence[Turn]) -> list[float]:
    return [per_second(turn[SERVERS:]) / per_second(turn[:SERVERS]) for turn in turns]


def watchdog_share(turns: Sequence[Turn]) -> float:
    return statistics.median(each.others_us / each.cpu_us for turn in turns for each in turn[SERVERS:])


def counted(watched: Sequence[Server]) -> dict[str, int]:
    summaries = [last_summary(server.folder) for server in watched]
    return {name: sum(summary[name] for summary in summaries) for name in COUNTERS}


def soak(loop: str, seconds: float) -> Outcome:
    outcome = Outcome(
        f"soak-{loop}",
        f"uvicorn on {loop}, saturated for {seconds:.0f} s: {SERVERS} watched and {SERVERS} others in turns",
        ["until s", "req/s", "ratio", "watchdog", "resident, MiB", "recorded, KiB", *COUNTERS],
    )
    every: list[Turn] = []
    with contextlib.ExitStack() as stack:
        bare, watched = (
            [stack.enter_context(uvicorn(loop, watched=kind)) for _ in range(SERVERS)] for kind in (False, True)
        )
        before = dict.fromkeys(COUNTERS, 0)
        for number in range(1, SLICES + 1):
            turns = in_turns([*bare, *watched], max(1, round(seconds / SLICES / MOMENT / SERVERS / 2)))
            every += turns
            now = counted(watched)
            counts = {name: now[name] - before[name] for name in COUNTERS}
            before = now
            resident = [statistics.mean(memory(server.pid)[0] for server in side) for side in (bare, watched)]
            recorded = sum(recorded_bytes(server.folder) for server in watched)
            sides = [[per_second(turn[part]) for turn in turns] for part in (slice(SERVERS), slice(SERVERS, None))]
            outcome.add(
                [
                    f"{number * seconds / SLICES:.0f}",
                    " → ".join(f"{statistics.median(side):.0f}" for side in sides),
                    spread(ratios(turns), 3),
                    f"{watchdog_share(turns):.1%}",
                    " → ".join(f"{each / MIB:.1f}" for each in resident),
                    f"{recorded / 1024:.0f}",
                    *(f"{counts[name]:,}" for name in COUNTERS),
                ],
                loop=loop,
                until=number * seconds / SLICES,
                turns=[[each.per_second for each in turn] for turn in turns],
                watchdog=watchdog_share(turns),
                resident=resident,
                recorded=recorded,
                counts=counts,
            )
    outcome.notes.append(
        f"all of it: ratio {spread(ratios(every), 3)}, watchdog {watchdog_share(every):.1%} of the CPU"
    )
    alone = [
        statistics.median(turn[each].per_second / per_second(turn[:SERVERS]) for turn in every)
        for each in range(2 * SERVERS)
    ]
    shown = [" ".join(f"{each:.3f}" for each in side) for side in (alone[:SERVERS], alone[SERVERS:])]
    outcome.notes.append(f"each server to the mean of those not watched: {shown[0]} → {shown[1]}")
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [soak("uvloop", 60 if quick else 3600)]


if __name__ == "__main__":
    found = soak(sys.argv[1], float(sys.argv[2]))
    found.show(Console(width=None if sys.stdout.isatty() else 140))
    found.save()
