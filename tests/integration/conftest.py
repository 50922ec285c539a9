"""Fixtures of the tests that run real programs."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project


@pytest.fixture(autouse=True, scope="session")
def signals_as_usual() -> None:
    """Under `nohup`, and in the background of a script, signals are ignored, and programs inherit that."""
    for name, usual in (
        ("SIGHUP", signal.SIG_DFL),
        ("SIGQUIT", signal.SIG_DFL),
        ("SIGINT", signal.default_int_handler),
    ):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project; what a test has started in it is ended afterwards."""
    made = Project(tmp_path)
    yield made
    made.stop_all()
