"""Run commands with and without loopwatch, and read back what it recorded."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cores

ROOT = Path(__file__).resolve().parent.parent
LOOPWATCH = [sys.executable, "-m", "loopwatch"]
Record = dict[str, object]


def run_watched(folder: Path, command: list[str]) -> str:
    """Run a command under `loopwatch run` to its end; return its standard output."""
    watched = [*LOOPWATCH, "run", "-q", "--dir", str(folder), *command]
    return subprocess.run(watched, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True, timeout=600).stdout


def printed(module: str, *arguments: str, watch: Sequence[str] = ()) -> Any:
    """What a program of the benchmarks prints, as JSON; `watch` is the command that runs it, if any."""
    command = [*watch, sys.executable, "-m", f"benchmarks.{module}", *arguments]
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, timeout=3600).stdout)


def recorded_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*.jsonl"))


def report(folder: Path) -> dict[str, object]:
    """`loopwatch report -f json` of the one run below a folder."""
    (run,) = [path for path in folder.iterdir() if path.is_dir()]
    command = [*LOOPWATCH, "report", "-f", "json", str(run)]
    parsed: dict[str, object] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    return parsed


def records(folder: Path, kind: str) -> list[Record]:
    """All records of one type in the recordings below a folder, see docs/recording.md."""
    found = []
    for path in sorted(folder.rglob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line may be half-written
                record = json.loads(line)
                if record.get("t") == kind:
                    found.append(record)
    return found


def last_summary(folder: Path) -> dict[str, int]:
    """The newest summary of the busiest loop: cumulative, so it stands for all before it."""
    newest: dict[object, dict[str, int]] = {}
    for record in records(folder, "summary"):
        newest[record["loop"]] = {key: value for key, value in record.items() if isinstance(value, int)}
    if not newest:
        raise SystemExit(f"benchmarks: no loop was watched in {folder}")
    return max(newest.values(), key=lambda summary: summary["iterations"])


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    pid: int
    folder: Path  # of its recording, if it is watched

    def cpu_seconds(self) -> tuple[float, float]:
        """User and system time so far: of the loop's thread, and of all others, the watchdog's among them."""
        spent = {
            int(task.parent.name): int(task.read_text().split()[0]) / 1e9
            for task in Path(f"/proc/{self.pid}/task").glob("*/schedstat")
        }
        loop = spent.pop(self.pid)
        return loop, sum(spent.values())


@contextlib.contextmanager
def uvicorn(loop: str, *options: str, watched: bool, http: str = "httptools", app: str = "app") -> Iterator[Server]:
    """An app of benchmarks/app.py on uvicorn and the loopback address, ended with the block. `options` are those of the
    watch."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.app:{app}", "--port", str(port), "--loop", loop]
    command += ["--http", http, "--no-access-log", "--log-level", "warning"]
    command += ["--timeout-keep-alive", "3600"]  # its turn comes late where there are many servers
    with tempfile.TemporaryDirectory(prefix="loopwatch-bench-") as folder:
        if watched:
            command = [*LOOPWATCH, "run", "-q", "--dir", folder, *options, *command]
        with cores.on(cores.SERVERS):
            process = subprocess.Popen(command, cwd=ROOT)
        with process:
            try:
                url = f"http://127.0.0.1:{port}"
                yield Server(url, _pid_behind(f"{url}/pid", process), Path(folder))
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextlib.contextmanager
def both_kinds(loop: str, copies: int, *, watched_first: bool, http: str = "httptools") -> Iterator[list[Server]]:
    """So many servers that are not watched, and then as many that are. They are started by turns, since those that come
    later may find less of the machine's memory in one piece."""
    with contextlib.ExitStack() as stack:
        order = [watched_first, not watched_first] * copies
        started = [(watched, stack.enter_context(uvicorn(loop, watched=watched, http=http))) for watched in order]
        yield [server for kind in (False, True) for watched, server in started if watched is kind]


def _pid_behind(url: str, process: subprocess.Popen[bytes]) -> int:
    """Wait until the server answers; it tells its own pid, which is not that of `loopwatch run`."""
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"benchmarks: the server ended with status {process.returncode}")
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return int(response.read())
        except urllib.error.URLError:
            time.sleep(0.1)
    raise SystemExit("benchmarks: the server did not come up within 30 s")
