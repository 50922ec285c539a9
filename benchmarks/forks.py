"""Ten thousand children of one watched process: how long they take, and what is left of them."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.loops import LOOPS
from benchmarks.outcome import Outcome
from benchmarks.watched import LOOPWATCH, ROOT, printed

MIB = 1024 * 1024


def measure(loop: str, count: int, watch: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = printed("forking", loop, str(count), watch=watch)
    return found


def files(folder: Path) -> int:
    return sum(1 for _ in folder.rglob("*.jsonl"))


def run(quick: bool) -> list[Outcome]:
    count = 1_000 if quick else 10_000
    outcome = Outcome(
        "forks",
        f"{count:,} children forked from the running loop, half of them with a loop of their own",
        ["loop", "", "a child, ms", "failed", "threads", "descriptors", "resident, MiB", "files", "report, s"],
    )
    for loop in LOOPS:
        with tempfile.TemporaryDirectory(prefix="loopwatch-bench-") as temporary:
            folder = Path(temporary)
            # A threshold that the children's stalls reach.
            options = ["run", "-q", f"--dir={folder}", "--threshold=1ms"]
            # The unwatched ones are there for their time only.
            for name, watch, children in [
                ("unwatched", [], count // 10),
                ("watched", [*LOOPWATCH, *options], count),
            ]:
                found = measure(loop, children, watch)
                recorded, seconds = files(folder), 0.0
                if recorded:
                    begin = time.monotonic()
                    report = [*LOOPWATCH, "report", "-f", "json", *map(str, folder.glob("*-*"))]
                    subprocess.run(report, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
                    seconds = time.monotonic() - begin
                early, late = found["early"], found["late"]
                outcome.add(
                    [
                        loop,
                        name,
                        f"{found['seconds'] / children * 1000:.1f}",
                        f"{sum(found['failed'].values()):,}",
                        f"{early['task']} → {late['task']}",
                        f"{early['fd']} → {late['fd']}",
                        f"{early['resident'] / MIB:.1f} → {late['resident'] / MIB:.1f}",
                        f"{recorded:,}",
                        f"{seconds:.1f}",
                    ],
                    loop=loop,
                    name=name,
                    files=recorded,
                    report_seconds=seconds,
                    **found,
                )
    return [outcome]
