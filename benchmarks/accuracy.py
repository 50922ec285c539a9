"""Known stalls against the report: were they found, on the right line, with the right length?"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.known_stalls import Known
from benchmarks.loops import LOOPS
from benchmarks.outcome import Outcome
from benchmarks.watched import report, run_watched


@dataclass(frozen=True, slots=True)
class Match:
    """A known stall and the recorded one that covers its middle, if there is one."""

    known: Known
    duration_ms: float | None = None
    place: str | None = None  # "file:line" of the user's own code; None: no sample was taken

    @property
    def right_line(self) -> bool:
        return self.place in {f"benchmarks/known_stalls.py:{line}" for line in self.known.lines}

    @property
    def error_ms(self) -> float | None:
        return None if self.duration_ms is None else self.duration_ms - self.known.duration_ms


def match(known: Known, parsed: dict[str, Any]) -> Match:
    middle = known.start + known.duration_ms / 2e3
    for stall in parsed["stalls"]:
        if stall["start"] <= middle <= stall["start"] + stall["duration_ms"] / 1e3:
            site = None if stall["site"] is None else parsed["sites"][stall["site"]]
            place = f"{site['file']}:{site['line']}" if stall["samples"] and site else None
            return Match(known, stall["duration_ms"], place)
    return Match(known)


def watch(loop: str, repeat: int) -> list[Match]:
    """Run all scenarios on one loop under `loopwatch run` and compare."""
    with tempfile.TemporaryDirectory(prefix="loopwatch-bench-") as name:
        command = [sys.executable, "-m", "benchmarks.known_stalls", "--loop", loop, "--repeat", str(repeat)]
        output = run_watched(Path(name), command)
        parsed: dict[str, Any] = report(Path(name))
        return [match(Known(**known), parsed) for known in json.loads(output)]


def row(label: list[str], matches: Iterable[Match]) -> list[str]:
    matches = list(matches)
    errors = [abs(each.error_ms) for each in matches if each.error_ms is not None]
    return [
        *label,
        f"{len(errors)}/{len(matches)}",
        f"{sum(each.right_line for each in matches)}/{len(matches)}",
        f"{statistics.median(errors):.3f}" if errors else "–",
        f"{max(errors):.3f}" if errors else "–",
    ]


def run(quick: bool) -> list[Outcome]:
    outcome = Outcome(
        "accuracy",
        "Known stalls: recorded, user's own line named, error of the duration in ms",
        ["stall", "loop", "length ms", "recorded", "right line", "error median", "worst"],
    )
    everything: list[Match] = []
    for loop in LOOPS:
        matches = watch(loop, 2 if quick else 12)
        everything += matches
        for name in dict.fromkeys(each.known.name for each in matches):
            group = [each for each in matches if each.known.name == name]
            length = statistics.median(each.known.duration_ms for each in group)
            outcome.add(
                row([name, loop, f"{length:.1f}"], group),
                loop=loop,
                name=name,
                stalls=[[each.known.duration_ms, each.duration_ms, each.place] for each in group],
            )
    outcome.add(row(["all", "", ""], everything))
    return [outcome]
