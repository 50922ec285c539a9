"""Names and lines are those of the code that runs, however fast other code had the same address.

Code objects are read without the GIL and remembered by their address. Here they are freed as soon as they have run, and
the next one, of the same file and first line, gets the same memory. Each tells by what it calls, or by its own name,
which line it must be on.
"""

from __future__ import annotations

import functools
import itertools
import marshal
from collections.abc import Callable
from types import CodeType
from typing import Any

import pytest

from loopwatch.stack import Frame
from tests.integration.sampling import Seen, sample

# What is wrong once in a while is wrong.
pytestmark = pytest.mark.flaky(reruns=0)

FILE = "<generated>"
KINDS = 29
ROUNDS = 60  # turns


def marker(kind: int) -> Callable[[], None]:
    """A function whose name tells its kind. Some are over before a sample of them is complete, some can be seen."""
    source = f"def marker_{kind}():\n    for _ in range({50 + 100 * kind}):\n        pass\n"
    names: dict[str, Any] = {}
    exec(compile(source, "<markers>", "exec"), names)
    function: Callable[[], None] = names[f"marker_{kind}"]
    return function


MARKERS: dict[str, Any] = {function.__name__: function for function in map(marker, range(KINDS))}


def source_of(name: str, kind: int) -> str:
    """A module with one function, which calls the marker of its kind from a line of its own."""
    blank = "\n" * (kind + 1)
    return f"def {name}():{blank}    marker_{kind}()\n{name}()\n"


def kind_of(frame: Frame) -> int:
    return int(frame.function.rpartition("_")[2]) % KINDS


def named(number: int) -> CodeType:
    """Each has its own name, which tells its kind."""
    return compile(source_of(f"number_{number:06}", number % KINDS), FILE, "exec")


def unnamed(kind: int) -> CodeType:
    """All have the same name, and differ in their line table alone."""
    return compile(source_of("function", kind), FILE, "exec")


NAMED = [marshal.dumps(named(number)) for number in range(700)]
UNNAMED = [marshal.dumps(unnamed(kind)) for kind in range(KINDS)]


def run(data: bytes) -> None:
    exec(marshal.loads(data), MARKERS)


def run_named() -> None:
    """At the same address: other names, other lines."""
    for data in NAMED:
        run(data)


def run_unnamed() -> None:
    """At the same address: the same name, other lines."""
    for number in range(300):
        run(UNNAMED[number * 11 % KINDS])


def run_replaced() -> None:
    """The same code with another line table, and nothing else changed."""
    (function,) = (each for each in unnamed(0).co_consts if isinstance(each, CodeType))
    for kind in range(KINDS):
        others = (each for each in unnamed(kind).co_consts if isinstance(each, CodeType))
        exec(function.replace(co_linetable=next(others).co_linetable, co_names=(f"marker_{kind}",)), MARKERS)


def run_compiled() -> None:
    """Compiled anew each time, so that the strings of the names are freed as well."""
    for number in range(60):
        exec(named(number * 31 % 700), MARKERS)


def fault(stack: Seen) -> str | None:
    """What is wrong about the generated frames of a stack, outermost first."""
    for caller, callee in itertools.pairwise((*stack, None)):
        if caller is None or caller.file != FILE or caller.function == "<module>":
            continue
        if callee is not None and not callee.function.startswith("marker_"):
            return f"{caller.function} calls {callee.function}"
        kinds = {kind_of(frame) for frame in (caller, callee) if frame is not None and "_" in frame.function}
        if len(kinds) > 1:
            return f"{caller.function} calls {callee}"
        if kinds and caller.line not in (1, 2 + min(kinds)):
            return f"{caller.function} of kind {kinds} is on line {caller.line}"
    return None


@pytest.mark.parametrize("work", [run_named, run_unnamed, run_replaced, run_compiled])
def test_no_wrong_line_or_name(work: Callable[[], None]) -> None:
    generated = 0
    for _ in range(10):  # a busy machine leaves few samples
        samples = sample([work] * ROUNDS)
        faults = {fault(stack): count for stack, count in samples.stacks.items() if fault(stack)}
        assert not faults
        generated += sum(count for stack, count in samples.stacks.items() if stack[-1].file in (FILE, "<markers>"))
        if generated > 200:
            break
    assert generated > 200


def test_the_judge_catches_what_is_wrong() -> None:
    """The same rules find fault with lines and names of another one."""
    module, function = Frame(FILE, "<module>", 1), functools.partial(Frame, FILE)
    called = functools.partial(Frame, "<markers>", line=2)
    assert fault((module, function("number_000030", 3), called("marker_1"))) is None
    assert fault((module, function("function", 9), called("marker_7"))) is None
    assert fault((module, function("number_000030", 4), called("marker_1")))
    assert fault((module, function("number_000031", 3), called("marker_1")))
    assert fault((module, function("function", 10), called("marker_7")))
    assert fault((module, function("function", 9), called("range")))
