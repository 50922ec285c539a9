"""Phases without `loopwatch run`: a server's start-up is told from its serving for `start()` and the metrics alone."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from tests.integration.project import PATIENCE, Project, once

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)

SERVERS = {
    "uvicorn": "uvicorn program:app --port {port}",
    "uvicorn-workers": "uvicorn program:app --port {port} --workers 2",  # it imports the app within its loop
    "uvicorn-factory": "uvicorn program:make --factory --port {port}",
    "uvicorn_worker": "gunicorn -k uvicorn_worker.UvicornWorker --graceful-timeout 2 -b 127.0.0.1:{port} program:app",
    "gunicorn": "gunicorn -k asgi --graceful-timeout 2 -b 127.0.0.1:{port} program:app",
    "hypercorn": "hypercorn program:app --bind 127.0.0.1:{port}",
    "granian": "granian --interface asgi --port {port} program:app",
}
PROGRAM = """
import logging, sys, time
import loopwatch
%s
handler = logging.StreamHandler()
handler.setFormatter(logging.Formatter("%%(stall_function)s %%(levelname)s %%(stall_phase)s"))
logging.getLogger("loopwatch").addHandler(handler)
logging.getLogger("loopwatch").setLevel(logging.INFO)

def imports():
    time.sleep(0.3)  # most of an iteration in which the server imports its own as well

def load():
    time.sleep(0.05)

def block():
    time.sleep(0.05)

def close():
    time.sleep(0.05)

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        load()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if scope["path"] == "/block":
        block()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": metrics()})

def make():
    imports()
    return app

def metrics():
    return b""

imports()
"""
WITHOUT_LIFESPAN = PROGRAM.replace(
    'scope["type"] == "lifespan":', 'scope["type"] == "lifespan":\n        load(); 1 / 0'
)
METRICS = """
import prometheus_client
from loopwatch.metrics.prometheus import LoopwatchCollector

registry = prometheus_client.CollectorRegistry()
registry.register(LoopwatchCollector())

def metrics():
    return prometheus_client.generate_latest(registry)
"""


def served(project: Project, name: str, program: str) -> tuple[list[str], str]:
    """The log lines of a server that is started, asked to block, and stopped; and the answer to the last request."""
    if importlib.util.find_spec(name.partition("-")[0]) is None:
        pytest.skip(f"{name} is not installed")
    project.write("program.py", program)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    log = project.folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *SERVERS[name].format(port=port).split()],
            cwd=project.folder,
            env=project.environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
    project.started.append(process)

    def get(path: str) -> str:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return str(answer.read().decode()) or "."
        assert process.poll() is None, log.read_text()
        return ""

    project.wait_for(lambda: get("/"))
    get("/block")
    counted = "loopwatch_stalls_total{"
    project.wait_for(lambda: counted in get("/") if METRICS in program else "\nblock " in log.read_text())
    answer = get("/")
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    text = log.read_text()
    assert "Traceback" not in text or program is WITHOUT_LIFESPAN
    own = ("imports", "load", "block", "close")
    return [line for line in text.splitlines() if line.split(" ", 1)[0] in own], answer


@pytest.mark.parametrize("name", ["uvicorn", *once(*((name,) for name in SERVERS if name != "uvicorn"))])
def test_start(project: Project, name: str) -> None:
    lines, _ = served(project, name, PROGRAM % "loopwatch.start()")
    assert set(lines) - {"imports INFO startup"} >= {"load INFO startup", "block WARNING serving"}
    assert {line for line in lines if line.startswith("imports")} == (
        {"imports INFO startup"} if name in ("uvicorn-workers", "uvicorn-factory") else set()
    )
    assert not {"load WARNING other", "block INFO startup"} & set(lines)
    if name == "uvicorn":  # the others may end by a signal
        assert "close WARNING shutdown" in lines


@pytest.mark.parametrize("name", ["uvicorn", *once(("gunicorn",), ("hypercorn",), ("granian",))])
def test_app_without_lifespan(project: Project, name: str) -> None:
    """Its start-up ends all the same: it would hide all stalls."""
    lines, _ = served(project, name, WITHOUT_LIFESPAN % "loopwatch.start()")
    assert lines == ["load INFO startup", "block WARNING serving"]


def test_started_in_the_lifespan(project: Project) -> None:
    program = PROGRAM.replace("        load()\n", "        loopwatch.start(); load()\n") % ""
    lines, _ = served(project, "uvicorn", program)
    assert lines == ["load INFO startup", "block WARNING serving", "close WARNING shutdown"]


@pytest.mark.parametrize(
    ("name", "start"),
    [("uvicorn", ""), *once(("hypercorn", "")), ("uvicorn", "loopwatch.start()")],
)
def test_metrics(project: Project, name: str, start: str) -> None:
    """By themselves and after `start()`: start-up is in no figure."""
    project.environment["LOOPWATCH_THRESHOLD"] = "45ms"  # what a busy machine does not reach by itself
    _, answer = served(project, name, PROGRAM % start + METRICS)
    counted = [line.split()[1] for line in answer.splitlines() if line.startswith("loopwatch_stalls_total{")]
    assert sum(map(float, counted)) == 1


def test_middleware(project: Project) -> None:
    """It announces the same, and nothing is announced twice."""
    program = PROGRAM % "loopwatch.start()" + "\napp = loopwatch.LoopwatchMiddleware(app)\n"
    lines, _ = served(project, "uvicorn", program)
    assert lines == ["load INFO startup", "block WARNING serving", "close WARNING shutdown"]


def test_servers_left_alone(project: Project) -> None:
    project.environment["LOOPWATCH_REQUESTS"] = "0"
    lines, _ = served(project, "uvicorn", PROGRAM % "loopwatch.start()")
    assert lines[:2] == ["load WARNING other", "block WARNING other"]
