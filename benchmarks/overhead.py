"""What watching costs: nanoseconds per loop iteration, and the req/s and CPU time of a saturated server."""

from __future__ import annotations

import statistics
from dataclasses import asdict

from benchmarks.level import Level, halves
from benchmarks.load import CONNECTIONS, Slice, in_turns
from benchmarks.loops import LOOPS, SERVERS
from benchmarks.outcome import Outcome, spread
from benchmarks.watched import both_kinds, printed


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


def requests(quick: bool) -> Outcome:
    rounds, copies, turns = (2, 2, 20) if quick else (5, 4, 50)
    outcome = Outcome(
        "requests",
        f"uvicorn + FastAPI, {CONNECTIONS} connections: {rounds * copies} servers without and as many with",
        ["loop", "parser", "req/s without", "with", "ratio", "CPU per request", "of it watchdog"],
    )
    for loop, http in SERVERS:
        level, found = Level(), list[list[tuple[Slice, ...]]]()
        for number in range(rounds):
            with both_kinds(loop, copies, watched_first=number % 2 == 1, http=http) as servers:
                found.append(in_turns(servers, turns))
            level.include(Level.of(found[-1]))
        sides = [halves(turn) for each in found for turn in each]
        bare, watched = ([each for side in all_of_it for each in side] for all_of_it in zip(*sides, strict=True))
        cpu_ratios = [
            statistics.mean(each.cpu_us for each in ours) / statistics.mean(each.cpu_us for each in theirs)
            for theirs, ours in sides
        ]
        outcome.add(
            [
                loop,
                http,
                spread([each.per_second for each in bare], 0),
                spread([each.per_second for each in watched], 0),
                str(level),
                f"{spread(cpu_ratios, 3)} ×",
                f"{statistics.median(each.others_us / each.cpu_us for each in watched):.1%}",
            ],
            loop=loop,
            http=http,
            level=asdict(level),
            rounds=[[[asdict(each) for each in turn] for turn in each_round] for each_round in found],
        )
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [iteration(quick), requests(quick)]
