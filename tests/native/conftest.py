from __future__ import annotations

import pytest

from tests.native.native import BUILDS, Toolchain


@pytest.fixture(scope="session", params=list(BUILDS))
def toolchain(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Toolchain:
    """Every C test runs twice: plain and with sanitizers."""
    return Toolchain(request.param, tmp_path_factory.mktemp(request.param))
