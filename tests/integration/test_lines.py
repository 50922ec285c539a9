"""Line tables are read as the interpreter reads them: line, end line and columns of every instruction of the standard
library; and nothing else that looks like one does any harm."""

from __future__ import annotations

import sysconfig
import warnings
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from types import CodeType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from loopwatch import _core

FOLDER = Path(sysconfig.get_path("stdlib"))
PARTS = 4
WITHOUT = {"site-packages", "dist-packages", "test", "tests", "idle_test"}


def codes(code: CodeType) -> Iterator[CodeType]:
    """The code object and all within it."""
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes(each)


def library(part: int) -> Iterator[CodeType]:
    """All code objects of a quarter of the standard library."""
    files = sorted(path for path in FOLDER.rglob("*.py") if not WITHOUT & set(path.parts))
    for path in files[part::PARTS]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes that are no longer liked
            try:
                code = compile(path.read_bytes(), str(path), "exec")
            except (OSError, SyntaxError, ValueError):  # dangling links, templates, sources that are bad on purpose
                continue
        yield from codes(code)


@pytest.mark.parametrize("part", range(PARTS))
def test_every_instruction_of_the_library(part: int) -> None:
    units = 0
    for code in library(part):
        table, first = code.co_linetable, code.co_firstlineno
        for unit, place in zip(count(), code.co_positions(), strict=False):
            assert _core.place(table, first, unit) == place, (code, unit)
        units += len(code.co_code) // 2
        with pytest.raises(ValueError):
            _core.place(table, first, len(code.co_code) // 2 + 8)
    print(units, "instructions")
    assert units > 100_000


@example(b"\xff" * 100, 1, 0)
@example(b"\xf2" + b"\x7f" * 30, 2**31 - 1, 0)
@example(b"\xef\x7f\x7f\x7f\x7f\x7f\x3f", 2**31 - 1, 3)
@example(b"\xf7\x7f\x7f\x7f\x7f\x7f\x3f" * 5, -(2**31), 30)
@given(st.binary(max_size=200), st.integers(-(2**31), 2**31 - 1), st.integers(0, 2**32 - 1))
def test_any_bytes(table: bytes, first: int, unit: int) -> None:
    """A place or a refusal, whatever the bytes are: they may be of another object by the time they are read."""
    try:
        place = _core.place(table, first, unit)
    except ValueError:
        return
    assert len(place) == 4
    assert all(each is None or each >= 0 for each in place[1:])


@given(st.data())
def test_a_table_that_is_cut(data: st.DataObject) -> None:
    """Up to where it is cut the places are right, and behind that there are none."""
    code = library.__code__
    table = code.co_linetable
    cut = data.draw(st.integers(0, len(table)))
    for unit, place in enumerate(code.co_positions()):
        try:
            assert _core.place(table[:cut], code.co_firstlineno, unit) == place
        except ValueError:
            assert cut < len(table)
