"""A small project on disk with a recording of it, for the tests of reports and of the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from loopwatch.model import CAUSES as CAUSE_NAMES
from tests.unit.recordings import MS, RUNNER, SECOND, SITE, STDLIB, UNIX, Place, RecordingBuilder

MAIN = """import heavy_model


async def predict(payload):
    features = build(payload)
    result = heavy_model.predict(features, tag="日本")
    return {"result": result}


def crunch(numbers):
    total = 0
    for number in numbers:
        total += number * number
    return total
"""
PREDICT = 'heavy_model.predict(features, tag="日本")'


def make_project(folder: Path, *, hung: bool = False) -> RecordingBuilder:
    """Write sources and a recording below `folder`; returns the builder, for more records.

    45 stalls at `predict`, 10 in `crunch`, a pile in a library, one without a sample, one that is allowed.
    """
    site = folder / ".venv/lib/python3.12/site-packages"
    (site / "sk").mkdir(parents=True)
    main, tree = folder / "main.py", site / "sk/tree.py"
    main.write_text(MAIN, encoding="utf-8")
    tree.write_text("\n" * 529 + "        return self.tree_.predict(X)\n", encoding="utf-8")
    for file in (main, tree):
        os.utime(file, (1, 1))
    builder = RecordingBuilder(
        cwd=str(folder), paths={"stdlib": [STDLIB], "site": [str(site)], "loopwatch": []}, python="3.12.1"
    )
    builder.loop()
    column = 13
    own: Place = (str(main), "predict", 6, 6, column, column + len(PREDICT.encode()))
    predict = builder.stack(
        *RUNNER, own, (str(site / "sk/base.py"), "predict", 3), (str(tree), "Tree.predict", 530, 530, 15, 36)
    )
    loop = builder.stack(*RUNNER, (str(main), "crunch", 12, 12, 18, 25))
    body = builder.stack(*RUNNER, (str(main), "crunch", 13, 13, 8, 32))
    protocol = builder.stack(*RUNNER, (str(site / "uvicorn/http.py"), "H.data_received", 100))
    for number in range(45):
        builder.stall(100 * number, 40 + number % 9, (predict, 40), callbacks=3)
    for number in range(10):
        builder.stall(5000 + 100 * number, 20, (loop, 8), (body, 11))
    builder.stall(7000, 30, (protocol, 9), callbacks=20)
    builder.stall(7100, 15)
    builder.stall(7200, 16, (body, 9), allowed=True)
    builder.summary(
        10_000, stalls=58, stalled_ns=2221 * MS, longest_ns=48 * MS, busy_ns=3 * SECOND, samples=2011, torn=3
    )
    if hung:
        builder.stall(10_100, 900, (predict, 400), t="open")
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")
    return builder


SERVICE = """import joblib
import time


async def lifespan(app):
    app.model = joblib.load("model.bin")
    yield
    app.model.close(wait=True)


async def predict(id):
    time.sleep(0.3)


def audit(user):
    return user.check()
"""


def make_service(folder: Path) -> RecordingBuilder:
    """Write a service's source and a recording of it below `folder`; returns the builder, for more records.

    A model is loaded at start; 3 stalls of one endpoint, 4 of four others in one place, 1 of no request, and one at
    shutdown.
    """
    folder.mkdir(exist_ok=True)
    main = folder / "main.py"
    main.write_text(SERVICE, encoding="utf-8")
    os.utime(main, (1, 1))
    builder = RecordingBuilder(cwd=str(folder))
    builder.loop()
    load = builder.stack(*RUNNER, (str(main), "lifespan", 6, 6, 16, 40))
    close = builder.stack(*RUNNER, (str(main), "lifespan", 8, 8, 4, 30))
    sleep = builder.stack(*RUNNER, (str(main), "predict", 12, 12, 4, 19))
    check = builder.stack(*RUNNER, (str(main), "audit", 16, 16, 11, 23))
    builder.phase("startup", 10)
    builder.stall(10, 840, (load, 800))
    builder.phase("serving", 850)
    builder.delayed(0)
    for number, waited in enumerate((12, 37, 0), 1):
        builder.stall(1000 * number, 300 + number, (sleep, 280), requests=[[number, 280]])
        builder.request(number, "GET /predict/{id}")
        builder.delayed(waited)
    for number, name in enumerate(("POST /a", "POST /b", "POST /c", "POST /a"), 4):
        builder.stall(1000 * number, 20 + number, (check, 15), requests=[[number, 15]])
        builder.delayed(1)
        builder.request(number, name)
    builder.stall(8500, 40, (check, 30))
    builder.delayed(0)
    builder.phase("shutdown", 9000)
    builder.stall(9000, 700, (close, 600))
    builder.delayed(0)
    builder.summary(10_000, stalls=10, stalled_ns=2592 * MS, longest_ns=840 * MS, busy_ns=3 * SECOND, requests=900)
    builder.end(10_000)
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")
    return builder


CAUSES = """import asyncio
import heavy_model
import work


async def predict(payload):
    features = build(payload)
    result = heavy_model.predict(features)
    return {"result": result}


async def export(rows):
    return await asyncio.to_thread(dump, rows)


def dump(rows):
    return "".join(str(row) for row in rows)


async def score(item):
    return work.score(item)
"""


def make_causes(folder: Path) -> RecordingBuilder:
    """Write a service's source and a recording below `folder` that tells what the thread was doing; returns the
    builder.

    4 stalls of a model that releases the GIL, 2 in which a thread of the service's own holds it, 3 of a plain
    function, a pile-up, one in which the CPU quota stopped the process.
    """
    folder.mkdir(exist_ok=True)
    main = folder / "main.py"
    main.write_text(CAUSES, encoding="utf-8")
    os.utime(main, (1, 1))
    builder = RecordingBuilder(cwd=str(folder))
    builder.loop()
    predict = builder.stack(
        *RUNNER, (str(main), "predict", 8, 8, 13, 42), (f"{SITE}/sklearn/tree/_classes.py", "DecisionTree.predict", 530)
    )
    score = builder.stack(*RUNNER, (str(main), "score", 21, 21, 11, 27), (str(folder / "work.py"), "score", 3))
    poll = builder.stack(*RUNNER[:-1], (f"{STDLIB}/selectors.py", "EpollSelector.select", 468))
    hog = builder.stack(
        (f"{STDLIB}/threading.py", "Thread._bootstrap", 1032),
        (f"{STDLIB}/concurrent/futures/thread.py", "_worker", 83),
        (str(main), "dump", 17, 17, 4, 44),
    )
    builder.thread(77, "asyncio_0")
    for number in range(4):
        builder.stall(1000 * number, 400, (predict, 380), **doing(400, native=390, python=10, gil_held=8, cpu=395))
    for number in range(2):
        told = {**doing(60, gil=58, python=2), "holders": [[hog, 77, 50]]}
        builder.stall(5000 + 100 * number, 60, (poll, 40), **told)
    for number in range(3):
        builder.stall(6000 + 100 * number, 70, (score, 60), **doing(70, python=50, gc=20, cpu=70))
    builder.stall(7000, 30, (score, 9), callbacks=40, **doing(30, python=30, longest=1))
    builder.stall(8000, 20, (score, 9), **doing(20, starved=18, python=2, run_delay=17, throttled=16, cpu=2))
    builder.summary(10_000, stalls=11, stalled_ns=1980 * MS, longest_ns=400 * MS, busy_ns=3 * SECOND)
    builder.end(10_000)
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")
    return builder


def doing(duration: int, **milliseconds: int) -> dict[str, Any]:
    """The members of a stall that say what the thread was doing."""
    causes = {cause: milliseconds.pop(cause) * MS for cause in CAUSE_NAMES if cause in milliseconds}
    plain: dict[str, Any] = {"gil_held": 0, "cpu": 0, "longest": duration * MS, "run_delay": 0, "throttled": None}
    told = {name: value * MS for name, value in milliseconds.items()}
    return {"causes": causes, **plain, "cpu_wall": duration * MS, "holders": [], **told}


START = UNIX / SECOND
