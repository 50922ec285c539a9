"""Calls that the interpreter or C code makes by itself: special methods, callbacks, clean-up, fresh code."""

from __future__ import annotations

import contextvars
import functools
import marshal
from types import CodeType

import greenlet

from tests.integration.workloads.calls import decrease, down, far_up, increase, up
from tests.integration.workloads.registry import workload


def raise_value_error() -> None:
    raise ValueError


def raise_key_error() -> None:
    raise KeyError


def pass_on() -> None:
    raise_value_error()


def clean_up() -> None:
    try:
        raise_key_error()
    finally:
        decrease(1)


@workload
def exceptions() -> None:
    for _ in range(60):
        try:
            pass_on()
        except ValueError:
            increase(1)
        try:
            clean_up()
        except KeyError:
            decrease(2)


def add(left: int, right: int) -> int:
    return increase(left + right)


def subtract(left: int, right: int) -> int:
    return decrease(left - right)


@workload
def c_callbacks() -> None:
    numbers = [3, 1, 4, 1, 5]
    bound_up, bound_down = functools.partial(up, 3), functools.partial(down, 4)
    for _ in range(10):
        sorted(numbers, key=up)
        sorted(numbers, key=down)
        functools.reduce(add, numbers)
        functools.reduce(subtract, numbers)
        list(map(up, numbers))
        list(map(down, numbers))
        bound_up()
        bound_down()
        max(numbers, key=far_up)


class Up:
    """Calls up, whatever is done with it."""

    def __init__(self) -> None:
        self.value = increase(1)

    def __del__(self) -> None:
        increase(2)

    @property
    def attribute(self) -> int:
        return increase(3)

    def __getitem__(self, key: int) -> int:
        return increase(key)

    def __add__(self, other: int) -> int:
        return increase(other)


class Down:
    """Calls down, whatever is done with it."""

    def __init__(self) -> None:
        self.value = decrease(1)

    def __del__(self) -> None:
        decrease(2)

    def __getattr__(self, name: str) -> int:
        return decrease(3)

    def __contains__(self, key: int) -> bool:
        return decrease(key) > 0

    def __enter__(self) -> int:
        return decrease(4)

    def __exit__(self, *error: object) -> None:
        decrease(5)


@workload
def dunders() -> None:
    for _ in range(20):
        first = Up()
        _ = first.attribute, first[1], first + 1
        del first
        second = Down()
        _ = second.missing, 1 in second
        with second:
            increase(6)
        del second


@workload
def contexts() -> None:
    one, other = contextvars.copy_context(), contextvars.copy_context()
    for number in range(60):
        one.run(up, number)
        other.run(down, number)
        far_up(number)


def compute() -> int:
    total = 0
    for number in range(1000):
        total += number
        total ^= 5
    return total


def above(depth: int) -> int:
    return above(depth - 1) if depth else compute()


@workload
def deep_base() -> None:
    """What a long computation looks like: much below it stands still."""
    above(40)


def source(number: int) -> str:
    """A module whose lines lie elsewhere for each number, and that calls itself by names of its own."""
    blank = "\n" * (number % 37)
    return (
        f"{blank}def outer_{number}(x):\n    y = x\n    return inner_{number}(y)\n"
        f"def inner_{number}(x):\n    z = x + 1\n    z = z + 1\n    return z\nouter_{number}(1)\n"
    )


def compiled(number: int) -> CodeType:
    return compile(source(number), f"<generated {number}>", "exec")


def execute(code: CodeType) -> None:
    exec(code, {})


@workload
def fresh_code() -> None:
    """Code that is compiled, run and freed at once."""
    for number in range(40):
        execute(compiled(number))


MARSHALLED = [marshal.dumps(compiled(number)) for number in range(300)]


@workload
def reused_code() -> None:
    """Code objects come and go so fast that each gets the address of one just freed."""
    for data in MARSHALLED:
        execute(marshal.loads(data))


def define_up() -> None:
    class Outer:
        value = increase(1)

        class Inner:
            value = decrease(1)


def define_down() -> None:
    class Single:
        value = decrease(1)


@workload
def class_bodies() -> None:
    for _ in range(10):
        define_up()
        define_down()


def keep_increasing() -> None:
    while True:
        increase(1)
        greenlet.getcurrent().parent.switch()


def keep_decreasing() -> None:
    while True:
        decrease(1)
        greenlet.getcurrent().parent.switch()


@workload
def greenlets() -> None:
    one, other = greenlet.greenlet(keep_increasing), greenlet.greenlet(keep_decreasing)
    for _ in range(100):
        one.switch()
        other.switch()
