"""A context tells whom it works for, whatever else it holds and whoever has inherited it (csrc/cpython/badge.h).

The tables of variables that requests leave behind are used again: what a context says, and every other variable, must
be as if each request had its own.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import random
import sys
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

import loopwatch
from loopwatch import _core
from tests.integration.watched_program import LOOPS

KEPT = 256  # badges, KEPT_MOST of csrc/cpython/badge.c
DEPTH = 4  # of tasks and requests inside one another

Held = dict[int, object]  # the values of `variables` by their index
Work = Callable[..., Awaitable[None]]
Run = Callable[[Coroutine[Any, Any, None]], None]

# Enough of them that their table has nodes below its root.
variables = [contextvars.ContextVar[object](f"test{number}", default=None) for number in range(40)]


def request(work: Work, *arguments: Any) -> Awaitable[None]:
    """Have it work for a new request, whose number it is called with."""
    one = _core.Request()
    return _core.drive(one, work, one.number, *arguments)


async def as_task(work: Awaitable[None]) -> None:
    """In a context of its own, copied from this one."""

    async def working() -> None:
        await work

    await asyncio.create_task(working())


async def says_so(number: int) -> None:
    assert _core.whose() == number


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine on each kind of loop."""
    kind = request.param
    factory = pytest.importorskip("uvloop").new_event_loop if kind == "uvloop" else asyncio.new_event_loop

    def running(main: Coroutine[Any, Any, None]) -> None:
        # Badges are used again where a watch has seen that it works.
        with loopwatch.watching(threshold=1), asyncio.Runner(loop_factory=factory) as runner:
            runner.run(main)

    return running


class Program:
    """Requests, tasks and variables at random, each checked against what it would be with tables of its own."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.left_behind: list[asyncio.Task[None]] = []
        self.values = 0

    async def main(self) -> None:
        held: Held = {}
        for index in self.random.sample(range(len(variables)), self.random.choice([0, 1, 35])):
            self.set(held, index)
        for _ in range(self.random.randrange(150)):
            many = self.random.randrange(1, 9)
            await asyncio.gather(*(as_task(request(self.work, dict(held), 0)) for _ in range(many)))
            self.check(0, held)
        await asyncio.gather(*self.left_behind)

    async def work(self, number: int, held: Held, depth: int) -> None:
        """In a context that works for this request and holds these values."""
        for _ in range(self.random.randrange(1, 5)):
            self.check(number, held)
            choice = self.random.randrange(5 if depth < DEPTH else 3)
            if choice == 0:
                await asyncio.sleep(0)
            elif choice == 1:
                self.set(held, self.random.randrange(len(variables)))
            elif choice == 2:
                self.left_behind.append(asyncio.create_task(self.later(number, dict(held))))
            elif choice == 3:
                await asyncio.create_task(self.work(number, dict(held), depth + 1))
            else:  # another request in the same context: what it sets stays there
                await request(self.work, held, depth + 1)
        self.check(number, held)

    async def later(self, number: int, held: Held) -> None:
        """What goes on when the request is long over."""
        for _ in range(self.random.randrange(60)):
            await asyncio.sleep(0)
        self.check(number, held)

    def set(self, held: Held, index: int) -> None:
        self.values += 1
        variables[index].set(self.values)
        held[index] = self.values

    def check(self, number: int, held: Held) -> None:
        assert _core.whose() == number
        assert {index: value for index, each in enumerate(variables) if (value := each.get()) is not None} == held


@pytest.mark.parametrize("seed", range(12))
def test_any_program(seed: int, run: Run) -> None:
    run(Program(seed).main())


def test_left_behind_by_one_of_many(run: Run) -> None:
    """A task works for its own request still when every badge has been used again many times."""
    go_on = asyncio.Event()
    tasks = []

    async def later(number: int) -> None:
        await go_on.wait()
        assert _core.whose() == number

    async def leaves(number: int) -> None:
        tasks.append(asyncio.create_task(later(number)))

    async def main() -> None:
        for count in range(4 * KEPT):
            await as_task(request(leaves if count % 50 == 25 else says_so))
        go_on.set()
        await asyncio.gather(*tasks)

    run(main())
    assert len(tasks) > 10


def test_in_another_context(run: Run) -> None:
    """Where it ends somewhere else, its own context says so on, and the other one is left alone."""

    async def waits(number: int) -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        for _ in range(5):
            one, two = contextvars.copy_context(), contextvars.copy_context()
            first, second = request(waits), request(waits)
            one.run(first.send, None)  # type: ignore[attr-defined]
            two.run(second.send, None)  # type: ignore[attr-defined]
            numbers = one.run(_core.whose), two.run(_core.whose)
            two.run(first.close)  # type: ignore[attr-defined]
            assert (one.run(_core.whose), two.run(_core.whose)) == numbers
            del first, one
            two.run(second.close)  # type: ignore[attr-defined]
            assert two.run(_core.whose) == 0

    run(main())


class Value:
    """Can be referred to weakly."""

    context: contextvars.Context | None = None


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_values_are_let_go(in_a_cycle: bool, run: Run) -> None:
    """What the loop was started with goes when it ends, at the latest."""
    value = Value()
    seen = weakref.ref(value)

    async def main() -> None:
        for _ in range(10):
            await as_task(request(says_so))

    def started(value: Value) -> None:
        variables[0].set(value)
        if in_a_cycle:
            value.context = contextvars.copy_context()
        run(main())

    contextvars.Context().run(started, value)
    del value
    gc.collect()
    assert seen() is None


def test_values_of_a_request_are_let_go(run: Run) -> None:
    """Also where a task inherits them, so that its request does not begin with what the loop was started with."""

    async def main() -> None:
        gc.disable()
        try:
            for _ in range(20):
                value = Value()
                seen = weakref.ref(value)

                async def outside(value: Value) -> None:
                    variables[0].set(value)
                    await as_task(request(says_so))

                await as_task(outside(value))
                await asyncio.sleep(0)
                del value
                assert seen() is None
        finally:
            gc.enable()

    run(main())


def test_nothing_piles_up(run: Run) -> None:
    async def main() -> None:
        async def batch() -> int:
            for count in range(8 * KEPT):
                await as_task(request(says_so))
                if count % 100 == 0:
                    await asyncio.gather(*(as_task(request(says_so)) for _ in range(KEPT + 50)))
            gc.collect()
            return sys.getallocatedblocks()

        await batch()
        before = await batch()
        assert await batch() - before < 200

    run(main())
