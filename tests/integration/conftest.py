"""Fixtures of the tests that run real programs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.project import Project


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """An empty project; what a test has started in it is ended afterwards."""
    made = Project(tmp_path)
    yield made
    made.stop_all()
