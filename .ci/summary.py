"""Add up what .ci/run did: a line per step, each skip with its reason, each rerun, a line per interpreter and for all.

Reads steps.tsv (label, exit status or "absent", seconds) and a JUnit file for each step that ran tests; the label of
such a step begins with the version. One that left no JUnit file, or one without a test, has failed.
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
    repeated: list[str] = field(default_factory=list)  # passed, but not at once

    def line(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped.total()} skipped"

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def junit(folder: Path, label: str) -> Path:
    """Where pytest leaves the results of a step."""
    return folder / f"{label.replace(' ', '-')}.xml"


def version_of(label: str) -> str | None:
    """The interpreter whose tests a step ran."""
    found = re.match(r"\d+\.\d+\b", label)
    return found[0] if found else None


def read_junit(path: Path) -> Tally:
    """What became of each test. One that was run again stands there once for each time; the last time counts."""
    tally, times = Tally(), Counter[str]()
    last: dict[str, ElementTree.Element] = {}
    for case in ElementTree.parse(path).iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        times[name] += 1
        last[name] = case
    for name, case in last.items():
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            tally.failed += 1
            tally.failures.append(name)
        elif skipped is not None:
            tally.skipped[skipped.get("message") or "no reason given"] += 1
        else:
            tally.passed += 1
            if times[name] > 1:
                tally.repeated.append(name)
    return tally


def read_step(label: str, status: str, folder: Path) -> Tally:
    """The tests of one step; a step that is no test run counts only when it failed."""
    tally = Tally()
    if version_of(label):
        try:
            tally = read_junit(junit(folder, label))
        except (OSError, ElementTree.ParseError):
            tally.failures.append("no readable result of the tests")
        if not tally.passed and not tally.failed:
            status = status if status != "0" else "no test ran"
    if status != "0" and not tally.failed:
        tally.failed = 1
        tally.failures.append(f"status {status}")
    return tally


def main(folder: Path) -> int:
    versions: dict[str, Tally] = {}
    others, reasons = Tally(), list[str]()
    print("=== summary")
    for row in sorted((folder / "steps.tsv").read_text().splitlines()):
        label, status, seconds = row.split("\t")
        if status == "absent":
            print(f"{label:13} not on this machine")
            continue
        tally = read_step(label, status, folder)
        is_run = tally.passed or tally.failed
        print(f"{label:13} {tally.line() if is_run else 'passed'} in {seconds} s")
        reasons += [f"  {label} failed: {name}" for name in tally.failures]
        reasons += [f"  {label} skipped {count}: {reason}" for reason, count in tally.skipped.most_common()]
        reasons += [f"  {label} passed when run again: {name}" for name in tally.repeated]
        version = version_of(label)
        (versions.setdefault(version, Tally()) if version else others).add(tally)
    for reason in reasons:
        print(reason)
    print()
    total = Tally()
    total.add(others)
    for version, tally in versions.items():
        print(f"CPython {version}: {tally.line()}")
        total.add(tally)
    print(total.line())
    return 0 if versions and all(tally.passed for tally in versions.values()) and not total.failed else 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
