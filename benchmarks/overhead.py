"""What watching costs: nanoseconds per loop iteration, and the req/s and CPU time of a saturated server."""

from __future__ import annotations

import statistics
from dataclasses import asdict

from benchmarks.load import CONNECTIONS, Slice, in_turns
from benchmarks.loops import LOOPS, SERVERS
from benchmarks.outcome import Outcome, spread
from benchmarks.watched import printed, uvicorn


def iteration(quick: bool) -> Outcome:
    pairs = 30 if quick else 200  # many short ones: what else the machine does then falls on both of a pair
    outcome = Outcome(
        "iteration",
        f"One loop iteration with one callback, ns: median [quartiles] of {pairs} pairs",
        ["loop", "without", "with", "more", "more CPU of the process"],
    )
    for loop in LOOPS:
        found: list[tuple[tuple[float, float], tuple[float, float]]] = printed("iteration", loop, str(pairs))
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


def one_round(loop: str, http: str, pairs: int) -> list[tuple[Slice, ...]]:
    """Two servers, the second one watched."""
    with uvicorn(loop, watched=False, http=http) as bare, uvicorn(loop, watched=True, http=http) as watched:
        return in_turns([bare, watched], pairs)


def requests(quick: bool) -> Outcome:
    # New servers every round, since one process can be luckier with its memory than another.
    rounds, pairs = (2, 40) if quick else (10, 100)
    outcome = Outcome(
        "requests",
        f"uvicorn + FastAPI, {CONNECTIONS} connections: median [quartiles] of {rounds * pairs} pairs of moments",
        ["loop", "parser", "req/s without", "with", "ratio", "CPU per request", "of it watchdog"],
    )
    for loop, http in SERVERS:
        found = [pair for _ in range(rounds) for pair in one_round(loop, http, pairs)]
        ratios = [watched.per_second / bare.per_second for bare, watched in found]
        cpu_ratios = [watched.cpu_us / bare.cpu_us for bare, watched in found]
        outcome.add(
            [
                loop,
                http,
                spread([bare.per_second for bare, _ in found], 0),
                spread([watched.per_second for _, watched in found], 0),
                spread(ratios, 3),
                f"{spread(cpu_ratios, 3)} ×",
                f"{statistics.median(watched.others_us / watched.cpu_us for _, watched in found):.1%}",
            ],
            loop=loop,
            http=http,
            pairs=[(asdict(bare), asdict(watched)) for bare, watched in found],
        )
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [iteration(quick), requests(quick)]
