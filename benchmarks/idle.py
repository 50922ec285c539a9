"""What a server costs that nobody asks anything: how often the watchdog wakes, how much CPU it takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.loops import LOOPS
from benchmarks.outcome import Outcome
from benchmarks.watched import Server, uvicorn


@dataclass(frozen=True, slots=True)
class Thread:
    name: str
    sleeps: int  # voluntary context switches: each one ended with a wake-up
    cpu_ns: int


def threads(server: Server) -> dict[int, Thread]:
    found = {}
    for task in Path(f"/proc/{server.pid}/task").iterdir():
        status = dict(line.split(":\t", 1) for line in (task / "status").read_text().splitlines() if ":\t" in line)
        cpu_ns = int((task / "schedstat").read_text().split()[0])
        found[int(task.name)] = Thread(status["Name"], int(status["voluntary_ctxt_switches"]), cpu_ns)
    return found


def run(quick: bool) -> list[Outcome]:
    seconds = 5 if quick else 20
    outcome = Outcome(
        "idle",
        f"An idle uvicorn for {seconds} s",
        ["loop", "thread", "wake-ups", "per wake-up of the loop", "% of a core"],
    )
    for loop in LOOPS:
        with uvicorn(loop, watched=True) as server:
            time.sleep(2)
            before = threads(server)
            time.sleep(seconds)
            after = threads(server)
        of_loop = after[server.pid].sleeps - before[server.pid].sleeps
        for tid, thread in sorted(after.items()):
            earlier = before.get(tid, Thread(thread.name, 0, 0))
            wakes, cpu_ns = thread.sleeps - earlier.sleeps, thread.cpu_ns - earlier.cpu_ns
            if not wakes and not cpu_ns:
                continue  # libuv's pool
            name = "the loop's" if tid == server.pid else thread.name
            outcome.add(
                [loop, name, str(wakes), f"{wakes / max(of_loop, 1):.2f}", f"{cpu_ns / seconds / 1e7:.3f}"],
                loop=loop,
                thread=name,
                wakes=wakes,
                loop_wakes=of_loop,
                cpu_ns=cpu_ns,
                seconds=seconds,
            )
    return [outcome]
