"""The programs of docs/causes.md: each stalls the loop, and is found with the cause and the advice of its heading."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from loopwatch.analysis.advice import Advisor, rules
from loopwatch.analysis.sites import SiteTable
from loopwatch.analysis.source import Source
from loopwatch.model import Stall
from loopwatch.recording import find_recordings, read_process
from tests.integration.project import LOOPWATCH

DOC = (Path(__file__).parents[2] / "docs/causes.md").read_text("utf-8")
LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(sys.platform == "win32", reason="no uvloop"))]
FILES = dict(re.findall(r"^```python\n# (\w+\.py)\n(.*?)^```", DOC, re.DOTALL | re.MULTILINE))
HEADING = r"^### `([\w-]+)` · (\w+)\n```(python|py)\n(.*?)^```"
# Needed by a program: what is not there on some interpreter leaves out that program there.
NEEDS = {"pdf": "reportlab", "compute": "numpy", "image": "PIL", "postgres": "psycopg2", "mysql": "pymysql"}
NEEDS |= {"mongo": "pymongo", "redis": "redis", "aws": "boto3", "sqlalchemy": "sqlalchemy"}

# Tells when each program began and ended, so that its stalls can be found.
RUNNER = """
import asyncio, importlib, json, sys, time
from run import repeat

modules = {slug: importlib.import_module("doc_" + slug.replace("-", "_")) for slug in sys.argv[2:]}

async def main():
    for slug, module in modules.items():
        begin = time.time()
        await repeat(module.stall)
        for process in getattr(module, "BUSY", ()):
            process.kill()
            process.wait()
        print(json.dumps([slug, begin, time.time()]), flush=True)

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.run(main())
else:
    asyncio.run(main())
"""


@dataclass(frozen=True)
class Program:
    slug: str
    cause: str
    runs: bool
    source: str


PROGRAMS = {
    slug: Program(slug, cause, how == "python", source)
    for slug, cause, how, source in re.findall(HEADING, DOC, re.DOTALL | re.MULTILINE)
}


def is_there(slug: str) -> bool:
    return slug not in NEEDS or importlib.util.find_spec(NEEDS[slug]) is not None


# Whether a file waits for the disk or is a matter of copying is up to the machine; rendering is as much Python as C.
EITHER = {"file": {"native", "blocked"}, "template": {"python", "native"}}
RUNNABLE = [slug for slug, program in PROGRAMS.items() if program.runs]


@cache
def run_programs(folder: Path, loop: str, slugs: tuple[str, ...]) -> tuple[list[Stall], dict[str, tuple[float, float]]]:
    """Run programs in one process: its stalls, and when each program began and ended."""
    for name, source in FILES.items():
        (folder / name).write_text(source, encoding="utf-8")
    for slug in slugs:
        (folder / f"doc_{slug.replace('-', '_')}.py").write_text(PROGRAMS[slug].source, encoding="utf-8")
    (folder / "runner.py").write_text(RUNNER, encoding="utf-8")
    done = subprocess.run(
        [*LOOPWATCH, "run", "-q", sys.executable, "runner.py", loop, *slugs],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    spans = {slug: (begin, end) for slug, begin, end in map(json.loads, done.stdout.splitlines())}
    (recording,) = find_recordings(cwd=folder)
    return [stall for files in recording.processes for stall in read_process(files, files.decoder())], spans


def without_machine(stall: Stall) -> Stall:
    """Without what a busy machine adds to any stall."""
    causes = tuple(each for each in stall.activity.causes if each[0] != "starved")
    return replace(stall, activity=stall.activity._replace(causes=causes)) if causes else stall


def judged(stalls: list[Stall]) -> tuple[str, str]:
    """The cause and the advice that most of the stalls have, each by itself."""
    causes, advice = Counter[str](), Counter[str]()
    advisor = Advisor(Source())
    for stall in stalls:
        table = SiteTable()
        table.add(stall, threshold=0.01, since=0)
        (site,) = table.finish()[0]
        causes[stall.cause] += 1
        if found := advisor.advice(site):
            advice[found.slug] += 1
    print(causes, advice)
    return causes.most_common(1)[0][0], advice.most_common(1)[0][0]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {loop: tmp_path_factory.mktemp(loop) for loop in ("asyncio", "uvloop")}


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("slug", RUNNABLE)
def test_a_program_is_found_with_its_cause_and_advice(
    slug: str, loop: str, folders: dict[str, Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if not is_there(slug):
        pytest.skip(f"{NEEDS[slug]} is not installed")
    if getattr(request.node, "execution_count", 1) == 1:
        stalls, spans = run_programs(folders[loop], loop, tuple(filter(is_there, RUNNABLE)))
    else:  # something was in its way: once more, by itself
        stalls, spans = run_programs(tmp_path, loop, (slug,))
    begin, end = spans[slug]
    mine = [stall for stall in stalls if begin <= stall.start <= end and stall.samples > 1]
    assert len(mine) >= 3, mine
    if PROGRAMS[slug].cause != "starved":
        mine = [without_machine(stall) for stall in mine]
    cause, advice = judged(mine)
    assert advice == slug
    assert cause == PROGRAMS[slug].cause or {cause, PROGRAMS[slug].cause} == EITHER.get(slug)


def test_the_page_has_every_rule() -> None:
    assert PROGRAMS.keys() == {rule.slug for rule in rules()}
    assert FILES.keys() == {"run.py", "slow.py"}
    assert {program.slug for program in PROGRAMS.values() if not program.runs} == {"dns", "file-tree", "throttled"}
