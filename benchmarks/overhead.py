"""What watching costs: nanoseconds per loop iteration, and the req/s and CPU time of a saturated server."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import asdict, dataclass

from benchmarks.load import CONNECTIONS, drive, generator
from benchmarks.outcome import Outcome, spread
from benchmarks.watched import ROOT, Server, uvicorn

LOOPS = ["asyncio", "uvloop"]


def iteration(quick: bool) -> Outcome:
    pairs = 30 if quick else 200  # many short ones: what else the machine does then falls on both of a pair
    outcome = Outcome(
        "iteration",
        f"One loop iteration with one callback, ns: median [quartiles] of {pairs} pairs",
        ["loop", "without", "with", "more", "more CPU of the process"],
    )
    for loop in LOOPS:
        command = [sys.executable, "-m", "benchmarks.iteration", loop, str(pairs)]
        output = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout
        found: list[tuple[tuple[float, float], tuple[float, float]]] = json.loads(output)
        outcome.add(
            [
                loop,
                spread([bare[0] for bare, _ in found], 0),
                spread([watched[0] for _, watched in found], 0),
                spread([watched[0] - bare[0] for bare, watched in found], 0),
                spread([watched[1] - bare[1] for bare, watched in found], 0),
            ],
            loop=loop,
            pairs_ns=found,
        )
    return outcome


@dataclass(frozen=True, slots=True)
class Slice:
    """One stretch of load on one server."""

    per_second: float
    loop_us: float  # CPU time of the loop's thread, per request
    others_us: float  # of the other threads: the watchdog

    @property
    def cpu_us(self) -> float:
        return self.loop_us + self.others_us


def load(server: Server, seconds: int) -> Slice:
    loop_before, others_before = server.cpu_seconds()
    done = drive(server.url, seconds)
    loop, others = server.cpu_seconds()
    per_request = 1e6 / done.requests
    return Slice(
        done.requests / done.seconds, (loop - loop_before) * per_request, (others - others_before) * per_request
    )


def in_turns(one: Server, other: Server, pairs: int, seconds: int) -> list[tuple[Slice, Slice]]:
    """Two servers loaded in turns, which change their order. The one that rests takes no CPU."""
    load(one, 1)
    load(other, 1)
    found = []
    for pair in range(pairs):
        if pair % 2:
            first, second = load(one, seconds), load(other, seconds)
        else:
            second, first = load(other, seconds), load(one, seconds)
        found.append((first, second))
    return found


def one_round(loop: str, pairs: int, seconds: int) -> list[tuple[Slice, Slice]]:
    """Two servers, the second one watched."""
    with uvicorn(loop, watched=False) as bare, uvicorn(loop, watched=True) as watched:
        return in_turns(bare, watched, pairs, seconds)


def requests(quick: bool) -> Outcome:
    # New servers every round, since one process can be luckier with its memory than another.
    rounds, pairs, seconds = (1, 4, 1) if quick else (5, 6, 2)
    outcome = Outcome(
        "requests",
        f"uvicorn + FastAPI, {CONNECTIONS} connections, {generator()}: median [quartiles]",
        ["loop", "req/s without", "with", "ratio", "CPU per request", "of it watchdog"],
    )
    for loop in LOOPS:
        found = [pair for _ in range(rounds) for pair in one_round(loop, pairs, seconds)]
        ratios = [watched.per_second / bare.per_second for bare, watched in found]
        cpu_ratios = [watched.cpu_us / bare.cpu_us for bare, watched in found]
        outcome.add(
            [
                loop,
                spread([bare.per_second for bare, _ in found], 0),
                spread([watched.per_second for _, watched in found], 0),
                spread(ratios, 3),
                f"{spread(cpu_ratios, 3)} ×",
                f"{statistics.median(watched.others_us / watched.cpu_us for _, watched in found):.1%}",
            ],
            loop=loop,
            pairs=[(asdict(bare), asdict(watched)) for bare, watched in found],
        )
    if generator() != "wrk":
        outcome.notes.append("wrk is not installed: a slower client of our own shares the cores with the server")
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [iteration(quick), requests(quick)]
