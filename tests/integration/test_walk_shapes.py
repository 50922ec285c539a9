"""The stack is read rightly whatever its shape: deep, mixed at random, in threads and in greenlets."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import greenlet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwatch import _core
from tests.integration.walking import DEPTH, all_agree, here, python_stack


@contextmanager
def deep_recursion() -> Iterator[None]:
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


# Ways to get one frame deeper. Each takes what is to be done further in.

Rest = Callable[[], Any]


def directly(rest: Rest) -> None:
    rest()


def with_many_locals(rest: Rest) -> None:
    a = b = c = d = e = f = g = h = i = j = k = m = n = o = p = q = r = s = t = rest
    rest()
    del a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s, t


def through_c(rest: Rest) -> None:
    functools.reduce(lambda one, other: rest(), [1, 2])


def through_sort(rest: Rest) -> None:
    sorted([1], key=lambda _: str(rest()))


def in_generator(rest: Rest) -> None:
    def generator() -> Iterator[None]:
        yield rest()

    list(generator())


def in_delegating_generator(rest: Rest) -> None:
    def inner() -> Generator[None, None, None]:
        yield rest()

    def outer() -> Generator[None, None, None]:
        yield from inner()

    for _ in outer():
        pass


def in_coroutine(rest: Rest) -> None:
    async def inner() -> None:
        rest()

    async def outer() -> None:
        await inner()

    with pytest.raises(StopIteration):
        outer().send(None)


def leave(generator: Generator[Any, Any, Any] | Coroutine[Any, Any, Any]) -> None:
    """Begin it, throw into it, and go on to its end."""
    with suppress(ValueError, StopIteration):
        generator.send(None)
        generator.throw(ValueError)
        while True:
            generator.send(None)


def thrown_through(rest: Rest, levels: int) -> Generator[None, None, None]:
    """A generator that so many others wait for, each for the next."""
    if levels:
        yield from thrown_through(rest, levels - 1)
        return
    try:
        yield
    finally:
        rest()


def after_throw(rest: Rest) -> None:
    leave(thrown_through(rest, 2))


def caught_by_the_one_waiting(rest: Rest) -> None:
    def inner() -> Generator[None, None, None]:
        yield

    def middle() -> Generator[None, None, None]:
        try:
            yield from inner()
        except ValueError:
            rest()
        yield

    def outer() -> Generator[None, None, None]:
        yield from middle()

    leave(outer())


def after_close(rest: Rest) -> None:
    generator = thrown_through(rest, 2)
    next(generator)
    generator.close()


class Pause:
    """Suspends whoever awaits it once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


async def interrupted(rest: Rest) -> None:
    try:
        await Pause()
    except ValueError:
        rest()
        await Pause()
        raise


async def interrupted_below(rest: Rest) -> None:
    await interrupted(rest)


def after_throw_into_coroutine(rest: Rest) -> None:
    leave(interrupted_below(rest))


async def stream(rest: Rest) -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await interrupted_below(rest)


def after_throw_into_async_for(rest: Rest) -> None:
    async def source() -> AsyncIterator[int]:
        yield 1
        await interrupted_below(rest)

    async def reader() -> None:
        async for _ in source():
            pass

    leave(reader())


def after_athrow(rest: Rest) -> None:
    async def reader() -> None:
        numbers: Any = stream(rest)
        await anext(numbers)
        await numbers.athrow(ValueError)

    leave(reader())


def after_aclose(rest: Rest) -> None:
    async def reader() -> None:
        numbers: Any = stream(rest)
        await anext(numbers)
        await numbers.aclose()

    leave(reader())


def leaving_context_manager(rest: Rest) -> None:
    @contextmanager
    def manager() -> Iterator[None]:
        try:
            yield
        finally:
            rest()

    def body() -> Generator[None, None, None]:
        with manager():
            yield

    def outer() -> Generator[None, None, None]:
        yield from body()

    leave(outer())


class Thrower:
    """An iterator of its own kind, which takes exceptions as generators do."""

    def __init__(self, rest: Rest) -> None:
        self.rest = rest

    def __iter__(self) -> Iterator[None]:
        return self

    def __next__(self) -> None:
        return None

    def throw(self, *error: Any) -> None:
        self.rest()
        raise ValueError


def in_throw_of_another_kind(rest: Rest) -> None:
    def inner() -> Generator[None, None, None]:
        yield from Thrower(rest)

    def outer() -> Generator[None, None, None]:
        yield from inner()

    leave(outer())


def in_special_method(rest: Rest) -> None:
    class Thing:
        def __getitem__(self, key: int) -> Any:
            rest()

    Thing()[0]


def in_constructor(rest: Rest) -> None:
    class Thing:
        def __init__(self) -> None:
            rest()

    Thing()


def in_class_body(rest: Rest) -> None:
    class Thing:
        rest()


def while_handling(rest: Rest) -> None:
    try:
        raise ValueError
    except ValueError:
        rest()


def in_comprehension(rest: Rest) -> None:
    [rest() for _ in range(1)]


def in_fresh_code(rest: Rest) -> None:
    exec("\n\nrest()", {"rest": rest})


def in_greenlet(rest: Rest) -> None:
    greenlet.greenlet(rest).switch()


def in_thread(rest: Rest) -> None:
    thread = threading.Thread(target=rest)
    thread.start()
    thread.join()


WAYS = (
    directly,
    with_many_locals,
    through_c,
    through_sort,
    in_generator,
    in_delegating_generator,
    in_coroutine,
    after_throw,
    caught_by_the_one_waiting,
    after_close,
    after_throw_into_coroutine,
    after_throw_into_async_for,
    after_athrow,
    after_aclose,
    leaving_context_manager,
    in_throw_of_another_kind,
    in_special_method,
    in_constructor,
    in_class_body,
    while_handling,
    in_comprehension,
    in_fresh_code,
    in_greenlet,
    in_thread,
)


def descend(ways: list[Callable[[Rest], None]]) -> None:
    """Go one way after the other, and look around where they end."""
    if not ways:
        here("inside")
        return
    first, *others = ways
    first(lambda: descend(others))


@pytest.mark.parametrize("way", WAYS)
def test_each_way(way: Callable[[Rest], None]) -> None:
    with all_agree(4):
        for depth in (1, 2, 3, 30):
            descend([way] * depth)


@pytest.mark.parametrize("levels", [0, 1, 2, 3, 4, 30])
def test_thrown_through(levels: int) -> None:
    def in_a_generator() -> Generator[None, None, None]:
        leave(thrown_through(lambda: here("a generator below"), levels))
        yield

    with all_agree(2):
        leave(thrown_through(lambda: here("inside"), levels))
        list(in_a_generator())


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_generator_that_waits_is_innermost(levels: int) -> None:
    """While what it waits for runs C code that was thrown into."""

    class Next:
        throw = staticmethod(next)  # of what is thrown

        def __iter__(self) -> Iterator[None]:
            return self

        def __next__(self) -> None:
            return None

    def through(levels: int) -> Generator[Any, Any, None]:
        yield from through(levels - 1) if levels else Next()

    generator = through(levels)
    next(generator)
    looks: Any = zip(iter(_core.walk, None), map(python_stack, iter(sys._getframe, None)), strict=False)
    seen, known = generator.throw(looks)
    assert seen == known
    assert seen[-1][1].endswith("through")


class Inlined:
    """Whose methods the interpreter enters without C code in between, once it knows the place that calls them."""

    def __init__(self) -> None:
        here("constructor")

    @property
    def attribute(self) -> object:
        return here("property")

    def __getitem__(self, _: int) -> object:
        return here("item")

    def __getattribute__(self, name: str) -> object:
        return here("attribute") if name == "missing" else object.__getattribute__(self, name)


def inlined_generator() -> Iterator[object]:
    yield here("generator")


def test_specialized() -> None:
    with all_agree(5 * 200):
        for _ in range(200):
            one: Any = Inlined()
            _ = one.attribute, one[0], one.missing
            for _ in inlined_generator():
                pass


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(WAYS), max_size=40))
def test_any_mixture(ways: list[Callable[[Rest], None]]) -> None:
    with all_agree():
        descend(ways)


def recurse(depth: int) -> int:
    return recurse(depth - 1) if depth else here("deep")


def recurse_through_c(depth: int) -> int:
    return max([depth], key=lambda _: recurse_through_c(depth - 1)) if depth else here("deep, through C")


@pytest.mark.parametrize("depth", [1, 100, 800, DEPTH - 60, DEPTH, DEPTH + 1, 3000])
def test_depth(depth: int) -> None:
    """Of what is deeper than the limit, the innermost frames are kept."""
    with deep_recursion(), all_agree():
        recurse(depth)


def test_depth_through_c() -> None:
    with deep_recursion(), all_agree():
        recurse_through_c(400)


def test_threads_at_once() -> None:
    with all_agree(8 * 50):
        threads = [threading.Thread(target=lambda: [recurse(depth) for depth in range(50)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_greenlets_that_switch() -> None:
    def first() -> None:
        here("first")
        second_one.switch()
        recurse(5)
        second_one.switch()

    def second() -> None:
        here("second")
        first_one.switch()
        recurse(7)
        nested = greenlet.greenlet(lambda: here("nested"))
        nested.switch()
        main.switch()

    with all_agree(6):
        main = greenlet.getcurrent()
        first_one, second_one = greenlet.greenlet(first), greenlet.greenlet(second)
        first_one.switch()
        here("back")
