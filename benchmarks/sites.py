"""A program that stalls its loop at very many places: `python -m benchmarks.sites STALLS SITES BUSY_US`.

Every site is a function of its own, on lines of its own. Prints, as JSON, its memory before the first stall and after
every tenth of them: resident, and of it anonymous, in bytes.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SITE = """
def site_{number}(clock, sleep, seconds):
    until = clock() + seconds
    sleep(seconds / 2)
    while clock() < until:
        pass
"""  # the watchdog gets a CPU in the first half, however busy the machine is


def memory(pid: int | str = "self") -> tuple[int, int]:
    """Of a process: resident, and of it anonymous, in bytes."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+): +(\d+) kB", rollup, re.MULTILINE)}
    return found["Rss"], found["Anonymous"]


def build(count: int) -> list[Callable[..., None]]:
    """One after the other: a module of them all would leave tens of megabytes of the compiler's behind."""
    names: dict[str, Any] = {}
    for number in range(count):
        exec(compile(SITE.format(number=number), f"sites_{number % 100}.py", "exec"), names)
    return [names[f"site_{number}"] for number in range(count)]


async def main(stalls: int, sites: int, busy: float) -> list[tuple[int, int]]:
    functions = build(sites)
    await asyncio.sleep(0.1)
    found = [memory()]
    for number in range(1, stalls + 1):
        functions[number % sites](time.perf_counter, time.sleep, busy)
        await asyncio.sleep(0)
        if number % max(stalls // 10, 1) == 0:
            found.append(memory())
    return found


if __name__ == "__main__":
    json.dump(asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) / 1e6)), sys.stdout)
