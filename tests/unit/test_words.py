"""Numbers and names as people read them."""

from __future__ import annotations

import pytest

from loopwatch.report.words import command, counted, duration, listed, plain, share


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00025, "250 µs"),
        (0.0042, "4.2 ms"),
        (0.010, "10 ms"),
        (0.00996, "10 ms"),
        (0.412, "412 ms"),
        (0.9996, "1.00 s"),
        (1.62, "1.62 s"),
        (9.996, "10.0 s"),
        (62.44, "62.4 s"),
        (303, "5 min 3 s"),
        (119.99, "2 min 0 s"),
        (2 * 3600 + 46 * 60, "2 h 46 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 1, "0 %"), (1, 0, "0 %"), (1, 10_000, "< 0.1 %"), (37, 1000, "3.7 %"), (0.0996, 1, "10 %"), (1, 1, "100 %")],
)
def test_share(part: float, whole: float, text: str) -> None:
    assert share(part, whole) == text


def test_counted_and_listed() -> None:
    assert counted(1, "stall") == "1 stall"
    assert counted(48211, "stall") == "48,211 stalls"
    assert counted(2, "process", "processes") == "2 processes"
    assert [listed(["a", "b", "c"][:many]) for many in range(4)] == ["", "a", "a and b", "a, b and c"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["uvicorn", "app:app"], "uvicorn app:app"),
        (["/venv/bin/python3.12", "/venv/bin/uvicorn", "app:app"], "uvicorn app:app"),
        (["/usr/bin/python", "src/main.py", "-v"], "src/main.py -v"),
        (["/usr/bin/python3", "-m", "app"], "python3 -m app"),
        ([r"C:\Python312\python.exe", r"C:\work\main.py"], r"C:\work\main.py"),
        (["python"], "python"),
        ([], ""),
    ],
)
def test_command(words: list[str], text: str) -> None:
    assert command(words) == text


def test_plain() -> None:
    assert plain("a\x1b[2J\nb\u202e日本") == "a\\x1b[2J\\x0ab\\x202e日本"
