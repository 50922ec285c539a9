"""`loopwatch run uvicorn …`: started, asked, stopped as people do it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from tests.integration.project import PATIENCE, Project

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)
pytest.importorskip("uvicorn")

APP = """
import os, time
def block():
    time.sleep(0.05)
async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    block()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
"""


class Server:
    """A server that `loopwatch run` has started on a port of its own."""

    def __init__(self, project: Project, *options: str) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.log = project.folder / "log"
        with self.log.open("w") as log:
            command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(self.port), *options]
            self.process = project.start("run", *command, stdout=log, stderr=subprocess.STDOUT)
        project.wait_for(self.get)

    def get(self) -> int:
        """The pid that answers, 0 if none does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=PATIENCE) as answer:
                return int(answer.read())
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return 0

    def stop(self, number: int) -> str:
        """Send a signal, wait for the end; what it has printed."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)
        return self.log.read_text()


@pytest.fixture
def project_with_app(project: Project) -> Project:
    project.write("app.py", APP)
    return project


def at_block(project: Project) -> dict[int, int]:
    """How many stalls each process had in `block`."""
    run = project.recording
    counted: dict[int, int] = {}
    for stall in run.stalls:
        frame = run.sites[stall.site].frame
        if frame is not None and frame.function == "block":
            counted[stall.pid] = counted.get(stall.pid, 0) + 1
    return counted


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 0)])
def test_one_process(project_with_app: Project, loop: str, number: int, status: int) -> None:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    server = Server(project_with_app, "--loop", loop)
    pid = server.get()
    shown = server.stop(number)
    assert server.process.returncode == status
    assert "Application shutdown complete" in shown or "Finished server process" in shown
    assert "app.py:4 block" in shown
    assert "No event loop ran" not in shown
    assert at_block(project_with_app)[pid] >= 1


def test_workers(project_with_app: Project) -> None:
    server = Server(project_with_app, "--workers", "2")
    seen: set[int] = set()
    end = time.monotonic() + PATIENCE
    while len(seen) < 2 and time.monotonic() < end:
        seen.add(server.get())
    shown = server.stop(signal.SIGTERM)
    assert "itself, only in its child processes" in shown
    assert at_block(project_with_app).keys() == seen
    assert len(seen) == 2


def test_reload(project_with_app: Project) -> None:
    server = Server(project_with_app, "--reload")
    first = server.get()
    second = first
    end = time.monotonic() + PATIENCE
    while second in (0, first):
        assert time.monotonic() < end
        os.utime(project_with_app.folder / "app.py")
        time.sleep(0.5)
        second = server.get()
    shown = server.stop(signal.SIGINT)
    assert at_block(project_with_app).keys() >= {first, second}
    assert "app.py:4 block" in shown
