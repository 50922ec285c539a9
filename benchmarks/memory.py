"""What watching costs in memory: a process that has stalled at thousands of places, watched and unwatched."""

from __future__ import annotations

import tempfile
from pathlib import Path

from benchmarks.outcome import Outcome
from benchmarks.watched import LOOPWATCH, last_summary, printed, recorded_bytes, records

SITES = 10_000
THRESHOLD_US = 100  # so small that a million stalls take minutes
BUSY_US = 150
MIB = 1024 * 1024
Memory = list[list[int]]  # [resident, anonymous] at each tenth, in bytes


def measure(stalls: int, watch: list[str], busy_us: int = BUSY_US) -> Memory:
    found: Memory = printed("sites", str(stalls), str(SITES), str(busy_us), watch=watch)
    return found


def run(quick: bool) -> list[Outcome]:
    stalls = 100_000 if quick else 1_000_000
    outcome = Outcome(
        "memory",
        f"Memory of a process after {stalls:,} stalls at {SITES:,} sites, MiB",
        ["", "before", "after a tenth", "at the end", "anonymous", "more at the end"],
    )
    bare = measure(stalls, [])
    _add(outcome, "unwatched", bare, bare)
    for name, more in [("watched", []), ("with log lines", ["--log"])]:
        with tempfile.TemporaryDirectory(prefix="loopwatch-bench-") as temporary:
            folder = Path(temporary)
            options = [f"--threshold={THRESHOLD_US / 1000}ms", f"--interval={THRESHOLD_US / 2000}ms", f"--dir={folder}"]
            _add(outcome, name, measure(stalls, [*LOOPWATCH, "run", "-q", *more, *options]), bare)
            summary = last_summary(folder)
            seen = {code["name"] for code in records(folder, "code") if str(code["name"]).startswith("site_")}
            outcome.notes.append(
                f"{name}: {summary['stalls']:,} stalls, {summary['unsampled']:,} of them without a sample, "
                f"{summary['lost']:,} lost; {len(seen):,} sites sampled in what is kept; recording of "
                f"{recorded_bytes(folder) / MIB:.0f} MiB"
            )
    return [outcome]


def _add(outcome: Outcome, name: str, found: Memory, bare: Memory) -> None:
    figures = [found[0][0], found[1][0], found[-1][0], found[-1][1], found[-1][0] - bare[-1][0]]
    outcome.add([name, *(f"{figure / MIB:.1f}" for figure in figures)], name=name, memory=found)
