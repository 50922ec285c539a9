"""Builds recordings by hand, as the watchdog would write them, with a clock that the test sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MS = 1_000_000
SECOND = 1_000_000_000
UNIX = 1_795_356_000 * SECOND  # 2026-11-22T14:00:00Z
MONOTONIC = 5_000 * SECOND
STDLIB = "/usr/lib/python3.12"
SITE = "/srv/app/.venv/lib/python3.12/site-packages"
CWD = "/srv/app"

# A place: file, function, line and, where the test cares, end line and columns.
Place = tuple[str, str, int] | tuple[str, str, int, int, int | None, int | None]

RUNNER: tuple[Place, ...] = (
    (f"{STDLIB}/asyncio/runners.py", "Runner.run", 118),
    (f"{STDLIB}/asyncio/base_events.py", "BaseEventLoop.run_until_complete", 654),
    (f"{STDLIB}/asyncio/base_events.py", "BaseEventLoop.run_forever", 641),
    (f"{STDLIB}/asyncio/base_events.py", "BaseEventLoop._run_once", 1987),
    (f"{STDLIB}/asyncio/events.py", "Handle._run", 88),
)


class RecordingBuilder:
    """One process's file. Times are in milliseconds since watching began."""

    def __init__(self, pid: int = 4711, **header: Any) -> None:
        self.pid = pid
        self.lines: list[str] = []
        self._codes: dict[tuple[str, str], int] = {}
        self._frames: dict[Place, int] = {}
        self._stacks: dict[tuple[Place, ...], int] = {}
        self._iteration = 0
        self.header(**header)

    def record(self, t: str, **members: Any) -> None:
        """Any record."""
        self.lines.append(json.dumps({"t": t, **members}))

    def header(self, **members: Any) -> None:
        """A header; `members` replace those of a plain one."""
        plain = {
            "schema": "loopwatch-recording/1",
            "part": 0,
            "pid": self.pid,
            "parent_pid": 1,
            "monotonic_ns": MONOTONIC,
            "unix_ns": UNIX,
            "loopwatch": "0.1.0",
            "python": "3.12.1",
            "executable": "/usr/bin/python3.12",
            "command": ["uvicorn", "app:app"],
            "cwd": CWD,
            "platform": "linux",
            "threshold_ns": 10 * MS,
            "interval_ns": MS,
            "paths": {"stdlib": [STDLIB], "site": [SITE], "loopwatch": [f"{SITE}/loopwatch"]},
            "stacks": True,
            "notes": [],
        }
        self.record("header", **{**plain, **members})
        self.lost(0)

    def lost(self, records: int) -> None:
        """So many records could not be written: the second line says it, also later."""
        self.lines[1:2] = [f'{{"t":"dropped","records":{records:<20},"at":0}}']

    def loop(self, number: int = 1, kind: str = "asyncio", thread: str = "MainThread", at: float = 0) -> None:
        """A loop is seen for the first time."""
        self.record("loop", loop=number, kind=kind, poll="slot", thread=thread, tid=1, at=self.at(at))

    def stack(self, *places: Place) -> int:
        """The number of a stack, outermost place first; writes what has not been written yet."""
        parent: int | None = None
        for depth in range(1, len(places) + 1):
            key = places[:depth]
            if key not in self._stacks:
                frame = self._frame(places[depth - 1])
                self._stacks[key] = len(self._stacks)
                self.record("stack", id=self._stacks[key], parent=parent, frame=frame)
            parent = self._stacks[key]
        assert parent is not None
        return parent

    def stall(
        self,
        start: float,
        duration: float,
        *stacks: tuple[int, int],
        t: str = "stall",
        loop: int = 1,
        callbacks: int = 1,
        iteration: int | None = None,
        **members: Any,
    ) -> int:
        """A stall or, with `t="open"`, one that is running; returns its iteration."""
        self._iteration = self._iteration + 1 if iteration is None else iteration
        end = {"stall": "end", "open": "at"}[t]
        plain: dict[str, Any] = {
            "loop": loop,
            "iteration": self._iteration,
            "start": self.at(start),
            end: self.at(start + duration),
            "callbacks": callbacks,
            "samples": sum(count for _, count in stacks),
            "torn": 0,
            "outer": 0,
            "stacks": [list(pair) for pair in stacks],
            "omitted": 0,
            "requests": [],
        }
        if t == "stall":
            plain["allowed"] = False
        self.record(t, **{**plain, **members})
        return self._iteration

    def thread(self, tid: int, name: str) -> None:
        """A thread that may hold the GIL."""
        self.record("thread", tid=tid, name=name)

    def request(self, number: int, endpoint: str | None) -> None:
        """What a request asked for is known."""
        self.record("request", request=number, endpoint=endpoint)

    def delayed(self, requests: int, iteration: int | None = None, loop: int = 1) -> None:
        """So many requests had to wait for a stall: by default the newest."""
        self.record("delayed", loop=loop, iteration=iteration or self._iteration, requests=requests)

    def phase(self, phase: str, at: float, loop: int = 1) -> None:
        """A phase of a server's loop begins."""
        self.record("phase", loop=loop, phase=phase, at=self.at(at))

    def summary(self, at: float, loop: int = 1, **members: Any) -> None:
        """A summary; `members` replace those of an idle loop."""
        plain = {
            "loop": loop,
            "at": self.at(at),
            "running": True,
            "watched_ns": int(at * MS),
            "busy_ns": int(at * MS) // 10,
            "iterations": 1000,
            "stalls": 0,
            "stalled_ns": 0,
            "longest_ns": 0,
            "samples": 0,
            "torn": 0,
            "cut": 0,
            "outer": 0,
            "unsampled": 0,
            "lost": 0,
            "lost_ns": 0,
            "sampling_ns": 0,
            "requests": 0,
            "requests_untracked": 0,
            "histogram": [900, 100] + [0] * 22,
        }
        self.record("summary", **{**plain, **members})

    def end(self, at: float, dropped: int = 0) -> None:
        """Watching ended in order."""
        self.record("end", at=self.at(at), dropped=dropped)

    @staticmethod
    def at(milliseconds: float) -> int:
        """The process's clock."""
        return MONOTONIC + int(milliseconds * MS)

    @property
    def data(self) -> bytes:
        """The file so far."""
        return "".join(line + "\n" for line in self.lines).encode("utf-8", "surrogatepass")

    def write(self, folder: Path, part: int = 0) -> Path:
        """Write the file into a recording's folder, under the name that the writer gives."""
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{self.pid}-{UNIX // MS}{f'.{part}' if part else ''}.jsonl"
        path.write_bytes(self.data)
        return path

    def _frame(self, place: Place) -> int:
        if place not in self._frames:
            file, function, line = place[:3]
            code = self._codes.get((file, function))
            if code is None:
                code = self._codes[file, function] = len(self._codes)
                self.record("code", id=code, file=file, name=function, first=1)
            end_line, column, end_column = place[3:] if len(place) == 6 else (line, None, None)
            self._frames[place] = len(self._frames)
            self.record(
                "frame", id=self._frames[place], code=code, line=line, end_line=end_line, col=column, end_col=end_column
            )
        return self._frames[place]
