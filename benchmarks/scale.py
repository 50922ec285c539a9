"""Reading at scale: a recording of a million stalls from 16 processes, and what each report of it takes.

The recording is as the writer makes it: tables, requests, who had to wait, summaries. Time and peak memory are those
of `loopwatch report` with all processes that it starts. The page is opened in the system's Chromium, if it is there.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import psutil

from benchmarks.outcome import Outcome

_PROCESSES = 16
_STALLS = 1_000_000
_MS = 1_000_000
_UNIX = 1_795_356_000_000_000_000
_MONOTONIC = 5_000_000_000_000
_STDLIB = "/usr/lib/python3.12"
_SITE = "/srv/app/.venv/lib/python3.12/site-packages"
_FORMATS = ("text", "json", "html", "speedscope", "collapsed", "pprof", "markdown")

_KINDS = 4096  # of stalls in one file

_LOOK = 0.02  # seconds between two looks at the memory


def run(quick: bool) -> list[Outcome]:
    """Generate the recording, and make every report of it."""
    stalls = _STALLS // 20 if quick else _STALLS
    outcome = Outcome(
        "scale",
        f"Reports of {stalls:,} stalls from {_PROCESSES} processes",
        ["format", "time", "CPU", "peak memory", "size"],
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run").mkdir()
        write = partial(generate, folder / "run", stalls=stalls // _PROCESSES)
        with ProcessPoolExecutor() as pool:
            size = sum(pool.map(write, range(_PROCESSES)))
        outcome.notes.append(f"a recording of {size / 1e6:,.0f} MB")
        for each in _FORMATS:
            seconds, cpu, peak, made = measure(folder, each)
            row = [each, f"{seconds:.1f} s", f"{cpu:.1f} s", f"{peak / 1e6:.0f} MB", f"{made / 1e6:.2f} MB"]
            outcome.add(row, format=each, stalls=stalls, seconds=seconds, cpu_seconds=cpu, peak_bytes=peak, bytes=made)
        outcome.notes.append(opened(folder / "report.html"))
    return [outcome]


def measure(folder: Path, name: str) -> tuple[float, float, int, int]:
    """Seconds, CPU seconds, bytes of resident memory at the peak, and bytes of the report. CPU
    and memory are those of the command and of all processes that it starts, together: pages that they share count for
    each."""
    out = folder / f"report.{name}"
    command = [sys.executable, "-m", "loopwatch", "report", "--no-source", "-f", name, "-o", str(out)]
    source = str(Path(__file__).resolve().parents[1] / "src")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [source, os.environ.get("PYTHONPATH")]))}
    begin, used, peak = time.monotonic(), _cpu(), 0
    with subprocess.Popen([*command, str(folder / "run")], env=environment) as child:
        watched = psutil.Process(child.pid)
        while child.poll() is None:
            peak = max(peak, _resident(watched))
            time.sleep(_LOOK)
    if child.returncode:
        raise RuntimeError(f"loopwatch report -f {name} ended with status {child.returncode}")
    return time.monotonic() - begin, _cpu() - used, peak, out.stat().st_size


def opened(page: Path) -> str:
    """How long a browser that runs already takes from the page's address to the drawn flame graph."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    try:
        from playwright.sync_api import sync_playwright
    except ModuleNotFoundError:
        program = None
    if program is None:
        return "the page was not opened: that takes playwright and the system's Chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        begin = time.monotonic()
        tab.goto(page.as_uri())
        tab.wait_for_selector("#graph g.frame")
        tab.evaluate("new Promise((done) => requestAnimationFrame(() => setTimeout(done)))")  # until it is painted
        seconds = time.monotonic() - begin
        browser.close()
    return f"the page opens in {seconds:.2f} s"


def _cpu() -> float:
    """CPU seconds of all processes that have been started here and have ended."""
    times = os.times()
    return times.children_user + times.children_system


def _resident(process: psutil.Process) -> int:
    total = 0
    with contextlib.suppress(psutil.Error):
        for each in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                total += each.memory_info().rss
    return total


def generate(folder: Path, process: int, stalls: int) -> int:
    """Write one process's file; returns its size in bytes. What a stall was is chosen of some thousand, each put into
    JSON once: a million records would take longer than to read them."""
    chance = random.Random(process)
    path = folder / f"{1000 + process}-{_UNIX // _MS}.jsonl"
    with path.open("w", encoding="utf-8") as out:
        stacks = _tables(out.write, process)
        kinds = [_kind(chance, stacks) for _ in range(_KINDS)]
        at = _MONOTONIC + 10 * _MS
        for number in range(1, stalls + 1):
            length, samples, members = chance.choice(kinds)
            out.write(
                f'{{"t":"stall","loop":1,"iteration":{number * 3},"start":{at},"end":{at + length},{members},'
                f'"requests":[[{number},{samples}]]}}\n'
                f'{{"t":"request","request":{number},"endpoint":"GET /items/{{id}}/{number % 40}"}}\n'
                f'{{"t":"delayed","loop":1,"iteration":{number * 3},"requests":{number % 7}}}\n'
            )
            at += length + 30 * _MS
            if number % 40 == 0:
                _write(out.write, t="summary", loop=1, at=at, running=True, watched_ns=at - _MONOTONIC, stalls=number)
        _write(out.write, t="end", at=at, dropped=0)
    return path.stat().st_size


def _kind(chance: random.Random, stacks: list[int]) -> tuple[int, int, str]:
    """Nanoseconds, samples, and as JSON the other members of a stall that do not depend on when it was."""
    length = int(chance.lognormvariate(3.2, 0.7) * _MS) + 10 * _MS
    seen = [[chance.choice(stacks), length // _MS] for _ in range(chance.choice((1, 1, 1, 2, 4)))]
    samples = sum(count for _, count in seen)
    members = {
        "callbacks": 2,
        "samples": samples,
        "torn": 0,
        "stacks": seen,
        "omitted": 0,
        "allowed": False,
        "causes": {"native": length // 3, "blocked": length - length // 3},
        "gil_held": 0,
        "cpu": length // 3,
        "cpu_wall": length,
    }
    return length, samples, json.dumps(members, separators=(",", ":"))[1:-1]


def _tables(write: object, process: int) -> list[int]:
    """A header, a loop in its phase, and the stacks of 60 endpoints through a framework; their innermost ones."""
    paths = {"stdlib": [_STDLIB], "site": [_SITE], "loopwatch": []}
    times = {"monotonic_ns": _MONOTONIC, "unix_ns": _UNIX, "threshold_ns": 10 * _MS, "interval_ns": _MS}
    who = {"pid": 1000 + process, "parent_pid": 1000 if process else 1, "command": ["uvicorn", "app:app"]}
    about = {"schema": "loopwatch-recording/1", "part": 0, "cwd": "/srv/app", "python": "3.12.1", "platform": "linux"}
    _write(write, t="header", **about, **who, **times, paths=paths, stacks=True, notes=[])
    _write(write, t="loop", loop=1, kind="asyncio", poll="slot", thread="MainThread", tid=1, at=_MONOTONIC)
    _write(write, t="phase", loop=1, phase="serving", at=_MONOTONIC)
    codes = [(f"{_STDLIB}/asyncio/events.py", "Handle._run")]
    codes += [(f"{_SITE}/framework/layer{i}.py", f"Layer{i}.__call__") for i in range(20)]
    codes += [(f"/srv/app/app/views{i}.py", f"view_{i}") for i in range(60)]
    codes += [(f"{_SITE}/driver/part{i}.py", f"Part{i}.call") for i in range(10)]
    for number, (file, function) in enumerate(codes):
        _write(write, t="code", id=number, file=file, name=function, first=1)
        _write(write, t="frame", id=number, code=number, line=10 + number, end_line=10 + number, col=4, end_col=40)
    for number in range(21):
        _write(write, t="stack", id=number, parent=number - 1 if number else None, frame=number)
    found = []
    number = 21
    for view in range(60):
        _write(write, t="stack", id=number, parent=20, frame=21 + view)
        for depth in range(1 + view % 5):
            _write(write, t="stack", id=number + 1, parent=number, frame=81 + (view + depth) % 10)
            number += 1
        found.append(number)
        number += 1
    return found


def _write(write: object, **record: object) -> None:
    assert callable(write)
    write(json.dumps(record, separators=(",", ":")) + "\n")
