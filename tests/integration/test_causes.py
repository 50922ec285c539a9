"""What the thread was doing in a stall: recorded for real programs, on both loops. Most of the time counts, since any
machine starves a program now and then."""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.watched_program import LOOPS, run_program

PRELUDE = """
import gc, hashlib, json as json_, os, pickle, re, socket

TEXT = []
DATA = bytes(40_000_000)

def until(seconds):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        yield

def python():
    total = 0
    for _ in until(0.06):
        for number in range(1000):
            total = (total * 31 + number) % 1_000_003

def step(number):
    return number * 31 % 1_000_003

def small_calls():
    for _ in until(0.06):
        for number in range(100):
            step(number)

def descend(depth):
    return descend(depth - 1) + descend(depth - 2) if depth > 1 else 1

def recursion():
    for _ in until(0.06):
        descend(10)

def leaves(depth):
    if depth:
        yield from leaves(depth - 1)
        yield from leaves(depth - 1)
    yield depth

def generators():
    for _ in until(0.06):
        sum(leaves(7))

def empty_loop():
    for _ in range(3_000_000):
        pass

def held_call():
    json_.loads(TEXT[0])

def expression():
    re.match(r"(a+)+$", "a" * 22 + "b")

def released_call():
    hashlib.sha256(DATA).digest()

def sleep():
    time.sleep(0.06)

def receive():
    one, other = socket.socketpair()
    one.settimeout(0.06)
    try:
        one.recv(1)
    except TimeoutError:
        pass
    one.close()
    other.close()

def lock():
    taken = threading.Lock()
    taken.acquire()
    threading.Timer(0.06, taken.release).start()
    taken.acquire()

def collect():
    GARBAGE[0].append(GARBAGE)
    gc.collect()

GARBAGE = []

def make_garbage():
    GARBAGE.extend([number] for number in range(400_000))

def make_text():
    TEXT.append(json_.dumps([{"a": number, "b": str(number)} for number in range(150_000)]))
"""

CASES = {
    "python": "python",
    "empty_loop": "python",
    "small_calls": "python",
    "recursion": "python",
    "generators": "python",
    "held_call": "native",
    "expression": "native",
    "released_call": "native",
    "sleep": "blocked",
    "receive": "blocked",
    "lock": "blocked",
    "collect": "gc",
}
HELD = {"held_call": True, "expression": True, "released_call": False}


def stalls_of(folder: Path) -> list[dict[str, Any]]:
    """The records of stalls with causes, with the names of the holders' functions in them."""
    found = []
    for file in folder.glob("rec/*.jsonl"):
        codes: dict[int, str] = {}
        frames: dict[int, str] = {}
        stacks: dict[int, tuple[int | None, str]] = {}
        for line in file.read_text("utf-8").splitlines():
            record = json.loads(line)
            match record["t"]:
                case "code":
                    codes[record["id"]] = record["name"]
                case "frame":
                    frames[record["id"]] = codes[record["code"]]
                case "stack":
                    stacks[record["id"]] = (record["parent"], frames[record["frame"]])
                case "stall" if "causes" in record:
                    record["held_by"] = {
                        function for stack, _, _ in record["holders"] for function in functions(stacks, stack)
                    }
                    found.append(record)
    return found


def functions(stacks: dict[int, tuple[int | None, str]], stack: int | None) -> set[str]:
    names = set()
    while stack is not None:
        stack, name = stacks[stack]
        names.add(name)
    return names


def causes_of(stalls: list[dict[str, Any]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for stall in stalls:
        total.update(stall["causes"])
    return total


def without_machine(causes: Counter[str]) -> Counter[str]:
    """Without what a busy machine adds to everything."""
    return Counter({cause: ns for cause, ns in causes.items() if cause != "starved"})


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("work", CASES)
def test_a_cause(tmp_path: Path, work: str, loop: str) -> None:
    run_program(
        tmp_path,
        PRELUDE
        + f"""
async def main():
    make_garbage() if {work == "collect"} else None
    for _ in range(3):
        await asyncio.sleep(0.005)
        {work}()
    await asyncio.sleep(0.005)

make_text() if {work == "held_call"} else None
loopwatch.start(record="rec")
run(main())
""",
        loop,
    )
    stalls = [stall for stall in stalls_of(tmp_path) if stall["samples"] > 5]
    causes = causes_of(stalls)
    most, time = without_machine(causes).most_common(1)[0]
    if work == "collect":  # making the garbage was a stall as well
        most, time = ("gc", causes["gc"]) if causes["gc"] > 20e6 else (most, time)
    assert most == CASES[work], causes
    for stall in stalls:  # each nanosecond has one cause
        assert abs(sum(stall["causes"].values()) - (stall["end"] - stall["start"])) < 1000, stall
        assert 0 <= stall["gil_held"] <= stall["causes"].get("native", 0)
        assert stall["longest"] <= stall["end"] - stall["start"]
    if work in HELD:
        held = sum(stall["gil_held"] for stall in stalls) / causes["native"]
        assert held > 0.9 if HELD[work] else held < 0.1, held
    if CASES[work] == "blocked":
        assert sum(stall["cpu"] for stall in stalls) < 0.2 * sum(stall["cpu_wall"] for stall in stalls)


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("holder", ["expression", "python"])
def test_another_thread_holds_the_gil(tmp_path: Path, holder: str, loop: str) -> None:
    """The wait is in the iteration, since it begins when the poll has returned, and the holder is named."""
    run_program(
        tmp_path,
        PRELUDE
        + f"""
def held():
    sys.setswitchinterval(0.05)
    end = time.perf_counter() + 0.4
    while time.perf_counter() < end:
        {holder}()

async def main():
    await asyncio.sleep(0.005)
    task = asyncio.ensure_future(asyncio.to_thread(held))
    while not task.done():
        await asyncio.sleep(0.001)

loopwatch.start(record="rec")
run(main())
""",
        loop,
    )
    stalls = stalls_of(tmp_path)
    assert without_machine(causes_of(stalls)).most_common(1)[0][0] == "gil", causes_of(stalls)
    assert any("held" in stall["held_by"] for stall in stalls)


@pytest.mark.parametrize("loop", LOOPS)
def test_one_long_callback_or_many(tmp_path: Path, loop: str) -> None:
    """How long the longest callback was, as far as samples tell."""
    run_program(
        tmp_path,
        """
async def main():
    await asyncio.sleep(0.005)
    time.sleep(0.1)
    await asyncio.sleep(0.005)
    for _ in range(30):
        asyncio.get_running_loop().call_soon(time.sleep, 0.004)
    await asyncio.sleep(0.005)

loopwatch.start(record="rec")
run(main())
""",
        loop,
    )
    single, pile = [stall for stall in stalls_of(tmp_path) if stall["end"] - stall["start"] > 90e6]
    assert single["longest"] > 0.8 * (single["end"] - single["start"])
    assert pile["longest"] < 0.5 * (pile["end"] - pile["start"])


STARVING = """
import subprocess

async def main():
    await asyncio.sleep(0.005)
    core = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    others = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(3)]
    time.sleep(0.3)
    try:
        for _ in range(3):
            await asyncio.sleep(0.005)
            total = 0
            for number in range(2_000_000):
                total = (total * 31 + number) % 1_000_003
    finally:
        for other in others:
            other.kill()
            other.wait()

loopwatch.start(record="rec")
run(main())
"""


@pytest.mark.parametrize("loop", LOOPS)
def test_a_busy_machine(tmp_path: Path, loop: str) -> None:
    """Three others on the same core: most of the time it is not the code's fault."""
    run_program(tmp_path, "import os\n" + STARVING, loop)
    stalls = [stall for stall in stalls_of(tmp_path) if stall["end"] - stall["start"] > 200e6]
    busy = [stall for stall in stalls if max(stall["causes"], key=stall["causes"].get) != "blocked"]
    causes = causes_of(busy)
    assert busy and causes.most_common(1)[0][0] == "starved", causes
    assert sum(stall["run_delay"] for stall in busy) > 0.5 * causes["starved"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_quota(tmp_path: Path, loop: str) -> None:
    """A container that may use a fifth of a CPU, and uses it up."""
    group = quota_group()
    try:
        run_program(
            tmp_path,
            PRELUDE
            + f"""
async def main():
    await asyncio.sleep(0.005)
    for _ in range(4):
        python()
        await asyncio.sleep(0.005)

with open({str(group / "cgroup.procs")!r}, "w") as file:
    file.write(str(os.getpid()))
loopwatch.start(record="rec")
run(main())
""",
            loop,
        )
        stalls = stalls_of(tmp_path)
        causes = causes_of(stalls)
        assert causes.most_common(1)[0][0] == "starved", causes
        assert sum(stall["throttled"] for stall in stalls) > 50e6
        (recording,) = (tmp_path / "rec").glob("*.jsonl")
        with recording.open() as lines:
            assert json.loads(next(lines))["cpu_quota"] == 0.2
    finally:
        group.rmdir()


def quota_group() -> Path:
    """A control group of its own with a quota; without the right to make one the test is skipped."""
    for base, settings in (
        ("/sys/fs/cgroup", {"cpu.max": "20000 100000"}),
        ("/sys/fs/cgroup/cpu", {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "20000"}),
    ):
        group = Path(base, f"loopwatch-test-{os.getpid()}")
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            for name, value in settings.items():
                with group.joinpath(name).open("r+") as file:  # there already, or this is no control group
                    file.write(value)
        except OSError:
            group.rmdir()
            continue
        return group
    pytest.skip("no right to make a control group with a CPU quota here")


def test_descriptors_are_given_back(tmp_path: Path) -> None:
    """Loops come and go; the watchdog's thread, which has a table of its own, looks at each of their threads."""
    output, _ = run_program(
        tmp_path,
        """
        def count():
            others = [task for task in os.listdir("/proc/self/task") if int(task) != os.getpid()]
            return max(len(os.listdir(f"/proc/self/task/{task}/fd")) for task in others)

        async def main():
            await asyncio.sleep(0)
            time.sleep(0.02)
            await asyncio.sleep(0.02)

        loopwatch.start(record="rec")
        loops = [new_loop() for _ in range(40)]  # all at once, so that each is another one
        loops[0].run_until_complete(main())
        before = count()
        for loop in loops:
            loop.run_until_complete(main())
        after = count()
        for loop in loops:
            loop.close()
        print(before, after)
        """,
    )
    before, after = map(int, output.split())
    assert after <= before + 4, (before, after)
