"""Stalls whose length and line are known: the program measures itself while loopwatch watches it.

`python -m benchmarks.known_stalls --loop uvloop --repeat 3 sleep regex` runs scenarios on one loop and prints a
JSON list of what truly happened, see `Known`. The accuracy benchmark and the end-to-end tests run it as a child
process and compare the list with the report. Every line on which a scenario blocks carries the comment
`stall: <name>`, and that is how the right lines are found: this file can be edited freely.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import hashlib
import json
import pickle
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from benchmarks.loops import LOOPS, factory_of

# Between two stalls, so that each is an iteration of its own and other tasks settle.
GAP = 0.03
# Every blocking wait.
WAIT = 0.024
# CPU work, in seconds of the CPU: on a shared machine the clock may run four times as long.
WORK = 0.03
PILE = 200
PILE_STEP = 0.003


@dataclass(frozen=True, slots=True)
class Known:
    """One stall as the program saw it. `lines` are the lines of this file that may be blamed."""

    name: str
    start: float  # Unix time
    duration_ms: float
    lines: list[int]


class Clock:
    """Measures one stall from inside: `with clock:` around what blocks."""

    def __init__(self) -> None:
        self.start = 0.0
        self._begin = 0
        self._end = 0

    def __enter__(self) -> None:
        self.start = time.time()
        self._begin = time.perf_counter_ns()

    def __exit__(self, *_: object) -> None:
        self._end = time.perf_counter_ns()

    @property
    def duration_ms(self) -> float:
        return (self._end - self._begin) / 1e6


Data = TypeVar("Data")
Scenario = Callable[[Clock], Coroutine[object, object, None]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    # The name of the function, which ends in "_" where it would hide a builtin or a module.
    SCENARIOS[function.__name__.strip("_")] = function
    return function


def enough(prepare: Callable[[int], Data], work: Callable[[Data], object]) -> int:
    """The size, a power of two, at which `work(prepare(size))` takes at least WORK here."""
    size = 1
    while any(cpu_seconds(prepare(size), work) < WORK for _ in range(3)):
        size *= 2
    return size


def cpu_seconds(data: Data, work: Callable[[Data], object]) -> float:
    begin = time.thread_time()
    work(data)
    return time.thread_time() - begin


async def settle() -> None:
    """Let the loop poll, so that what comes next begins an iteration of its own."""
    await asyncio.sleep(GAP)


# --- blocking waits -----------------------------------------------------------------------------------------


@scenario
async def sleep(clock: Clock) -> None:
    with clock:
        time.sleep(WAIT)  # stall: sleep


@scenario
async def socket_(clock: Clock) -> None:
    ours, theirs = socket.socketpair()
    ours.settimeout(WAIT)
    with ours, theirs, clock, contextlib.suppress(TimeoutError):
        ours.recv(1)  # stall: socket


@scenario
async def lock(clock: Clock) -> None:
    held = threading.Lock()
    held.acquire()
    with clock:
        held.acquire(timeout=WAIT)  # stall: lock


@scenario
async def subprocess_(clock: Clock) -> None:
    with clock:
        subprocess.run(["sleep", str(WAIT)], check=True)  # stall: subprocess


@scenario
async def child_task(clock: Clock) -> None:
    async def child() -> None:
        await settle()
        with clock:
            time.sleep(WAIT)  # stall: child_task

    await asyncio.create_task(child())


@scenario
async def generator(clock: Clock) -> None:
    def slow() -> Iterator[int]:
        yield 1
        time.sleep(WAIT)  # stall: generator
        yield 2

    with clock:
        list(slow())


@scenario
async def finalizer(clock: Clock) -> None:
    class Closing:
        def __del__(self) -> None:
            time.sleep(WAIT)  # stall: finalizer

    closing = Closing()
    with clock:
        del closing


# --- after an exception that came to a coroutine by way of others which wait for it --------------------------


@scenario
async def cancelled(clock: Clock) -> None:
    async def cleaning_up() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            with clock:
                time.sleep(WAIT)  # stall: cancelled

    async def waiting() -> None:
        await cleaning_up()

    async def waiting_for_it() -> None:
        await waiting()

    task = asyncio.create_task(waiting_for_it())
    await settle()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


@scenario
async def timeout(clock: Clock) -> None:
    async def too_slow() -> None:
        try:
            async with asyncio.timeout(GAP):
                await asyncio.sleep(60)
        except TimeoutError:
            with clock:
                time.sleep(WAIT)  # stall: timeout

    async def waiting() -> None:
        await too_slow()

    await waiting()


@scenario
async def fallback(clock: Clock) -> None:
    loop = asyncio.get_running_loop()

    async def failing() -> None:
        answer = loop.create_future()
        loop.call_later(GAP, answer.set_exception, ConnectionError())
        await answer

    async def falling_back() -> None:
        try:
            await failing()
        except ConnectionError:
            with clock:
                time.sleep(WAIT)  # stall: fallback

    async def waiting() -> None:
        await falling_back()

    await waiting()


# --- callbacks that are no tasks ------------------------------------------------------------------------------


@scenario
async def reader_callback(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    done = loop.create_future()

    def readable() -> None:
        loop.remove_reader(ours)
        with clock:
            time.sleep(WAIT)  # stall: reader_callback
        done.set_result(None)

    with ours, theirs:
        ours.setblocking(False)
        loop.add_reader(ours, readable)
        loop.call_later(GAP, theirs.send, b"x")
        await done


@scenario
async def protocol_callback(clock: Clock) -> None:
    loop = asyncio.get_running_loop()
    done = loop.create_future()

    class Blocking(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            with clock:
                time.sleep(WAIT)  # stall: protocol_callback
            done.set_result(None)

    ours, theirs = socket.socketpair()
    transport, _ = await loop.create_connection(Blocking, sock=ours)
    with theirs:
        loop.call_later(GAP, theirs.send, b"x")
        await done
        transport.close()


@scenario
async def pile(clock: Clock) -> None:
    """Many callbacks that are each too short to be a stall, all ready in one iteration."""
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = PILE

    def short() -> None:
        nonlocal left
        if left == PILE:
            clock.__enter__()
        time.sleep(PILE_STEP)  # stall: pile
        left -= 1
        if not left:
            clock.__exit__()
            done.set_result(None)

    def start() -> None:
        for _ in range(PILE):
            loop.call_soon(short)

    loop.call_later(GAP, start)
    await done


# --- CPU work -------------------------------------------------------------------------------------------------

_sizes: dict[str, int] = {}


async def compute(clock: Clock, name: str, prepare: Callable[[int], Data], work: Callable[[Data], object]) -> None:
    """Measure one call of `work` on data for which it takes long enough; nothing else in that iteration."""
    if name not in _sizes:
        _sizes[name] = enough(prepare, work)
    data = prepare(_sizes[name])
    await settle()
    with clock:
        work(data)
    await settle()  # freeing the data takes time too


@scenario
async def python_loop(clock: Clock) -> None:
    def work(count: int) -> int:
        total = 0
        for number in range(count):  # stall: python_loop
            total += number * number % 7  # stall: python_loop
        return total

    await compute(clock, "python_loop", int, work)


@scenario
async def small_calls(clock: Clock) -> None:
    """No stack of it lasts as long as it takes to read one."""

    def step(number: int) -> int:
        return number * number % 7  # stall: small_calls

    def two_steps(number: int) -> int:
        return step(number) + step(number + 1)  # stall: small_calls

    def work(count: int) -> None:
        for number in range(count):  # stall: small_calls
            two_steps(number)  # stall: small_calls

    await compute(clock, "small_calls", int, work)


@scenario
async def recursion(clock: Clock) -> None:
    def work(depth: int) -> int:
        return work(depth - 1) + work(depth - 2) if depth > 1 else 1  # stall: recursion

    def all_of(times: int) -> None:
        for _ in range(times):  # stall: recursion
            work(12)  # stall: recursion

    await compute(clock, "recursion", int, all_of)


@scenario
async def nested_generators(clock: Clock) -> None:
    def leaves(depth: int) -> Iterator[int]:
        if depth:
            yield from leaves(depth - 1)  # stall: nested_generators
            yield from leaves(depth - 1)  # stall: nested_generators
        yield depth  # stall: nested_generators

    def work(times: int) -> None:
        for _ in range(times):  # stall: nested_generators
            sum(leaves(8))  # stall: nested_generators

    await compute(clock, "nested_generators", int, work)


@scenario
async def regex(clock: Clock) -> None:
    pattern = re.compile("a*b")  # quadratic where there is no b
    await compute(clock, "regex", "a".__mul__, lambda text: pattern.search(text))  # stall: regex


@scenario
async def sort(clock: Clock) -> None:
    def mixed(count: int) -> list[int]:
        return [number * 7919 % 1_000_003 for number in range(count)]

    await compute(clock, "sort", mixed, lambda numbers: numbers.sort())  # stall: sort


@scenario
async def json_(clock: Clock) -> None:
    row = {"name": "item", "price": 9.5, "tags": ["a", "b"]}
    await compute(clock, "json", [row].__mul__, lambda rows: json.dumps(rows))  # stall: json


@scenario
async def hash_(clock: Clock) -> None:
    await compute(clock, "hash", bytes, lambda data: hashlib.sha256(data))  # stall: hash


@scenario
async def zlib_(clock: Clock) -> None:
    await compute(clock, "zlib", b"loopwatch ".__mul__, lambda data: zlib.compress(data, 6))  # stall: zlib


@scenario
async def sqlite(clock: Clock) -> None:
    query = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) SELECT sum(i * i % 7) FROM n"
    connection = sqlite3.connect(":memory:")
    await compute(clock, "sqlite", int, lambda count: connection.execute(query, (count,)).fetchall())  # stall: sqlite
    connection.close()


@scenario
async def pickle_(clock: Clock) -> None:
    def pickled(count: int) -> bytes:
        return pickle.dumps([str(number) for number in range(count)])

    await compute(clock, "pickle", pickled, lambda data: pickle.loads(data))  # stall: pickle


# --- running them ---------------------------------------------------------------------------------------------


def lines_of(name: str) -> list[int]:
    """The lines of this file that carry the mark of a scenario."""
    mark = re.compile(rf"# stall: {name}$")
    source = Path(__file__).read_text(encoding="utf-8").splitlines()
    return [number for number, line in enumerate(source, 1) if mark.search(line)]


async def run_all(names: list[str], repeat: int) -> list[Known]:
    """Every scenario once, then all again, each between two moments of quiet.

    What `compute` does to find its sizes stalls the loop as well, in an iteration of its own; that does not count.
    """
    seen: list[Known] = []
    gc.disable()  # a collection would be a stall of its own
    for _ in range(repeat):
        for name in names:
            clock = Clock()
            await settle()
            await SCENARIOS[name](clock)
            await settle()
            seen.append(Known(name, clock.start, clock.duration_ms, lines_of(name)))
    return seen


def run_on(loop: str, names: list[str], repeat: int) -> list[Known]:
    with asyncio.Runner(loop_factory=factory_of(loop)) as runner:
        return runner.run(run_all(names, repeat))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--loop", choices=LOOPS, default="asyncio")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(SCENARIOS)}; all without one")
    arguments = parser.parse_args()
    seen = run_on(arguments.loop, arguments.names or list(SCENARIOS), arguments.repeat)
    json.dump([asdict(known) for known in seen], sys.stdout)


if __name__ == "__main__":
    main()
