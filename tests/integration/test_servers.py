"""`loopwatch run SERVER app`, no code changed: the stall is there with the name of its endpoint."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from loopwatch.analysis.run import PlacedStall, Run
from tests.integration.programs import FASTAPI, NAMES, PROGRAMS
from tests.integration.project import PATIENCE, Project

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)

# Command line, the program, what has to be installed for it.
SERVERS = {
    "uvicorn": ("-m uvicorn program:app --port {port}", "fastapi", "uvicorn"),
    "uvicorn-uvloop": ("-m uvicorn program:app --port {port} --loop uvloop", "fastapi", "uvloop"),
    "uvicorn-workers": ("-m uvicorn program:app --port {port} --workers 2", "fastapi", "uvicorn"),
    "uvicorn-reload": ("-m uvicorn program:app --port {port} --reload", "fastapi", "uvicorn"),
    "fastapi-run": ("-m fastapi run program.py --port {port}", "fastapi", "fastapi_cli"),
    "litestar-run": ("-m litestar --app program:app run --port {port}", "litestar", "litestar"),
    "quart-run": ("-m quart --app program:app run --port {port}", "quart", "quart"),
    "hypercorn": ("-m hypercorn program:app --bind 127.0.0.1:{port}", "fastapi", "hypercorn"),
    "hypercorn-quart": ("-m hypercorn program:app --bind 127.0.0.1:{port}", "quart", "hypercorn"),
    "granian": ("-m granian --interface asgi --port {port} program:app", "fastapi", "granian"),
    "daphne": ("-m daphne --bind 127.0.0.1 --port {port} program:app", "fastapi", "daphne"),
    "gunicorn": ("-m gunicorn -k asgi -b 127.0.0.1:{port} program:app", "fastapi", "gunicorn"),
    "gunicorn-uvicorn": (
        "-m gunicorn -k uvicorn_worker.UvicornWorker --graceful-timeout 2 -w 2 -b 127.0.0.1:{port} program:app",
        "fastapi",
        "uvicorn_worker",
    ),
    "gunicorn-preload": (
        "-m gunicorn -k uvicorn_worker.UvicornWorker --graceful-timeout 2 --preload -b 127.0.0.1:{port} program:app",
        "fastapi",
        "uvicorn_worker",
    ),
    "aiohttp": ("{python} program.py {port}", "aiohttp", "aiohttp"),
    "sanic": ("{python} program.py {port}", "sanic", "sanic"),
    "sanic-workers": ("{python} program.py {port}", "sanic-workers", "sanic"),
}
WITHOUT_LIFESPAN = {"daphne"}
# Those that let the app stop, when they are told to, before they end themselves.
UNLOADED = {"uvicorn", "uvicorn-uvloop", "hypercorn", "granian", "gunicorn", "aiohttp", "sanic", "sanic-workers"}
UNLOADED |= {"gunicorn-uvicorn", "gunicorn-preload"}
# The roles of the processes that block. Most masters run no loop, and so are not in the recording; gunicorn's does.
ROLES = {
    "uvicorn": "main",
    "uvicorn-workers": "worker",
    "uvicorn-reload": "worker",
    "hypercorn": "worker",
    "granian": "child or worker",  # how its processes are started depends on the version of Python
    "gunicorn": "worker",
    "gunicorn-uvicorn": "worker",
    "sanic-workers": "worker",
    "aiohttp": "main",
}


class Server:
    """A server that `loopwatch run` has started on a port of its own."""

    def __init__(self, project: Project, command: str, *options: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        words = command.format(port=self.port, python=sys.executable).split()
        self.log = project.folder / "log"
        with self.log.open("w") as log:
            self.process = project.start("run", "-q", *options, *words, stdout=log, stderr=subprocess.STDOUT)
        project.wait_for(self.ready)

    def ready(self) -> bool:
        """Whether it answers."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.get("/ready").status == 200
        assert self.process.poll() is None, self.log.read_text()
        return False

    def get(self, path: str) -> http.client.HTTPResponse:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            return answer
        finally:
            connection.close()

    def stop(self, number: int = signal.SIGINT) -> None:
        """As from the keyboard, but for this process alone."""
        self.process.send_signal(number)
        self.process.wait(PATIENCE)


@contextlib.contextmanager
def serving(project: Project, name: str, *options: str) -> Iterator[Server]:
    """One of the servers with its program."""
    command, framework, library = SERVERS[name]
    for each in (library, framework.partition("-")[0]):
        if importlib.util.find_spec(each) is None:
            pytest.skip(f"{each} is not installed: it may have no wheel for Python {sys.version.split()[0]}")
    project.write("program.py", PROGRAMS[framework])
    server = Server(project, command, *options)
    yield server
    # At SIGINT gunicorn tells its workers to quit, and uvicorn's do not listen to that: they are killed in the end.
    server.stop(signal.SIGTERM if "UvicornWorker" in command else signal.SIGINT)


def stalls_in(run: Run, function: str) -> list[PlacedStall]:
    """The stalls in one of the program's own functions."""
    own = {number for number, site in enumerate(run.sites) if site.frame and site.frame.function == function}
    return [stall for stall in run.stalls if stall.site in own]


@pytest.mark.parametrize("name", SERVERS)
def test_endpoint_is_named(project: Project, name: str) -> None:
    with serving(project, name) as server:
        for _ in range(3):
            answer = server.get("/block/s3cr3t")
            assert answer.status == 200
            assert not {"x-blocking-time-ms", "x-loop-delay-ms", "server-timing"} & set(map(str.lower, answer.headers))
    run = project.recording
    found = stalls_in(run, "block")
    assert [stall.endpoint for stall in found] == [NAMES[SERVERS[name][1]]] * 3
    assert {stall.phase for stall in found} == {"serving"}
    if name in ROLES:
        at_fault = {stall.pid for stall in found}
        assert {each.role for each in run.processes if each.process.pid in at_fault} <= set(ROLES[name].split(" or "))
        if name.startswith("gunicorn"):
            assert [each.role for each in run.processes].count("master") == 1
    if "def load" in PROGRAMS[SERVERS[name][1]] and name not in WITHOUT_LIFESPAN:
        assert {stall.phase for stall in stalls_in(run, "load")} == {"startup"}
    if name in UNLOADED:
        assert {stall.phase for stall in stalls_in(run, "unload")} == {"shutdown"}
    recorded = "".join(path.read_text() for path in project.folder.glob(".loopwatch/*/*.jsonl"))
    assert "/block/" in recorded
    assert "s3cr3t" not in recorded


@pytest.mark.parametrize("name", ["uvicorn", "hypercorn", "granian", "daphne", "gunicorn"])
def test_headers(project: Project, name: str) -> None:
    with serving(project, name, "--headers") as server:
        answer = server.get("/block/1")
    assert 99 < float(answer.headers["x-blocking-time-ms"]) < 1000
    assert float(answer.headers["x-loop-delay-ms"]) < 1000
    assert re.fullmatch(r"blocking;dur=[\d.]+, loop-delay;dur=[\d.]+", answer.headers["server-timing"])


def test_middleware_in_the_app_as_well(project: Project) -> None:
    project.write("program.py", FASTAPI + "\nimport loopwatch\napp.add_middleware(loopwatch.LoopwatchMiddleware)\n")
    server = Server(project, SERVERS["uvicorn"][0], "--headers")
    answer = server.get("/block/1")
    server.stop()
    assert len(answer.headers.get_all("x-blocking-time-ms", [])) == 1
    assert [stall.endpoint for stall in stalls_in(project.recording, "block")] == ["GET /block/{name}"]


@pytest.mark.parametrize("name", ["uvicorn", "aiohttp"])
def test_requests_left_alone(project: Project, name: str) -> None:
    project.environment["LOOPWATCH_REQUESTS"] = "0"
    with serving(project, name) as server:
        server.get("/block/1")
    run = project.recording
    assert [stall.endpoint for stall in stalls_in(run, "block")] == [""]
    assert run.totals.requests == 0


def test_switched_off(project: Project) -> None:
    project.environment["LOOPWATCH"] = "0"
    with serving(project, "uvicorn", "--headers") as server:
        assert "x-blocking-time-ms" not in server.get("/block/1").headers
    assert not (project.folder / ".loopwatch").exists()


BARE = """
import time
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            phase = (await receive())["type"]
            await send({"type": phase + ".complete"})
            if phase.endswith("shutdown"):
                return
    time.sleep(0.05)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def test_trio_is_named(project: Project) -> None:
    """Its loop is not watched: the server serves as ever, and the report says why it is empty."""
    project.write("program.py", BARE)
    server = Server(project, "{python} -m hypercorn -k trio program:app --bind 127.0.0.1:{port}")
    assert server.get("/").status == 200
    server.stop()
    assert "Traceback" not in server.log.read_text()
    run = project.recording
    assert not run.processes
    assert {each.reason for each in run.unwatched} == {"trio runs its own loop, which loopwatch does not watch"}
    assert any("hypercorn" in each.command for each in run.unwatched)
    shown = " ".join(project.loopwatch("report").stdout.split())
    assert "trio runs its own loop, which loopwatch does not watch" in shown
