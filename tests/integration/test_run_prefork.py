"""Programs that are no web servers of one's own: a prefork parent as Celery's, the worker pool of a loop, Jupyter."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import pytest

from tests.integration.project import PATIENCE, STALL, Project
from tests.integration.test_run_servers import at_block

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)


def roles(project: Project) -> dict[int, str]:
    """Of the processes with a loop."""
    return {each.process.pid: each.role for each in project.recording.processes if each.loops}


def test_prefork(project: Project) -> None:
    """A parent that runs a loop of its own forks workers, and a new one for each that ends; two are killed."""
    project.write(
        "app.py",
        STALL.replace("0.03", "0.3")  # on a machine so busy that a new watchdog comes late
        + """
import os, signal, sys
asyncio.run(stall())
for number in range(6):
    if not os.fork():
        asyncio.run(stall())
        time.sleep(0.2)
        if number < 2:
            os.kill(os.getpid(), signal.SIGKILL)
        os._exit(0)
    os.wait()
""",
    )
    done = project.loopwatch("run", "app.py")
    assert done.returncode == 0, done.stderr
    found = at_block(project)
    assert len(found) == 7
    assert set(found.values()) == {1}
    assert sorted(roles(project).values()) == ["master", *["worker"] * 6]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_process_pool(project: Project, method: str) -> None:
    project.write(
        "app.py",
        f"""
        import asyncio, multiprocessing, sys
        from concurrent.futures import ProcessPoolExecutor
        import work

        async def main():
            context = multiprocessing.get_context({method!r})
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                loop = asyncio.get_running_loop()
                await asyncio.gather(*(loop.run_in_executor(pool, work.work) for _ in range(2)))

        if __name__ == "__main__":
            asyncio.run(main())
        """,
    )
    project.write("work.py", STALL + "def work():\n    asyncio.run(stall())\n    time.sleep(0.3)\n")
    done = project.loopwatch("run", "app.py")
    assert done.returncode == 0, done.stderr
    workers = at_block(project)
    assert 1 <= len(workers) <= 2
    assert sum(workers.values()) == 2
    if method != "forkserver":  # its children are those of a server that runs no loop
        assert {role for pid, role in roles(project).items() if pid in workers} == {"worker"}


def test_celery(project: Project) -> None:
    """The prefork pool of the real one, over a broker of files; its task runs a loop."""
    project.write(
        "tasks.py",
        STALL
        + """
from celery import Celery
folder = {"data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control"}
app = Celery("tasks", broker="filesystem://")
app.conf.broker_transport_options = folder

@app.task
def work():
    asyncio.run(stall())
    open("done", "a").write("x")
""",
    )
    (project.folder / "queue").mkdir()
    (project.folder / "control").mkdir()
    send = [sys.executable, "-c", "import tasks; [tasks.work.delay() for _ in range(4)]"]
    assert project.run(send).returncode == 0
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-P", "prefork", "-c", "2", "-l", "ERROR"]
    log = (project.folder / "log").open("w")
    process = project.start("run", "-q", *command, stdout=log, stderr=subprocess.STDOUT)
    project.wait_for_text("done", "xxxx")
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    found = at_block(project)
    assert sum(found.values()) == 4
    assert {roles(project)[pid] for pid in found} <= {"worker", "child"}


def test_jupyter_server(project: Project) -> None:
    """A handler of an extension blocks the loop; it is Tornado's."""
    if importlib.util.find_spec("jupyter_server") is None:
        pytest.skip("jupyter-server is not installed")
    project.write(
        "blocker.py",
        STALL
        + """
from tornado.web import RequestHandler
class Handler(RequestHandler):
    async def get(self):
        block()
        self.finish("ok")
def _load_jupyter_server_extension(app):
    app.web_app.add_handlers(".*$", [("/block", Handler)])
""",
    )
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    settings = ["--ServerApp.jpserver_extensions={'blocker': True}", "--IdentityProvider.token=", "--allow-root"]
    folders = {name: str(project.folder / name) for name in ("HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    project.environment |= {**folders, "PYTHONPATH": os.pathsep.join([str(project.folder), *_path(project)])}
    command = [sys.executable, "-m", "jupyter_server", "--no-browser", f"--port={port}", *settings]
    log = (project.folder / "log").open("w")
    process = project.start("run", "-q", *command, stdout=log, stderr=subprocess.STDOUT)

    def blocks() -> bool:
        assert process.poll() is None, (project.folder / "log").read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/block", timeout=PATIENCE) as answer:
                return bool(answer.read() == b"ok")
        except urllib.error.URLError:
            return False

    project.wait_for(blocks)
    process.send_signal(signal.SIGTERM)
    process.wait(PATIENCE)
    assert sum(at_block(project).values()) == 1


def _path(project: Project) -> list[str]:
    return [entry for entry in project.environment.get("PYTHONPATH", "").split(os.pathsep) if entry]
