"""The workloads before the judge: `python -m tests.integration.trial MILLIONS SECONDS [WORKLOAD…]`.

Samples each workload for a while, round after round until there are so many millions of whole stacks or the time is up,
and prints one JSON line per workload. A program of its own, so that nothing but the work runs beside the watchdog.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass, field

from tests.integration.judge import Calls
from tests.integration.sampling import TURN, Samples, sample
from tests.integration.workloads import WORKLOADS

ROUND = 0.2
"""Seconds of each workload in a round."""


@dataclass
class Verdict:
    """What became of the samples of one workload. `faults`: what was wrong -> number of samples."""

    name: str
    taken: int = 0
    torn: int = 0
    outer: int = 0
    omitted: int = 0
    distinct: int = 0
    faults: dict[str, int] = field(default_factory=dict)


def judge(verdict: Verdict, calls: Calls, samples: Samples) -> None:
    """Add what was seen of the workload."""
    faults = Counter(verdict.faults)
    for stack, count in samples.stacks.items():
        fault = calls.fault(stack)
        if fault is not None:
            faults[fault] += count
    verdict.faults = dict(faults)
    verdict.taken += samples.taken
    verdict.torn += samples.torn
    verdict.outer += samples.outer
    verdict.omitted += samples.omitted
    verdict.distinct = max(verdict.distinct, len(samples.stacks))


def main(millions: float, seconds: float, names: list[str]) -> None:
    """Hold the trial."""
    end = time.monotonic() + seconds
    known = {name: Calls() for name in names or WORKLOADS}
    verdicts = [Verdict(name) for name in known]
    for name, calls in known.items():
        calls.learn(WORKLOADS[name])
    while sum(verdict.taken - verdict.outer for verdict in verdicts) < millions * 1e6 and time.monotonic() < end:
        for verdict in verdicts:
            samples = sample([WORKLOADS[verdict.name]] * round(ROUND / TURN))
            judge(verdict, known[verdict.name], samples)
    for verdict in verdicts:
        print(json.dumps(asdict(verdict)), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
