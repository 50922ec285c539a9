"""The interpreter matrix: `nox -s tests-3.13`, `nox -s sdist`. For one interpreter `make test` is enough.

These sessions install loopwatch as a user gets it (a wheel, not editable), so they notice files that the
package forgot. With TESTED_SDIST they take it from there instead of from this folder, and may then run side by side.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["tests"]
# Not every interpreter brings ensurepip, and virtualenv does without.
nox.options.default_venv_backend = "virtualenv"

VERSIONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
SMOKE = """
import asyncio, loopwatch, time
async def main():
    time.sleep(0.05)
with loopwatch.watching(threshold=0.010) as watch:
    asyncio.run(main())
assert len(watch.stalls) == 1, watch.stalls
"""


def unpack(session: nox.Session, sdist: str | Path) -> str:
    """Unpack an sdist for this session alone; the folder, to install from."""
    # pip would build a folder called name-version once, keep the wheel, and take that one ever after.
    folder = Path("build", "unpacked", session.name, "loopwatch")
    shutil.rmtree(folder.parent, ignore_errors=True)
    shutil.unpack_archive(sdist, folder.parent, filter="data")
    next(folder.parent.glob("loopwatch-*")).rename(folder)
    return str(folder)


@nox.session(python=VERSIONS)
def tests(session: nox.Session) -> None:
    """All tests against the installed package."""
    sdist = os.environ.get("TESTED_SDIST")
    # What is imported is compiled then; most of all these packages is not.
    session.install("-q", "--no-compile", f"{unpack(session, sdist) if sdist else '.'}[test]")
    # As a module: processes that the tests spawn import again what they were started with, and that is all of pytest.
    session.run("python", "-m", "pytest", "-q", *session.posargs)


@nox.session(python=VERSIONS)
def sdist(session: nox.Session) -> None:
    """The sdist builds a wheel in an environment of its own, and that wheel watches a loop."""
    sdist = os.environ.get("TESTED_SDIST")
    if not sdist:
        dist = Path("build", "dist")
        shutil.rmtree(dist, ignore_errors=True)
        session.install("-q", "build")
        session.run("python", "-m", "build", "--sdist", "-o", str(dist), silent=True)
        (sdist,) = map(str, dist.glob("*.tar.gz"))
    session.install("-q", unpack(session, sdist))
    session.cd(session.create_tmp())
    session.run("python", "-c", SMOKE)
    session.run("loopwatch", "--version")


# What the tests of those projects need beside what they name as extras.
FOREIGN = {
    "starlette": ["starlette[full]", "httpx2[zstd]", "blockbuster", "opentelemetry-sdk", "trio"],
    "fastapi": [
        *("fastapi[all]", "httpx2", "trio", "a2wsgi", "dirty-equals", "flask", "inline-snapshot", "logfire", "pyjwt"),
        *("opentelemetry-exporter-otlp-proto-http", "opentelemetry-instrumentation-fastapi", "pwdlib[argon2]"),
        *("pytest-timeout", "pytest-xdist", "sentry-sdk", "sqlmodel", "strawberry-graphql"),
    ],
}


@nox.session(python=VERSIONS)
@nox.parametrize("project", list(FOREIGN))
def conformance(session: nox.Session, project: str) -> None:
    """The tests of a framework, from its sdist, with every app in our middleware: they end as without it."""
    session.install("-q", ".", "pytest", *FOREIGN[project])
    session.run("python", "tools/conformance.py", project)
