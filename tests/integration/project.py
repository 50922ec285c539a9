"""A folder with a person's program in it, and `loopwatch` as that person calls it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from loopwatch.analysis.run import Run, load
from loopwatch.recording import find_recordings

LOOPWATCH = [sys.executable, "-m", "loopwatch"]
PATIENCE = 60.0  # seconds
Done = subprocess.CompletedProcess[str]

# For programs: a stall of 30 ms, on a line of its own.
STALL = """
import asyncio, time
def block():
    time.sleep(0.03)
async def stall():
    await asyncio.sleep(0.001)
    block()
    await asyncio.sleep(0.001)
"""


def once(*cases: tuple[Any, ...]) -> list[Any]:
    """Further cases of a test, the same on every interpreter: one of them runs them (CONTRIBUTING.md)."""
    return [pytest.param(*case, marks=pytest.mark.once) for case in cases]


@dataclass
class Project:
    """Programs in `folder`, and what they are started with."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOOPWATCH")}
        self.environment = {**kept, "PYTHONUNBUFFERED": "1", **self.environment}

    def write(self, name: str, text: str) -> Path:
        """A file of the project."""
        path = self.folder / name
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def loopwatch(self, *arguments: str | bytes, **variables: str) -> Done:
        """Run loopwatch to its end."""
        return self.run([*LOOPWATCH, *arguments], **variables)

    def run(self, command: list[Any], **variables: str) -> Done:
        """Run a program to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start loopwatch; `stop_all` ends what is left of it."""
        process = subprocess.Popen(
            [*LOOPWATCH, *arguments],
            **{
                "cwd": self.folder,
                "env": self.environment,
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "start_new_session": True,
                **options,
            },
        )
        self.started.append(process)
        return process

    def stop_all(self) -> None:
        """End what was started, with all that is in its process group."""
        for process in self.started:
            if hasattr(os, "killpg"):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(process.pid, signal.SIGKILL)
            if process.poll() is None:
                process.kill()
            process.communicate()

    @property
    def recording(self) -> Run:
        """The newest recording, read as the report reads it."""
        return load(find_recordings(cwd=self.folder))

    def wait_for(self, condition: Callable[[], Any]) -> Any:
        """Wait until something is true."""
        end = time.monotonic() + PATIENCE
        while not (result := condition()):
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.01)
        return result

    def wait_for_text(self, name: str, text: str = "") -> str:
        """Wait until a file of the project is there, with this text in it; all of its text."""
        path = self.folder / name
        self.wait_for(lambda: path.exists() and path.read_text() and text in path.read_text())
        return path.read_text()
