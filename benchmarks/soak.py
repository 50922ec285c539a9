"""An hour at saturation: whether what watching costs stays what it is, and what it is.

`python -m benchmarks.soak uvloop 3600` takes 3600 seconds. Two servers live for all of it, one of them watched: they
say whether anything grows or drifts. How much of its speed a server keeps is asked of many more that are new in every
twelfth (benchmarks/level.py says why).
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence

from rich.console import Console

from benchmarks.level import Level, Turn, halves, per_second, relative
from benchmarks.load import in_turns_until
from benchmarks.outcome import Outcome, spread
from benchmarks.sites import memory
from benchmarks.watched import Server, both_kinds, last_summary, recorded_bytes, uvicorn

SLICES = 12
MIB = 1024 * 1024
COUNTERS = ["stalls", "samples", "torn", "lost"]  # of a summary


def watchdog_share(turns: Sequence[Turn]) -> float:
    return statistics.median(each.others_us / each.cpu_us for turn in turns for each in halves(turn)[1])


def counted(watched: Server) -> dict[str, int]:
    summary = last_summary(watched.folder)
    return {name: summary[name] for name in COUNTERS}


def soak(loop: str, seconds: float, copies: int) -> Outcome:
    outcome = Outcome(
        f"soak-{loop}",
        f"uvicorn on {loop}, saturated for {seconds:.0f} s: two servers that last, one of them watched, and new ones",
        ["until s", "req/s", "ratio", "new ones", "watchdog", "resident, MiB", "recorded, KiB", *COUNTERS],
    )
    level, lasting = Level(), list[Turn]()
    begin = time.monotonic()
    with uvicorn(loop, watched=False) as bare, uvicorn(loop, watched=True) as watched:
        before = dict.fromkeys(COUNTERS, 0)
        for number in range(SLICES):
            turns: list[Turn] = [*in_turns_until([bare, watched], begin + (number + 0.5) / SLICES * seconds)]
            lasting += turns
            now = counted(watched)
            counts = {name: now[name] - before[name] for name in COUNTERS}
            before = now
            resident = [memory(server.pid)[0] for server in (bare, watched)]
            recorded = recorded_bytes(watched.folder)
            with both_kinds(loop, copies, watched_first=number % 2 == 1) as servers:
                latest: list[Turn] = [*in_turns_until(servers, begin + (number + 1) / SLICES * seconds)]
            here = Level.of(latest)
            level.include(here)
            speeds = [[per_second(side) for side in halves(turn)] for turn in turns]
            outcome.add(
                [
                    f"{time.monotonic() - begin:.0f}",
                    " → ".join(f"{statistics.median(side):.0f}" for side in zip(*speeds, strict=True)),
                    spread([ours / theirs for theirs, ours in speeds], 3),
                    str(here),
                    f"{watchdog_share(turns):.1%}",
                    " → ".join(f"{each / MIB:.1f}" for each in resident),
                    f"{recorded / 1024:.0f}",
                    *(f"{counts[name]:,}" for name in COUNTERS),
                ],
                loop=loop,
                until=time.monotonic() - begin,
                speeds=speeds,
                new=[*here.bare, *here.watched],
                watchdog=watchdog_share(turns),
                resident=resident,
                recorded=recorded,
                counts=counts,
            )
    asked = sum(turn[1].requests for turn in lasting)
    outcome.notes += [
        f"all of it, the two that lasted: ratio {relative(lasting)[1]:.3f}, {asked:,} requests to the watched one, "
        f"watchdog {watchdog_share(lasting):.1%} of its CPU time",
        f"all of it, {len(level.bare)} new servers without and as many with: ratio {level}",
    ]
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [soak("uvloop", *((240, 2) if quick else (3600, 8)))]


if __name__ == "__main__":
    found = soak(sys.argv[1], float(sys.argv[2]), copies=8)
    found.show(Console(width=None if sys.stdout.isatty() else 140))
    found.save()
