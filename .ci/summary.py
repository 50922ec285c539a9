"""Add up what .ci/run did: one line per step, every skip with its reason, then one line for all.

Reads steps.tsv (label, exit status or "absent", seconds) and one JUnit file per interpreter. A step that ran
tests and left no JUnit file, or one without a test, has failed.
"""

from __future__ import annotations

import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)

    def line(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped.total()} skipped"


def read_junit(path: Path) -> Tally:
    tally = Tally()
    for case in ElementTree.parse(path).iter("testcase"):
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed += 1
            tally.failures.append(f"{case.get('classname')}::{case.get('name')}")
        elif skipped is not None:
            tally.skipped[skipped.get("message") or "no reason given"] += 1
        else:
            tally.passed += 1
    return tally


def read_step(label: str, status: str, folder: Path) -> Tally:
    """The tests of one step; a step that is no test run counts only when it failed."""
    tally = Tally()
    if re.fullmatch(r"\d+\.\d+", label):
        try:
            tally = read_junit(folder / f"{label}.xml")
        except (OSError, ElementTree.ParseError):
            tally.failures.append("no readable result of the tests")
        if not tally.passed and not tally.failed:
            status = status if status != "0" else "no test ran"
    if status != "0" and not tally.failed:
        tally.failed = 1
        tally.failures.append(f"status {status}")
    return tally


def main(folder: Path) -> int:
    total, tests_ran = Tally(), False
    reasons: list[str] = []
    print("\n=== summary")
    for row in (folder / "steps.tsv").read_text().splitlines():
        label, status, seconds = row.split("\t")
        if status == "absent":
            print(f"{label:13} not on this machine")
            continue
        tally = read_step(label, status, folder)
        tests_ran |= tally.passed > 0
        is_run = tally.passed or tally.failed
        print(f"{label:13} {tally.line() if is_run else 'passed'} in {seconds} s")
        reasons += [f"  {label} failed: {name}" for name in tally.failures]
        reasons += [f"  {label} skipped {count}: {reason}" for reason, count in tally.skipped.most_common()]
        total.passed += tally.passed
        total.failed += tally.failed
        total.skipped += tally.skipped
    for reason in reasons:
        print(reason)
    print(total.line())
    return 0 if tests_ran and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
