"""The stack is read rightly where the interpreter calls by itself: special methods, classes, errors, clean-up; and in
odd code."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import weakref
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

from tests.integration.walking import all_agree, checked, here

ROOT = Path(__file__).parents[2]
OPERATORS = (
    *("add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "pow", "lshift", "and", "or", "xor", "radd", "iadd"),
    *("neg", "pos", "abs", "invert", "lt", "le", "eq", "ne", "gt", "ge", "getitem", "setitem", "delitem", "contains"),
    *("call", "enter", "exit"),
)


def test_special_methods() -> None:
    answers: dict[str, Any] = dict.fromkeys(OPERATORS, 1)
    answers |= {
        "hash": 1,
        "bool": True,
        "len": 1,
        "index": 1,
        "int": 1,
        "float": 1.0,
        "bytes": b"",
        "repr": "",
        "str": "",
    }
    answers |= {"format": "", "iter": iter(()), "reversed": iter(()), "dir": (), "sizeof": 1}

    def make(name: str) -> Any:
        def method(self: Any, *arguments: Any) -> Any:
            here(name)
            return answers[name]

        return method

    thing: Any = type("Thing", (), {f"__{name}__": make(name) for name in answers})()
    with all_agree(len(answers)):
        _ = thing + 1, 1 + thing, thing - 1, thing * 1, thing @ 1, thing / 1, thing // 1, thing % 1, thing**1
        _ = thing << 1, thing & 1, thing | 1, thing ^ 1, -thing, +thing, abs(thing), ~thing
        _ = thing < 1, thing <= 1, thing == 1, thing != 1, thing > 1, thing >= 1, thing[1], 1 in thing, thing()
        other = thing
        other += 1
        thing[1] = 1
        del thing[1]
        with thing:
            here("with")
        _ = hash(thing), bool(thing), len(thing), [1, 2][thing], int(thing), repr(thing), str(thing), f"{thing:>1}"
        _ = float(thing), bytes(thing), list(thing), reversed(thing), dir(thing), {thing: 1}, sys.getsizeof(thing)
        assert set(answers) <= set(checked)


def test_classes() -> None:
    class Meta(type):
        @classmethod
        def __prepare__(cls, *arguments: Any, **named: Any) -> dict[str, object]:
            here("prepare")
            return {}

        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            here("new of a class")
            return super().__new__(cls, *arguments)

        def __init__(cls, *arguments: Any, **named: Any) -> None:
            here("init of a class")

        def __call__(cls, *arguments: Any) -> Any:
            here("call of a class")
            return super().__call__(*arguments)

        def __instancecheck__(cls, instance: object) -> bool:
            return bool(here("isinstance"))

        def __subclasscheck__(cls, other: type) -> bool:
            return bool(here("issubclass"))

        def __getattr__(cls, name: str) -> int:
            return int(here("attribute of a class"))

    class Descriptor:
        def __set_name__(self, owner: type, name: str) -> None:
            here("set_name")

        def __get__(self, instance: object, owner: type) -> int:
            return int(here("get"))

        def __set__(self, instance: object, value: int) -> None:
            here("set")

        def __delete__(self, instance: object) -> None:
            here("delete")

    with all_agree(24):

        class Base(metaclass=Meta):
            here("class body")
            member = Descriptor()

            def __init_subclass__(cls, **named: Any) -> None:
                here("init_subclass")

            def __class_getitem__(cls, key: object) -> None:
                here("class_getitem")

            def __new__(cls) -> Any:
                here("new")
                return super().__new__(cls)

            def __init__(self) -> None:
                here("init")

            def __del__(self) -> None:
                here("del")

            def __getattr__(self, name: str) -> int:
                return int(here("getattr"))

            def __setattr__(self, name: str, value: int) -> None:
                here("setattr")
                super().__setattr__(name, value)

        class Derived(Base, keyword=1):
            here("body of a derived class")

            class Inner:
                here("body of an inner class")

        for _ in range(3):
            thing = Derived()
            thing.member = thing.member + thing.missing
            del thing.member
            _ = isinstance(1, Derived), issubclass(int, Derived), Derived.missing, Derived[1]  # type: ignore[misc]
            del thing


def test_errors() -> None:
    class Failure(Exception):
        def __init__(self) -> None:
            here("init")

        def __str__(self) -> str:
            here("str")
            return ""

    with all_agree(7):
        try:
            try:
                _ = 1 / 0
            except ZeroDivisionError:
                here("except")
                raise Failure from None
            finally:
                here("finally")
        except Failure as failure:
            here(f"named {failure}")
        else:
            here("never")
        try:
            raise ExceptionGroup("", [ValueError()])
        except* ValueError:
            here("except*")
        match here("match"):
            case number if here("guard") and number:
                here("case")


def test_clean_up() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.self = self

        def __del__(self) -> None:
            here("del in a collection")

    def collected(phase: str, info: dict[str, int]) -> None:
        here(f"collection: {phase}")

    class Thing:
        pass

    with all_agree(4):
        Cycle()
        gc.callbacks.append(collected)
        gc.collect()
        gc.callbacks.remove(collected)
        thing = Thing()
        reference = weakref.ref(thing, lambda _: here("weak reference"))
        del thing
        assert reference() is None
        assert {"del in a collection", "weak reference", "collection: start"} <= set(checked)


def test_signal_handlers() -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: here("signal"))
    try:
        with all_agree(100):
            for _ in range(100):
                os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize(
    "file", ["plain.py", "ünï/日本/😀.py", "lone \udcff surrogate.py", "with\nbreak\t.py", '"quoted\\', "", "a" * 4000]
)
def test_code_of_any_file(file: str) -> None:
    text = """
here("module")
def ünïcødé_日本_𠀀():
    here("function")
    class Größe:
        here("class")
ünïcødé_日本_𠀀()
eval("here('eval')")
exec("here('exec')")
"""
    with all_agree(5):
        exec(compile(text, file, "exec"), {"here": here})


def test_odd_code() -> None:
    lines = "".join(f"    y{n} = x + {n}; z = (y{n} * 3 if y{n} else\n        [y{n}, x])\n" for n in range(5000))
    with all_agree(5):
        # a line table far beyond a page, and one that begins at line 0 or far down
        exec(compile(f"def long(x):\n{lines}    here('long')\nlong(1)", "<long>", "exec"), {"here": here})
        exec(compile("\n" * 100_000 + "here('far down')", "<far>", "exec"), {"here": here})

        def at_line(number: int) -> None:
            here("moved")

        changes: list[dict[str, Any]] = [{"co_firstlineno": number} for number in (0, 1, 2**20, 2**31 - 1000)]
        for change in (*changes, {"co_name": "", "co_qualname": "", "co_filename": ""}):
            FunctionType(at_line.__code__.replace(**change), globals())(1)


def test_exit() -> None:
    """At exit, in every stage of the interpreter's end that still runs code."""
    program = """
import atexit, sys, threading
from tests.integration.walking import here, checked, failed
class Last:
    def __del__(self):
        here("module gone")
        print(*checked, sep="\\n")
        print("failed", failed, flush=True)
atexit.register(here, "atexit")
threading._register_atexit(here, "threads")
keep = Last()
keep.here, keep.print = here, print
sys.modules["last"] = keep
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1:] == ["failed []"], done
    assert {"atexit", "threads"} <= set(done.stdout.splitlines())
