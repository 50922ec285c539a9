"""`loopwatch attach`: programs and servers that run already, joined, left and refused as people meet it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import LOOPWATCH, PATIENCE, Project

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)

# Stalls of 60 ms until there is a file `over`; then it tells what has become of it.
PROGRAM = """
import asyncio, json, os, sys, time
def block():
    time.sleep(0.06)
async def main():
    path, modules = list(sys.path), set(sys.modules)
    open("begun", "w").write("yes")
    while not os.path.exists("over"):
        await asyncio.sleep(0.02)
        block()
    come = {name.partition(".")[0] for name in set(sys.modules) - modules} - sys.stdlib_module_names
    print(json.dumps({"same": path == sys.path, "modules": sorted(come)}))
asyncio.run(main())
"""
APP = """
import time
def block():
    time.sleep(0.06)
async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        return
    if scope["path"] == "/block":
        block()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""
THRESHOLD = ("--threshold", "40ms")  # a busy machine makes few of these by itself
Program = subprocess.Popen[str]


def launch(project: Project, *words: str, python: str = sys.executable, **variables: str) -> Program:
    """Start a Python program without loopwatch."""
    process = subprocess.Popen(
        [python, *words],
        cwd=project.folder,
        env={**project.environment, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    project.started.append(process)
    return process


def begun(project: Project, *options: str, program: str = PROGRAM, **variables: str) -> Program:
    """The program, running."""
    project.write("app.py", program)
    process = launch(project, *options, "app.py", **variables)
    project.wait_for_text("begun")
    return process


def refusal(project: Project, *arguments: str, **variables: str) -> str:
    """The one line of an attach that ends with status 2."""
    done = project.loopwatch("attach", *arguments, **variables)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("loopwatch: ")
    return line.removeprefix("loopwatch: ")


def finished(project: Project, process: Program) -> dict[str, Any]:
    """Let the program end; what it tells of itself. It has printed nothing else."""
    project.write("over", "yes")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (0, "")
    told: dict[str, Any] = json.loads(out)
    return told


def in_block(project: Project) -> int:
    """How many stalls of `block` the newest recording has."""
    if not list(project.folder.glob(".loopwatch/*/*.jsonl")):
        return 0
    run = project.recording
    return sum(site.count for site in run.sites if site.frame is not None and site.frame.function == "block")


def may_join() -> bool:
    """Whether this user may look into processes of its own, as CPython has to."""
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    return os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0"


joins = pytest.mark.skipif(sys.version_info < (3, 14) or not may_join(), reason="needs Python 3.14 and permission")
only_older = pytest.mark.skipif(sys.version_info >= (3, 14), reason="for Python before 3.14")


@joins
class TestWatching:
    def test_begins_and_ends(self, project: Project) -> None:
        process = begun(project)
        done = project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD)
        assert (done.returncode, done.stdout) == (0, "")
        first, second = done.stderr.splitlines()
        assert re.fullmatch(rf"loopwatch: process {process.pid} \(.*app\.py\) is watched; recording in .*", first)
        assert second == f"loopwatch: to end that: loopwatch attach {process.pid} --stop"
        project.wait_for(lambda: in_block(project) >= 3)
        again = refusal(project, str(process.pid))
        assert "is watched already" in again
        assert f"loopwatch attach {process.pid} --stop" in again
        (folder,) = (project.folder / ".loopwatch").glob("*-*")
        assert folder.stat().st_mode & 0o777 == 0o700

        stopped = project.loopwatch("attach", str(process.pid), "--stop")
        assert (stopped.returncode, stopped.stdout) == (0, "")
        assert f"process {process.pid} is watched no more" in stopped.stderr
        run = project.recording
        assert run.processes[0].process.ended
        site = run.sites[0]
        assert site.frame is not None
        assert (Path(site.frame.file).name, site.frame.line, site.frame.function) == ("app.py", 4, "block")
        counted = run.totals.stalls
        assert "is not watched" in refusal(project, str(process.pid), "--stop")

        project.write("over", "yes")
        assert process.wait(PATIENCE) == 0
        assert project.recording.totals.stalls == counted

    def test_leaves_the_process_as_it_was(self, project: Project) -> None:
        # No site-packages: loopwatch comes from where the command has it.
        process = begun(project, "-I", "-S")
        assert project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD).returncode == 0
        project.wait_for(lambda: in_block(project))
        told = finished(project, process)
        assert told["same"]
        assert [name for name in told["modules"] if "cython" not in name] == ["loopwatch"]
        assert not list(Path(os.environ.get("TMPDIR", "/tmp")).glob(f"loopwatch-{process.pid}-*"))

    def test_again_after_its_end(self, project: Project) -> None:
        process = begun(project)
        for _ in range(2):
            assert project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD).returncode == 0
            project.wait_for(lambda: in_block(project))
            assert project.loopwatch("attach", str(process.pid), "--stop").returncode == 0
        assert len(list((project.folder / ".loopwatch").glob("*-*"))) == 2
        assert finished(project, process)["same"]

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_foreground_until_it_is_interrupted(self, project: Project, number: int) -> None:
        process = begun(project)
        attach = project.start("attach", str(process.pid), *THRESHOLD)
        project.wait_for(lambda: in_block(project))
        attach.send_signal(number)
        out, err = attach.communicate(timeout=PATIENCE)
        assert (attach.returncode, out) == (0, ""), err
        assert re.search(r"^loopwatch · .* stalls? · blocked for ", err, re.MULTILINE)
        assert re.search(r"^ 1  app\.py:4 block ", err, re.MULTILINE)
        assert err.splitlines()[-1] == "Next: loopwatch report"
        assert "No event loop" not in err
        assert "is not watched" in refusal(project, str(process.pid), "--stop")
        assert finished(project, process)["same"]

    def test_foreground_until_the_program_ends(self, project: Project) -> None:
        process = begun(project)
        attach = project.start("attach", str(process.pid), *THRESHOLD)
        project.wait_for(lambda: in_block(project))
        finished(project, process)
        out, err = attach.communicate(timeout=PATIENCE)
        assert (attach.returncode, out) == (0, "")
        assert " 1  app.py:4 block " in err

    def test_foreground_until_somebody_else_ends_it(self, project: Project) -> None:
        process = begun(project)
        attach = project.start("attach", str(process.pid), *THRESHOLD)
        project.wait_for(lambda: in_block(project))
        assert project.loopwatch("attach", str(process.pid), "--stop").returncode == 0
        assert " 1  app.py:4 block " in attach.communicate(timeout=PATIENCE)[1]

    def test_settings(self, project: Project) -> None:
        project.write("pyproject.toml", '[tool.loopwatch]\ninterval = "2ms"\n')
        process = begun(project)
        arguments = ("attach", str(process.pid), "--detach", "--threshold", "5s", "--dir", "there")
        assert project.loopwatch(*arguments, LOOPWATCH_LOG="1").returncode == 0
        (record,) = project.wait_for(lambda: list(project.folder.glob("there/*/*.jsonl")))
        header = json.loads(project.wait_for(lambda: record.read_text().splitlines()[:1])[0])
        assert (header["threshold_ns"], header["interval_ns"]) == (5_000_000_000, 2_000_000)

    def test_log(self, project: Project) -> None:
        process = begun(project)
        assert project.loopwatch("attach", str(process.pid), "--detach", "--log", *THRESHOLD).returncode == 0
        project.wait_for(lambda: in_block(project))
        project.write("over", "yes")
        assert "event loop blocked for" in process.communicate(timeout=PATIENCE)[1]

    def test_loop_of_another_thread_is_watched_from_its_next_start(self, project: Project) -> None:
        program = PROGRAM.replace(
            "asyncio.run(main())",
            """
import threading
def serve():
    while not os.path.exists("over"):
        asyncio.run(once())
async def once():
    await asyncio.sleep(0.02)
    block()
    await asyncio.sleep(0.02)
def idle():
    while thread.is_alive():
        time.sleep(0.01)
open("begun", "w").write("yes")
thread = threading.Thread(target=serve, name="server")
thread.start()
idle()
""",
        )
        process = begun(project, program=program)
        done = project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD)
        assert "no event loop runs in its main thread now; one that starts is watched" in done.stderr
        project.wait_for(lambda: in_block(project))
        assert {loop.thread for each in project.recording.processes for loop in each.loops} == {"server"}
        project.write("over", "yes")
        assert process.wait(PATIENCE) == 0


def uvicorn_running(project: Project, loop: str) -> tuple[Program, Callable[[str], bytes]]:
    """A server, and what gets a path of it; nothing where it does not answer yet."""
    pytest.importorskip("uvicorn")
    pytest.importorskip(loop)
    project.write("app.py", APP)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = launch(project, "-m", "uvicorn", "app:app", "--port", str(port), "--loop", loop, "--log-level", "error")

    def get(path: str) -> bytes:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
                return bytes(answer.read())
        except OSError:
            assert process.poll() is None
            return b""

    project.wait_for(lambda: get("/ready"))
    return process, get


@joins
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_server_that_runs_already(project: Project, loop: str) -> None:
    process, get = uvicorn_running(project, loop)
    done = project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD)
    assert done.returncode == 0, done.stderr
    assert "no event loop" not in done.stderr
    assert [get("/block") for _ in range(3)] == [b"ok"] * 3
    project.wait_for(lambda: in_block(project) >= 3)
    assert project.loopwatch("attach", str(process.pid), "--stop").returncode == 0
    assert get("/block") == b"ok"
    run = project.recording
    site = next(site for site in run.sites if site.frame is not None and site.frame.function == "block")
    assert (site.count, site.phase) == (3, "serving")
    assert site.frame is not None
    assert site.frame.line == 4
    assert [endpoint.name for endpoint in site.endpoints] == ["GET <unmatched>"]
    assert {each.kind for process in run.processes for each in process.loops} == {loop}
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE)[1] == ""
    assert process.returncode in (0, -signal.SIGTERM)


@joins
def test_server_whose_requests_are_left_alone(project: Project) -> None:
    process, get = uvicorn_running(project, "asyncio")
    project.environment["LOOPWATCH_REQUESTS"] = "0"
    assert project.loopwatch("attach", str(process.pid), "--detach", *THRESHOLD).returncode == 0
    assert get("/block") == b"ok"
    project.wait_for(lambda: in_block(project) >= 1)
    assert project.loopwatch("attach", str(process.pid), "--stop").returncode == 0
    assert project.recording.totals.requests == 0
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE) in (0, -signal.SIGTERM)


@joins
class TestStuck:
    STUCK = PROGRAM.replace(
        '    open("begun", "w").write("yes")\n',
        '    open("begun", "w").write("yes")\n    with open("pipe") as pipe:\n        pipe.read()\n',
    )

    def stuck(self, project: Project) -> Program:
        """A program that waits in a system call until somebody writes to the pipe."""
        os.mkfifo(project.folder / "pipe")
        return begun(project, program=self.STUCK)

    def test_starts_when_it_comes_back(self, project: Project) -> None:
        process = self.stuck(project)
        line = refusal(project, str(process.pid), "--detach", "--wait", "300ms", *THRESHOLD)
        assert line.startswith(f"the main thread of process {process.pid} has not run any Python for 0.3 s")
        assert line.endswith(
            f"; watching starts when it does; to take that back: loopwatch attach {process.pid} --stop"
        )
        project.write("pipe", "go on")
        project.wait_for(lambda: in_block(project))
        assert finished(project, process)["same"]

    def test_taken_back_by_an_interrupt(self, project: Project) -> None:
        process = self.stuck(project)
        attach = project.start("attach", str(process.pid), "--wait", "1min")
        scripts = Path(os.environ.get("TMPDIR", "/tmp"))
        project.wait_for(lambda: list(scripts.glob(f"loopwatch-{process.pid}-*/script.py")))
        attach.send_signal(signal.SIGINT)
        assert attach.wait(PATIENCE) == 130
        project.write("pipe", "go on")
        assert finished(project, process)["modules"] == []
        assert not list((project.folder / ".loopwatch").glob("*-*"))
        assert not list(scripts.glob(f"loopwatch-{process.pid}-*"))

    def test_taken_back_by_stop(self, project: Project) -> None:
        process = self.stuck(project)
        refusal(project, str(process.pid), "--wait", "100ms")
        line = refusal(project, str(process.pid), "--stop", "--wait", "100ms")
        assert line.endswith("; watching ends when it does")
        project.write("pipe", "go on")
        assert finished(project, process)["same"]
        assert not list((project.folder / ".loopwatch").glob("*/*.jsonl"))


@joins
class TestRefused:
    def test_remote_debugging_is_off(self, project: Project) -> None:
        process = begun(project, PYTHON_DISABLE_REMOTE_DEBUG="1")
        line = refusal(project, str(process.pid))
        assert "was started with PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug" in line
        assert re.search(r"; start it anew without, or with: loopwatch run .*app\.py$", line)
        assert not list((project.folder / ".loopwatch").glob("*-*"))

    def test_remote_debugging_is_off_by_option(self, project: Project) -> None:
        process = begun(project, "-X", "disable-remote-debug")
        assert "-X disable-remote-debug" in refusal(project, str(process.pid))

    def test_remote_debugging_is_off_here(self, project: Project) -> None:
        process = begun(project)
        line = refusal(project, str(process.pid), PYTHON_DISABLE_REMOTE_DEBUG="1")
        assert "is set for loopwatch itself; try: env -u PYTHON_DISABLE_REMOTE_DEBUG" in line

    def test_switched_off_there(self, project: Project) -> None:
        process = begun(project, LOOPWATCH="0")
        assert refusal(project, str(process.pid)).startswith(f"LOOPWATCH=0 is set in process {process.pid}; ")
        assert finished(project, process)["same"]

    def test_switched_off_here(self, project: Project) -> None:
        assert "LOOPWATCH=0 is set" in refusal(project, str(begun(project).pid), LOOPWATCH="0")

    def test_started_by_run(self, project: Project) -> None:
        project.write("app.py", PROGRAM)
        project.start("run", "app.py")
        (file,) = project.wait_for(lambda: list(project.folder.glob(".loopwatch/*/*.jsonl")))
        pid = file.name.partition("-")[0]
        line = refusal(project, pid)
        assert f"process {pid} is watched already" in line
        assert "; follow it: loopwatch live " in line
        assert "was not attached to" in refusal(project, pid, "--stop")

    def test_no_asyncio(self, project: Project) -> None:
        program = 'import time\nopen("begun", "w").write("yes")\nwhile True:\n    time.sleep(0.01)\n'
        process = begun(project, program=program)
        assert "has not imported asyncio" in refusal(project, str(process.pid))

    def test_another_version_of_loopwatch(self, project: Project) -> None:
        (project.folder / "other" / "loopwatch").mkdir(parents=True)
        project.write("other/loopwatch/__init__.py", '__version__ = "0.0.1"\n')
        process = begun(project, PYTHONPATH=str(project.folder / "other"))
        line = refusal(project, str(process.pid))
        assert f"process {process.pid} has loopwatch 0.0.1, and this is " in line
        assert line.endswith(f" -m loopwatch attach {process.pid}")
        assert finished(project, process)["same"]

    def test_folder_is_none(self, project: Project) -> None:
        project.write("file", "")
        line = refusal(project, str(begun(project).pid), "--dir", "file")
        assert line.startswith("file cannot hold a recording: ")


class TestNotThere:
    def test_no_process(self, project: Project) -> None:
        process = launch(project, "-c", "")
        process.wait(PATIENCE)
        line = refusal(project, str(process.pid))
        assert line == f"there is no process {process.pid}; see which there are: pgrep -af python"

    def test_zombie(self, project: Project) -> None:
        process = launch(project, "-c", "")
        state = Path(f"/proc/{process.pid}/stat")
        if not state.exists():
            pytest.skip("no /proc")
        project.wait_for(lambda: " Z " in state.read_text())
        assert f"process {process.pid} has ended" in refusal(project, str(process.pid))

    def test_no_python(self, project: Project) -> None:
        process = subprocess.Popen(["sleep", "60"], text=True, start_new_session=True)
        project.started.append(process)
        project.wait_for(lambda: "sleep" in project.run(["ps", "-o", "args=", str(process.pid)]).stdout)
        assert refusal(project, str(process.pid)).startswith(f"process {process.pid} (sleep) is not Python; ")

    def test_no_permission(self, project: Project) -> None:
        """Another user's process. All has to be imported before root becomes somebody who may not read it."""
        program = (
            "import os, sys\nfrom loopwatch.cli import COMMANDS, main\nimport importlib, difflib, rich.console\n"
            "for module, _ in COMMANDS.values(): importlib.import_module(module)\n"
            "if os.geteuid() == 0: os.setuid(65534)\nmain()\n"
        )
        pid = str(begun(project).pid) if os.geteuid() == 0 else "1"
        done = project.run([sys.executable, "-c", program, "attach", pid, "--dir", str(project.folder / "x")])
        assert done.returncode == 2, done.stderr
        (line,) = done.stderr.splitlines()
        assert line.startswith(
            f"loopwatch: there is no permission to look into process {pid} (of user root); try: sudo "
        )

    @pytest.mark.parametrize("version", ["3.11", "3.12", "3.13", "3.14", "3.15"])
    def test_another_python(self, project: Project, version: str) -> None:
        python = shutil.which(f"python{version}")
        if python is None or version == "{}.{}".format(*sys.version_info):
            pytest.skip("needs another Python")
        if project.run([python, "-c", ""]).returncode != 0:
            pytest.skip(f"{python} does not run")
        project.write("app.py", PROGRAM)
        process = launch(project, "app.py", python=python)
        project.wait_for_text("begun")
        line = refusal(project, str(process.pid))
        assert f"process {process.pid} runs Python {version}, and " in line
        if version in ("3.14", "3.15"):
            assert line.endswith(f" -m loopwatch attach {process.pid}")
        else:
            assert re.search(r"; start it anew with: loopwatch run .*python.* app\.py$", line)

    @pytest.mark.parametrize("pid", ["0", "-1", "abc", "99999999999"])
    def test_nonsense(self, project: Project, pid: str) -> None:
        assert pid in refusal(project, "--", pid)

    def test_both(self, project: Project) -> None:
        assert "one too many" in refusal(project, "1", "--stop", "--detach")


@only_older
def test_older_python(project: Project) -> None:
    process = begun(project)
    line = refusal(project, str(process.pid))
    own = "{}.{}".format(*sys.version_info)
    assert line.startswith(
        f"process {process.pid} runs Python {own}, and only 3.14 or newer can be joined; start it anew"
    )
    assert finished(project, process)["modules"] == []
    assert LOOPWATCH[0] in line
