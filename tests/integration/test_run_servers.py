"""`loopwatch run uvicorn …`: started, asked, stopped as people do it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from typing import Any

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

# A middleware of its own, further in; with HEADERS one that asks for times.
WHO = """
import asyncio, gc, json, os, sys, types
from loopwatch import LoopwatchMiddleware, _core

async def app(scope, receive, send):
    if scope["type"] == "http":
        if scope["path"] == "/wait":
            await asyncio.sleep(60)
        await (within(dict(scope), receive, send) if scope["path"] == "/who" else answer(send, os.getpid()))

def ridden():
    "The numbers of the requests that ride on what runs."
    frames, frame = [], sys._getframe()
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    running = [each for each in gc.get_objects() if type(each) is types.CoroutineType and each.cr_frame in frames]
    found = [each for each in gc.get_referents(*running) if type(each) is _core.Request]
    return [each.number for each in found if each.cr_code is None]  # it drives nothing

async def inner(scope, receive, send):
    driven = type(asyncio.current_task().get_coro()).__name__
    await answer(send, [driven, ridden(), _core.whose(), _core.Request().number])

async def answer(send, value):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": json.dumps(value).encode()})

within = LoopwatchMiddleware(inner, headers=HEADERS)
"""

# Servers that stop by themselves after a request. They stall in `load`, `block` and `close`.
SERVERS = """
import asyncio, time, urllib.request
import uvicorn

def load(): time.sleep(0.1)
def block(): time.sleep(0.1)
def close(): time.sleep(0.1)
def compute(): time.sleep(0.1)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        load()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    block()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b""})

def ask(port):
    urllib.request.urlopen(f"http://127.0.0.1:{port}/").close()

async def serve():
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    await asyncio.to_thread(ask, server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    await serving

async def other():
    await asyncio.sleep(0.002)
    compute()
    await asyncio.sleep(0.002)
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
            return int(self.ask("/")[0])
        except OSError:
            assert self.process.poll() is None, self.log.read_text()
            return 0

    def ask(self, path: str) -> tuple[Any, dict[str, str]]:
        """What it answers, and with which headers."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE) as answer:
            return json.load(answer), dict(answer.headers)

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


def phases(project: Project, program: str) -> Counter[tuple[str, str]]:
    """Run a program with `SERVERS` in it: how many stalls there were of each function of those, in which phase."""
    project.write("app.py", program)
    done = project.loopwatch("run", "-q", "--threshold=50ms", "app.py")
    assert (done.returncode, done.stderr) == (0, "")
    run = project.recording
    frames = [(run.sites[stall.site].frame, stall.phase) for stall in run.stalls]
    own = ("load", "block", "close", "compute")
    return Counter((frame.function, phase) for frame, phase in frames if frame is not None and frame.function in own)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_one_server_after_another(project: Project, loop: str) -> None:
    """Each in a loop of its own, which may well be where the one before was. Then one that serves nothing."""
    pytest.importorskip(loop)
    runs = "".join(f"{loop}.run({what}())\n" for what in ("serve", "serve", "other", "other"))
    assert phases(project, f"{SERVERS}\nimport {loop}\n{runs}") == {
        ("load", "startup"): 2,
        ("block", "serving"): 2,
        ("close", "shutdown"): 2,
        ("compute", "other"): 2,
    }


def test_one_server_after_another_in_the_same_loop(project: Project) -> None:
    """Also where another loop has run in between."""
    runs = "with asyncio.Runner() as runner:\n    runner.run(serve())\n    {}\n    runner.run(serve())\n"
    runs = runs.format("with asyncio.Runner() as second: second.run(other())")
    assert phases(project, SERVERS + runs) == {
        ("load", "startup"): 2,
        ("block", "serving"): 2,
        ("close", "shutdown"): 2,
        ("compute", "other"): 1,
    }
    assert [loop.requests for each in project.recording.processes for loop in each.loops] == [2, 0]


class TestRides:
    """Nothing stands around the app: each request but the first rides on a coroutine, and is one."""

    @pytest.fixture
    def project(self, project: Project) -> Project:
        project.write("app.py", WHO.replace("HEADERS", "False"))
        return project

    @pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
    @pytest.mark.parametrize("http", ["h11", "httptools"])
    def test_once(self, project: Project, http: str, loop: str) -> None:
        pytest.importorskip(loop)
        server = Server(project, "--http", http, "--loop", loop)
        [driven, ridden, number, fresh], headers = server.ask("/who")
        assert driven == "coroutine"
        assert ridden == [number]
        assert fresh == number + 1
        assert "x-blocking-time-ms" not in headers
        assert server.ask("/who")[0] == ["coroutine", [number + 2], number + 2, number + 3]
        server.stop(signal.SIGINT)
        [requests] = [loop.requests for each in project.recording.processes for loop in each.loops if loop.requests]
        assert requests == 5  # those of `fresh` are two

    def test_times_are_asked_for(self, project: Project) -> None:
        """By a middleware further in: then it is awaited, and still one."""
        project.write("app.py", WHO.replace("HEADERS", "True"))
        server = Server(project)
        [driven, ridden, number, fresh], headers = server.ask("/who")
        assert (driven, ridden) == ("coroutine", [])
        assert fresh == number + 1
        assert float(headers["x-blocking-time-ms"]) >= 0
        assert server.ask("/who")[0] == ["coroutine", [], number + 2, number + 3]
        server.stop(signal.SIGINT)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="new in 3.14")
    @pytest.mark.parametrize("command", ["ps", "pstree"])
    def test_looked_at_from_outside(self, project: Project, command: str) -> None:
        """All coroutines that a task drives are shown, the app's the innermost of them."""
        server = Server(project, "--timeout-graceful-shutdown", "1")
        look = [sys.executable, "-m", "asyncio", command, str(server.get())]

        def shown() -> str:
            return subprocess.run(look, check=True, capture_output=True, text=True).stdout

        assert "run_asgi" not in shown()
        with socket.create_connection(("127.0.0.1", server.port), PATIENCE) as waiting:
            waiting.sendall(b"GET /wait HTTP/1.1\r\nhost: test\r\n\r\n")
            project.wait_for(lambda: "run_asgi" in shown())
            text = shown()
        if command == "ps":
            assert "sleep -> app -> " in text
        else:
            text = text[text.index("run_asgi") :]
            assert text.index(" app ") < text.index(" sleep ")
        server.stop(signal.SIGINT)
