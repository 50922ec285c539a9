"""Which Python options keep the bootstrap out, in whatever way a program comes to its Python."""

from __future__ import annotations

from pathlib import Path

import pytest

from loopwatch.launch.command import Command


@pytest.mark.parametrize(
    ("words", "option"),
    [
        ("python x.py", ""),
        ("python -I x.py", "-I"),
        ("python3.12 -bE x.py", "-E"),
        ("python -u -S x.py", "-S"),
        ("python -W error -I x.py", "-I"),
        ("python -Werror -I x.py", "-I"),
        ("python -X dev -X importtime -s x.py", ""),
        ("python -Xdev -uI -c pass", "-I"),
        ("python x.py -I", ""),
        ("python -c pass -I", ""),
        ("python -m module -I", ""),
        ("python -mIdle", ""),
        ("python -cE", ""),
        ("python - -I", ""),
        ("python --check-hash-based-pycs always -I x.py", ""),
        ("pypy3 -I x.py", "-I"),
        ("uvicorn -I", ""),
    ],
)
def test_own_options(words: str, option: str) -> None:
    name, *rest = words.split()
    assert Command(f"/usr/bin/{name}", (name, *rest), words).deaf_option == option


@pytest.mark.parametrize(
    ("line", "option"),
    [
        ("#!/usr/bin/python3 -Es\n", "-E"),
        ("#!/usr/bin/env -S python3 -I\n", "-I"),
        ("#!/usr/bin/env python3\n", ""),
        ("#! /usr/bin/python3 -I", "-I"),
        ("#!/bin/sh -E\n", ""),
        ("import sys\n", ""),
        ("", ""),
    ],
)
def test_first_line_of_a_script(tmp_path: Path, line: str, option: str) -> None:
    script = tmp_path / "tool"
    script.write_text(line)
    assert Command(str(script), ("tool", "-S"), "tool").deaf_option == option


def test_no_such_file() -> None:
    assert Command("not-there", ("x",), "x").deaf_option == ""
