"""Calls of functions, generators and coroutines, shallow and deep."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

from tests.integration.workloads.registry import workload

DEPTHS = random.Random(7).choices(range(1, 120), k=20)

# Two ways, which differ in code, in depth of frames and in their size.


def increase(number: int) -> int:
    number += 1
    return number


def decrease(number: int) -> int:
    less = number - 1
    return less * 3


def up(number: int) -> int:
    return increase(number)


def down(number: int) -> int:
    one, two, three = 1, 2, 3
    return decrease(number) + one + two + three


def far_up(number: int) -> int:
    return up(number)


def far_down(number: int) -> int:
    return down(number)


@workload
def functions() -> None:
    for number in range(200):
        far_up(number)
        far_down(number)


# The same function innermost: what tells the two ways apart lies further out.


def same(number: int) -> int:
    return number


def straight(number: int) -> int:
    return same(number)


def detour(number: int) -> int:
    return straight(number)


@workload
def shared_leaf() -> None:
    for number in range(200):
        straight(number)
        detour(number)
        _ = same(number), straight(number)


def counting_up(count: int) -> Iterator[int]:
    for number in range(count):
        yield increase(number)


def counting_down(count: int) -> Iterator[int]:
    for number in range(count):
        yield decrease(number)


@workload
def generators() -> None:
    for _ in range(20):
        for _ in counting_up(4):
            pass
        for _ in counting_down(4):
            pass


def delegating_up(count: int) -> Iterator[int]:
    yield from counting_up(count)


def delegating_down(count: int) -> Iterator[int]:
    yield from counting_down(count)


@workload
def yield_from() -> None:
    for _ in range(5):
        for _ in zip(delegating_up(20), delegating_down(20), strict=True):
            pass


def rescued_up() -> Generator[int, None, None]:
    try:
        yield increase(1)
    except ValueError:
        increase(2)
    yield increase(3)


def rescued_down() -> Generator[int, None, None]:
    try:
        yield decrease(1)
    finally:
        decrease(2)


def through_up() -> Generator[int, None, None]:
    yield from rescued_up()


def through_down() -> Generator[int, None, None]:
    try:
        yield from rescued_down()
    except ValueError:
        decrease(3)


def far_through_down() -> Generator[int, None, None]:
    yield from through_down()


@workload
def throws() -> None:
    """Into generators that wait for others, which are called from elsewhere before and after."""
    for _ in range(30):
        for waiting in (through_up(), far_through_down()):
            for _ in waiting:
                break
            for _ in rescued_up():
                pass
            try:
                waiting.throw(ValueError)
            except StopIteration:
                continue
            for _ in waiting:
                pass


class Pause:
    """Suspends whoever awaits it once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def await_up() -> None:
    increase(1)
    await Pause()
    increase(2)


async def await_down() -> None:
    decrease(1)
    await Pause()
    decrease(2)


async def await_far_up() -> None:
    await await_up()


async def await_far_down() -> None:
    await await_down()


def finish(*coroutines: Any) -> None:
    """Step them in turns until each has returned."""
    running = list(coroutines)
    while running:
        for each in tuple(running):
            try:
                each.send(None)
            except StopIteration:
                running.remove(each)


@workload
def coroutines() -> None:
    for _ in range(40):
        finish(await_far_up(), await_far_down())


async def interrupted_up() -> None:
    try:
        await await_up()
    finally:
        increase(3)
        await Pause()


async def interrupted_down() -> None:
    try:
        await await_far_down()
    except ValueError:
        decrease(3)
        await await_down()


async def interrupted_far_up() -> None:
    await interrupted_up()


async def interrupted_far_down() -> None:
    await interrupted_down()


@workload
def cancellations() -> None:
    for _ in range(30):
        for waiting in (interrupted_far_up(), interrupted_far_down()):
            waiting.send(None)
            waiting.throw(ValueError)
            try:
                finish(waiting)
            except ValueError:
                increase(4)


async def stream_up() -> AsyncIterator[int]:
    for number in range(3):
        yield increase(number)


async def stream_down() -> AsyncIterator[int]:
    for number in range(3):
        yield decrease(number)


async def read_up() -> None:
    async for _ in stream_up():
        pass


async def read_down() -> None:
    async for _ in stream_down():
        pass


@workload
def async_generators() -> None:
    for _ in range(40):
        finish(read_up(), read_down())


@workload
def comprehensions() -> None:
    for _ in range(20):
        [increase(number) for number in range(4)]
        {decrease(number) for number in range(4)}
        sum(up(number) for number in range(4))
        any(down(number) > 99 for number in range(2))
        {number: far_up(number) for number in range(4)}


def sink(depth: int) -> int:
    return sink(depth - 1) if depth else increase(depth)


def sink_slowly(depth: int) -> int:
    if depth:
        first = second = third = fourth = fifth = depth
        return sink_slowly(depth - 1) + first + second + third + fourth + fifth
    return decrease(depth)


@workload
def recursion() -> None:
    for depth in DEPTHS:
        sink(depth)
        sink_slowly(depth // 2)


def sink_wide(depth: int) -> int:
    a0 = a1 = a2 = a3 = a4 = a5 = a6 = a7 = a8 = a9 = depth
    b0 = b1 = b2 = b3 = b4 = b5 = b6 = b7 = b8 = b9 = depth
    if depth:
        return sink_wide(depth - 1)
    return a0 + a1 + a2 + a3 + a4 + a5 + a6 + a7 + a8 + a9 + b0 + b1 + b2 + b3 + b4 + b5 + b6 + b7 + b8 + b9


@workload
def big_frames() -> None:
    """Deep enough for several chunks of the data stack, which are mapped and unmapped on the way."""
    for depth in DEPTHS[:8]:
        sink_wide(depth * 2)
        decrease(depth)
