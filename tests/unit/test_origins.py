"""Where names come from, as far as one file tells."""

from __future__ import annotations

import ast
import textwrap

import pytest

from loopwatch.analysis.origins import Origins
from loopwatch.analysis.source import Source
from loopwatch.analysis.syntax import Module, Modules
from loopwatch.stack import Frame


def origin(source: str) -> str:
    """The origin of what is called in the source's last line with a comment ``# here``."""
    module = Module(textwrap.dedent(source))
    line = next(number for number, line in enumerate(module.text.split("\n"), 1) if "# here" in line)
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call) and node.lineno == line]
    return Origins(module).of(calls[0].func)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import time\ntime.sleep(1)  # here", "time.sleep"),
        ("from time import sleep as nap\nnap(1)  # here", "time.sleep"),
        ("import numpy as np\nnp.linalg.svd(a)  # here", "numpy.linalg.svd"),
        ("import os.path\nos.path.getsize(a)  # here", "os.path.getsize"),
        ("def f():\n    from time import sleep\n    sleep(1)  # here", "time.sleep"),
        ("import re\nW = re.compile('a')\ndef f():\n    W.match(x)  # here", "re.compile.match"),
        ("open('a').read()  # here", "builtins.open.read"),
        ("def open(a): pass\nopen('a')  # here", ""),
        ("def f(open):\n    open('a')  # here", ""),
        ("import sqlite3\nwith sqlite3.connect('a') as c:\n    c.execute('b')  # here", "sqlite3.connect.execute"),
        ("from pathlib import Path\ndef f(p: Path):\n    p.read_text()  # here", "pathlib.Path.read_text"),
        ("from pathlib import Path\ndef f(p: Path | None):\n    p.read_text()  # here", "pathlib.Path.read_text"),
        ("from a import x\nfrom b import x\nx()  # here", ""),
        ("x = x.y\nx()  # here", ""),
        ("for x in y:\n    x()  # here", ""),
        ("from . import db\ndb.get()  # here", "..db.get"),
        (
            """
            import sqlite3
            class C:
                def __init__(self):
                    self._db: sqlite3.Connection | None = None
                async def open(self):
                    self._db = sqlite3.connect('a')
                def get(self):
                    cursor = self._db.execute('b')
                    return cursor.fetchall()  # here
            """,
            "",
        ),
        (
            """
            import sqlite3
            class C:
                def __init__(self):
                    self._db = sqlite3.connect('a')
                def get(self):
                    cursor = self._db.execute('b')
                    return cursor.fetchall()  # here
            """,
            "sqlite3.connect.execute.fetchall",
        ),
        ("import redis.asyncio as redis\nr = redis.Redis()\nr.get('a')  # here", "redis.asyncio.Redis.get"),
        ("class A:\n    time = 1\n    def f(self):\n        time.sleep(1)  # here\nimport time", "time.sleep"),
    ],
)
def test_origins(source: str, found: str) -> None:
    assert origin(source) == found


def test_the_expression_at_a_frame() -> None:
    module = Module("x = (日本\n  .lookup(1)\n)\n")
    # What the compiler notes for a method call over several lines begins at the method's name.
    node = module.expression(Frame("a.py", "f", 2, 2, 3, 12))
    assert isinstance(node, ast.Call)
    assert module.expression(Frame("a.py", "f", 2, 2, 3, 11)) is None
    assert module.expression(Frame("a.py", "f", 2)) is None


def test_files_that_are_no_python_are_no_modules() -> None:
    class Text(Source):
        def __init__(self, text: str) -> None:
            super().__init__()
            self._text = text

        def text(self, file: str) -> str:
            return self._text

    for text in ("", "def", "x = '\0'", "(" * 5000):
        assert Modules(Text(text)).of("a.py") is None
    assert Modules(Text("x = 1")).of("a.py") is not None
