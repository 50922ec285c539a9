"""No stack is ever shown that the program never had, however fast it calls.

The thread goes on running while its frames are read, so a sample may mix frames of different moments. Here programs do
their worst to make that happen, and a judge that knows all the stacks they can have looks at every sample, by the way
of the product: loop, watchdog, recording, reader.
"""

from __future__ import annotations

import inspect
import itertools
import json
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from loopwatch.stack import Frame
from tests.integration import workloads
from tests.integration.judge import Calls
from tests.integration.sampling import Seen, sample
from tests.integration.stepping import REFUSED
from tests.integration.trial import Verdict

# A stack that is invented once in a while is what this is about.
pytestmark = pytest.mark.flaky(reruns=0)

ROOT = Path(__file__).parents[2]
MILLIONS = 1.0
BUDGET = 90.0  # seconds
INSTRUCTIONS = 30_000  # of each workload


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Others that want the cores as well."""
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in busy:
            process.kill()
            process.wait()


def hold_trial(millions: float) -> list[Verdict]:
    """Run the trial to its end."""
    command = [sys.executable, "-m", "tests.integration.trial", str(millions), str(BUDGET)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * BUDGET)
    assert done.returncode == 0, done.stderr
    verdicts = [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]
    for verdict in verdicts:
        torn = verdict.torn / max(1, verdict.torn + verdict.taken)
        outer = verdict.outer / max(1, verdict.taken)
        share = f"{torn:6.1%} torn, of the others {outer:6.1%} only the outer frames"
        print(f"{verdict.name:16} {verdict.taken:8} samples, {share}, {verdict.faults or 'none wrong'}")
    return verdicts


@pytest.mark.alone
@pytest.mark.timeout(3 * BUDGET)
@pytest.mark.parametrize("others", [0, 2], ids=["quiet", "contended"])
def test_a_million_samples(others: int) -> None:
    """In every kind of code. Other processes stop the two threads at any moment, hence the one in a million."""
    with busy_processes(others):
        verdicts = hold_trial(MILLIONS)
    assert {verdict.name for verdict in verdicts} == set(workloads.WORKLOADS)
    assert sum(verdict.taken - verdict.outer for verdict in verdicts) >= MILLIONS * 1e6
    assert sum(verdict.outer for verdict in verdicts) >= MILLIONS * 1000
    assert all(verdict.taken > 0 and verdict.distinct > 2 and not verdict.omitted for verdict in verdicts)
    faults = {verdict.name: verdict.faults for verdict in verdicts if verdict.faults}
    wrong = sum(sum(each.values()) for each in faults.values())
    assert wrong <= (MILLIONS if others else 0), faults


def steps_get_on() -> bool:
    """Whether a program that stops after every instruction gets anywhere. On ARM before 8.1 (seen under emulation) the
    same few are run over and over: an atomic operation is a loop there, which begins again when it is interrupted."""
    cpus = Path("/proc/cpuinfo")
    return platform.machine() != "aarch64" or not cpus.exists() or " atomics" in cpus.read_text()


@pytest.mark.timeout(3 * BUDGET)
@pytest.mark.skipif(sys.platform != "linux", reason="as Linux has ptrace")
@pytest.mark.skipif(not steps_get_on(), reason="steps do not get on without atomic instructions")
def test_after_every_instruction() -> None:
    """Whoever is stopped by a busy machine may be stopped anywhere, and shows the same frames all the time: it is their
    state itself that must not be taken for a stack that never was, nor for none at all."""
    command = [sys.executable, "-m", "tests.integration.stepping", str(INSTRUCTIONS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2 * BUDGET)
    if done.returncode == REFUSED:
        pytest.skip("a process may not trace its child here")
    assert done.returncode == 0, done.stderr
    verdicts = [Verdict(**json.loads(line)) for line in done.stdout.splitlines()]
    assert {verdict.name for verdict in verdicts} == set(workloads.WORKLOADS)
    assert [verdict for verdict in verdicts if verdict.faults or verdict.omitted] == []
    assert [verdict for verdict in verdicts if verdict.taken < verdict.torn] == []


NUMBERS = [0] * 20_000 + [1]


def climb(number: int) -> int:
    for _ in range(10_000):
        number += 1
    return number


def step(number: int) -> int:
    return climb(number)


def from_two_lines() -> None:
    """Calls the same function for a while from one line, then much longer from another. Both times through C code that
    takes its time, so that the line is seen by itself as well."""
    sum(map(step, filter(None, NUMBERS * 2)))  # first
    sum(map(step, filter(None, NUMBERS * 60)))  # second


def test_a_line_is_not_remembered() -> None:
    """What is known from the last sample must not outlive it: what is called later is called from the later line. A
    busy machine may stop the program at the first line, and then it is seen there more often than its share."""
    samples = sample([from_two_lines] * 20)
    source, start = inspect.getsourcelines(from_two_lines)
    seen: Counter[str] = Counter()
    for stack, count in samples.stacks.items():
        if stack[-1].function == climb.__name__:
            caller = next(frame for frame in reversed(stack) if frame.function == from_two_lines.__name__)
            seen[source[caller.line - start].partition("# ")[2].strip()] += count
    assert 0 < 3 * seen["first"] < seen["second"], seen


@pytest.fixture(scope="module", params=["functions", "generators", "exceptions", "class_bodies", "dunders"])
def case(request: pytest.FixtureRequest) -> tuple[Calls, list[Seen]]:
    """What the judge knows of a workload, and real samples of it that go all the way down."""
    work = workloads.WORKLOADS[request.param]
    calls = Calls()
    calls.learn(work)
    stacks: dict[Seen, int] = {}
    for _ in range(100):  # a busy machine, or one that is in step with the work, shows the same ones for a while
        stacks |= {stack: 1 for stack in sample([work] * 5).stacks if is_deep(stack)}
        if len({stack[-1].function for stack in stacks}) > 1 and len(stacks) > 6:
            break
    return calls, list(stacks)


def is_deep(stack: Seen) -> bool:
    """Whether it goes down to functions of a workload that another one has called."""
    return len(stack) > 1 and {stack[-1].file, stack[-2].file} <= workloads.FILES


def test_the_judge_passes_what_occurs(case: tuple[Calls, list[Seen]]) -> None:
    """A judge that finds fault with everything is easily had."""
    calls, stacks = case
    assert len(stacks) > 6
    assert [fault for stack in stacks if (fault := calls.fault(stack))] == []


def test_the_judge_catches_mixtures(case: tuple[Calls, list[Seen]]) -> None:
    """A caller from one stack, its callee from another."""
    calls, stacks = case
    callees: dict[Frame, set[str]] = {}
    for stack in stacks:
        for caller, callee in itertools.pairwise(stack):
            callees.setdefault(caller, set()).add(callee.function)
    mixed = 0
    for one, other in itertools.product(stacks, stacks):
        *below, caller, callee = one
        # in these workloads a place that calls one function never calls another
        if callees[caller] == {callee.function} and other[-1].function != callee.function:
            mixed += 1
            assert calls.fault((*below, caller, other[-1]))
    assert mixed > 0


def test_the_judge_catches_small_errors(case: tuple[Calls, list[Seen]]) -> None:
    """A caller at another line or column, a frame left out, a line that is not in the function, nothing below."""
    calls, stacks = case
    *below, caller, innermost = stacks[0]
    for wrong in (
        (*below, replace(caller, line=caller.line + 1), innermost),
        (*below, replace(caller, column=(caller.column or 0) + 1), innermost),
        (*below, innermost),
        (*below, caller, caller, innermost),
        (*below, caller, replace(innermost, line=1)),
        (innermost,),
    ):
        assert calls.fault(wrong), wrong
