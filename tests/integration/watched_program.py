"""Small programs that watch themselves: run to their end, each in a process of its own, and what they recorded."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from loopwatch.model import Stall
from loopwatch.recording import Decoder

LOOPS = ["asyncio", "uvloop"]
PRELUDE = """
import asyncio, os, signal, sys, threading, time
import loopwatch
if {loop!r} == "uvloop":
    import uvloop
    run, new_loop = uvloop.run, uvloop.new_event_loop
else:
    run, new_loop = asyncio.run, asyncio.new_event_loop

def block(seconds=0.05):
    time.sleep(seconds)

async def blocking():
    await asyncio.sleep(0.002)
    block()
    await asyncio.sleep(0)
"""


def run_program(
    folder: Path, body: str, loop: str = "asyncio", status: int = 0, **environment: str
) -> tuple[str, list[list[Stall]]]:
    """Run it with `PRELUDE` before it; its output, and the stalls of each process that it recorded in `rec`."""
    program = folder / "program.py"
    program.write_text(PRELUDE.format(loop=loop) + textwrap.dedent(body), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(program)],
        cwd=folder,
        env={**os.environ, "LOOPWATCH_LOG": "0", **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr, recorded(folder / "rec")


def recorded(folder: Path) -> list[list[Stall]]:
    """The stalls of each recording file, that of the first process first."""
    found = []
    for path in sorted(folder.glob("*.jsonl"), key=_age):
        decoder = Decoder()
        stalls = decoder.feed(path.read_bytes()) + decoder.end_part() + decoder.flush()
        found.append(stalls + decoder.open_stalls())
    return found


def _age(path: Path) -> tuple[int, int]:
    """Of a process: when it began to be recorded, in milliseconds, and its number, since a child may be as quick."""
    pid, _, start = path.stem.partition("-")
    return int(start), int(pid)


def blocked(stalls: list[Stall]) -> int:
    """How many of them lasted as long as one `block()`."""
    return sum(stall.duration >= 0.05 for stall in stalls)
