"""The stack is read rightly in calls, generators, coroutines and under every kind of tracing."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import itertools
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from types import FrameType
from typing import Any

import pytest

from tests.integration.walking import all_agree, checked, here


def test_calls() -> None:
    with all_agree(20):
        here("function")
        (lambda: here("lambda"))()
        functools.partial(here, "partial")()
        list(map(here, ["map"]))
        sorted([2, 1], key=lambda number: here("key") + number)
        max([1, 2], key=lambda number: here("max"))
        functools.reduce(lambda one, other: here("reduce"), [1, 2, 3])
        {"a": here("value"), here("key"): 1}.get(f"{here('f-string')}")
        here(*["star"])
        assert here("assert"), here("never")
        number = here("walrus") if (found := here("condition")) else 0
        assert number == found
        while number := number - here("while"):
            pass
        # the call spans lines, and so do its arguments
        here(
            str(
                here("inner"),
            )
        )


def test_many_arguments() -> None:
    def take(*arguments: int, **named: int) -> None:
        here("many")

    with all_agree():
        take(*range(300), **{f"name{number}": number for number in range(50)})


def test_comprehensions_and_generators() -> None:
    def count(number: int) -> Iterator[int]:
        here("generator")
        for each in range(number):
            yield each
            here("generator resumed")

    def delegate() -> Generator[int, int, None]:
        here("delegating")
        yield from count(2)
        yield (yield here("yield as an argument"))
        here("sent to")

    def stubborn() -> Generator[int, None, None]:
        try:
            yield 1
        except ValueError:
            here("thrown into")
            yield 2
        finally:
            here("closed")

    with all_agree(25):
        [here("list") for _ in range(2)]
        {here("set") for _ in range(2)}
        {here("key"): here("value") for _ in range(2)}
        sum(here("expression") for _ in range(2))
        [here("nested") for _ in range(2) for _ in count(1)]
        for _ in count(2):
            here("for")
        generator = delegate()
        for _ in range(3):
            next(generator)
        generator.send(1)
        with pytest.raises(StopIteration):
            next(generator)
        thrown = stubborn()
        next(thrown)
        thrown.throw(ValueError)
        thrown.close()


def test_coroutines() -> None:
    async def numbers() -> AsyncIterator[int]:
        here("async generator")
        yield 1
        await asyncio.sleep(0)
        here("async generator resumed")
        yield 2

    class Manager:
        async def __aenter__(self) -> None:
            here("aenter")

        async def __aexit__(self, *error: object) -> None:
            here("aexit")

    async def inner() -> list[int]:
        here("coroutine")
        await asyncio.sleep(0)
        here("coroutine resumed")
        async with Manager():
            here("async with")
        return [each async for each in numbers() if here("async comprehension")]

    async def outer() -> None:
        await asyncio.gather(inner(), inner())
        await asyncio.create_task(inner())
        loop = asyncio.get_running_loop()
        loop.call_soon(here, "call_soon")
        loop.call_soon(contextvars.copy_context().run, here, "context")
        await asyncio.to_thread(here, "to_thread")
        async for _ in numbers():
            here("async for")
        cancelled = asyncio.create_task(swallow_cancel())
        await asyncio.sleep(0)
        cancelled.cancel()
        await cancelled

    async def swallow_cancel() -> None:
        try:
            await asyncio.sleep(10)
        except asyncio.CancelledError:
            here("cancelled")

    with all_agree(30):
        asyncio.run(outer())
    with all_agree(30):
        pytest.importorskip("uvloop").run(outer())


def test_after_exceptions_in_tasks() -> None:
    """Of what a task waits for: it is thrown into the task's coroutine, and through all that wait for one another."""

    async def slow() -> None:
        try:
            await asyncio.sleep(10)
        finally:
            here("finally")

    async def below() -> None:
        async with manager():
            await slow()

    @contextlib.asynccontextmanager
    async def manager() -> AsyncIterator[None]:
        try:
            yield
        except asyncio.CancelledError:
            here("except in a manager")
            await asyncio.sleep(0)
            here("after another await")
            raise

    async def timed_out() -> None:
        try:
            async with asyncio.timeout(0.001):
                await below()
        except TimeoutError:
            here("timeout")

    async def failing() -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, ConnectionError())
        await future

    async def falling_back() -> None:
        try:
            await failing()
        except ConnectionError:
            here("fallback")

    async def grouped() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(below())
                tasks.create_task(failing())
        except* ConnectionError:
            here("group")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            await below()
        finally:
            here("async generator")

    async def reading() -> None:
        async for _ in numbers():
            here("async for")

    async def cancelled(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        task = asyncio.create_task(work())
        await asyncio.sleep(0.001)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def main() -> None:
        await timed_out()
        await falling_back()
        await grouped()
        await cancelled(below)
        await cancelled(reading)
        await asyncio.gather(timed_out(), cancelled(timed_out), cancelled(reading))

    with all_agree(25):
        asyncio.run(main())
    with all_agree(25):
        pytest.importorskip("uvloop").run(main())


def traced() -> int:
    total = 0
    for number in range(3):
        total += number
    try:
        raise ValueError
    except ValueError:
        pass
    return len([total])


def test_trace_functions() -> None:
    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code is not traced.__code__:
            return None
        sys.settrace(None)
        here(f"trace {event}")
        sys.settrace(trace)
        return trace

    before = sys.gettrace()
    with all_agree(10):
        sys.settrace(trace)
        traced()
        traced()
        sys.settrace(before)
        assert {"trace call", "trace line", "trace exception", "trace return"} <= set(checked)


def test_profile_functions() -> None:
    def profile(frame: FrameType, event: str, _: Any) -> None:
        if frame.f_code is traced.__code__:
            sys.setprofile(None)
            here(f"profile {event}")
            sys.setprofile(profile)

    with all_agree(4):
        sys.setprofile(profile)
        traced()
        traced()
        sys.setprofile(None)
        assert {"profile call", "profile return", "profile c_call"} <= set(checked)


def test_monitoring() -> None:
    monitoring: Any = getattr(sys, "monitoring", None)
    with all_agree():
        here("without")
        if monitoring is None:  # 3.11
            return
        names = ("LINE", "PY_START", "PY_RETURN", "CALL", "INSTRUCTION", "JUMP", "BRANCH")
        events = {name: getattr(monitoring.events, name) for name in names}
        tool = next(number for number in range(6) if monitoring.get_tool(number) is None)
        monitoring.use_tool_id(tool, "test")
        for name, event in events.items():
            monitoring.register_callback(tool, event, functools.partial(here, name))
        monitoring.set_local_events(tool, traced.__code__, functools.reduce(int.__or__, events.values()))
        traced()
        traced()
        monitoring.set_local_events(tool, traced.__code__, 0)
        monitoring.free_tool_id(tool)
        assert set(names) <= set(checked)


def test_each_step_of_a_warming_function() -> None:
    """The interpreter rewrites code as it runs: the same calls before, while and after that."""

    class Thing:
        @property
        def attribute(self) -> int:
            return int(here("property"))

        def method(self) -> int:
            return int(here("method"))

        def __getitem__(self, key: int) -> int:
            return int(here("item"))

        def __getattr__(self, name: str) -> int:
            return int(here("attribute"))

    def use(thing: Any) -> int:
        total = thing.attribute + thing.method() + thing[1] + thing.other
        for each in (here("expression") for _ in range(2)):
            total += each
        return int(total)

    with all_agree(300):
        assert sum(use(Thing()) for _ in range(60)) == 60 * 6
        assert list(itertools.starmap(here, [("starmap", 1)] * 3)) == [1, 1, 1]
