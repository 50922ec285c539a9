"""`loopwatch run`: every process that has a loop is recorded, however it came to be and however it ends."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.project import STALL, Done, Project

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)

# The program of all these tests; a case is one function. `block` is the line that stalls: 30 ms.
PROGRAM = """
import asyncio, os, signal, subprocess, sys, threading, time
import multiprocessing

def new_loop():
    if KIND == "uvloop":
        import uvloop
        return uvloop.new_event_loop()
    return asyncio.new_event_loop()

def block(seconds=0.03):
    time.sleep(seconds)

async def stall(seconds=0.03):
    await asyncio.sleep(0.001)
    block(seconds)
    await asyncio.sleep(0.001)

def run(main):
    loop = new_loop()
    try:
        return loop.run_until_complete(main)
    finally:
        loop.close()

def child():
    run(stall())

def forked_child():
    run(stall(0.3))  # it leaves by os._exit: the watchdog gets a CPU in that time, however busy it is

def multiprocess(method):
    context = multiprocessing.get_context(method)
    async def main():
        await stall()
        process = context.Process(target=forked_child)
        process.start()
        await asyncio.get_running_loop().run_in_executor(None, process.join)
        assert process.exitcode == 0, process.exitcode
    run(main())

def spawn(): multiprocess("spawn")
def fork(): multiprocess("fork")
def forkserver(): multiprocess("forkserver")

def pool():
    from concurrent.futures import ProcessPoolExecutor
    async def main():
        await stall()
        with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as executor:
            await asyncio.gather(*(asyncio.get_running_loop().run_in_executor(executor, child) for _ in range(2)))
    run(main())

def wait_for(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, status

def fork_in_a_callback():
    async def main():
        await stall()
        pid = os.fork()
        if pid == 0:
            asyncio._set_running_loop(None)
            forked_child()
            os._exit(0)
        wait_for(pid)
    run(main())

def fork_before_any_loop():
    pid = os.fork()
    if pid == 0:
        forked_child()
        os._exit(0)
    wait_for(pid)
    child()

def fork_while_a_thread_has_a_loop():
    # Forked in the middle of the import that makes the loop, the child would wait for that import for ever.
    runs, ended = threading.Event(), threading.Event()
    async def main():
        runs.set()
        while not ended.is_set():
            await asyncio.sleep(0.01)
    thread = threading.Thread(target=lambda: run(main()))
    thread.start()
    assert runs.wait(30)
    pid = os.fork()
    if pid == 0:
        forked_child()
        os._exit(0)
    wait_for(pid)
    ended.set()
    thread.join()
    child()

def grandchildren():
    pid = os.fork()
    if pid == 0:
        forked_child()
        inner = os.fork()
        if inner == 0:
            forked_child()
            os._exit(0)
        wait_for(inner)
        os._exit(0)
    wait_for(pid)
    child()

def program():
    child()
    subprocess.run([sys.executable, __file__, "child"], check=True)

def program_of_the_loop():
    async def main():
        await stall()
        process = await asyncio.create_subprocess_exec(
            sys.executable, __file__, "child", stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        out, err = await process.communicate()
        assert (process.returncode, out, err) == (0, b"", b"")
        await stall()
    run(main())

def environment_of_its_own():
    child()
    kept = {name: value for name, value in os.environ.items() if name.startswith(("LOOPWATCH", "PYTHONPATH"))}
    subprocess.run([sys.executable, __file__, "child"], check=True, env=kept)

def another_python_path():
    child()
    kept = dict(os.environ, PYTHONPATH="")
    subprocess.run([sys.executable, __file__, "child"], check=True, env=kept)

def threads():
    workers = [threading.Thread(target=child, name="worker %d" % number) for number in range(3)]
    for worker in workers: worker.start()
    child()
    for worker in workers: worker.join()

def one_after_another():
    for _ in range(5): child()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(stall())
        runner.run(stall())

# Ends that are no ends.
def later(call):
    loop = new_loop()
    loop.call_later(0.01, lambda: (block(0.3), call()))  # the watchdog gets a CPU in that time, however busy it is
    loop.run_forever()

def exit_in_a_callback(): later(lambda: sys.exit(8))
def hard_exit_in_a_callback(): later(lambda: os._exit(7))
def kill_in_a_callback(): later(lambda: os.kill(os.getpid(), signal.SIGKILL))
def terminate_in_a_callback(): later(lambda: os.kill(os.getpid(), signal.SIGTERM))
def exec_in_a_callback(): later(lambda: os.execv(sys.executable, [sys.executable, __file__, "child"]))
def error_in_a_callback():
    async def main():
        await stall()
        1 / 0
    run(main())

def daemon_thread():
    loop = new_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    loop.call_soon_threadsafe(block)
    time.sleep(0.1)
    loop.call_soon_threadsafe(time.sleep, 0.5)
    time.sleep(0.1)

if __name__ == "__main__":
    globals()[sys.argv[1]]()
"""


@pytest.fixture(params=["asyncio", "uvloop"])
def program(project: Project, request: pytest.FixtureRequest) -> Project:
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    project.write("program.py", f"KIND = {request.param!r}\n{PROGRAM}")
    return project


@dataclass(frozen=True)
class Counted:
    """The stalls of a process at the line of `block`: so many for certain, and so many may be.

    The second has those without a sample, which a busy machine makes. Other stalls are possible as well: starting a
    process takes its time.
    """

    least: int
    most: int

    def __eq__(self, other: object) -> bool:
        return self.least <= other <= self.most if isinstance(other, int) else NotImplemented


def stalls_of(project: Project, case: str, status: int = 0) -> list[Counted]:
    """The stalls of each process that had a loop, the case's own process first."""
    done = project.loopwatch("run", "-q", "program.py", case)
    assert done.returncode == status, done.stderr
    run = project.recording
    sure: Counter[int] = Counter()
    maybe: Counter[int] = Counter()
    for stall in run.stalls:
        frame = run.sites[stall.site].frame
        if frame is not None and frame.function == "block":
            assert stall.duration >= 0.03 or stall.state != "ended"
            sure[stall.pid] += 1
        maybe[stall.pid] += frame is None
    pids = [each.process.pid for each in run.processes if each.loops]
    return [Counted(sure[pid], sure[pid] + maybe[pid]) for pid in pids]


@pytest.mark.parametrize(
    ("case", "stalls"),
    [
        ("spawn", [1, 1]),
        ("fork", [1, 1]),
        ("forkserver", [1, 1]),
        ("fork_before_any_loop", [1, 1]),
        ("fork_while_a_thread_has_a_loop", [1, 1]),
        ("grandchildren", [1, 1, 1]),
        ("program", [1, 1]),
        ("program_of_the_loop", [2, 1]),
        ("environment_of_its_own", [1, 1]),
        ("another_python_path", [1]),
        ("threads", [4]),
        ("one_after_another", [7]),
    ],
)
def test_ways_to_come_to_be(program: Project, case: str, stalls: list[int]) -> None:
    assert stalls_of(program, case) == stalls


def test_pool(program: Project) -> None:
    """Which of the workers does what is the pool's decision."""
    mine, *workers = stalls_of(program, "pool")
    assert mine == 1
    assert sum(each.least for each in workers) <= 2 <= sum(each.most for each in workers)


def test_fork_in_a_callback(program: Project) -> None:
    """The parent waits for the child in its callback, so it has a second, longer stall."""
    done = program.loopwatch("run", "program.py", "fork_in_a_callback")
    assert done.returncode == 0, done.stderr
    run = program.recording
    assert "wait_for" in {site.frame.function for site in run.sites if site.frame}
    assert len([each for each in run.processes if each.loops]) == 2


@pytest.mark.parametrize(
    ("case", "status", "stalls"),
    [
        ("exit_in_a_callback", 8, [1]),
        ("hard_exit_in_a_callback", 7, [1]),
        ("kill_in_a_callback", 137, [1]),
        ("terminate_in_a_callback", 143, [1]),
        ("error_in_a_callback", 1, [1]),
    ],
)
def test_ways_to_end(program: Project, case: str, status: int, stalls: list[int]) -> None:
    assert stalls_of(program, case, status) == stalls


def test_exec_in_a_callback(program: Project) -> None:
    """The pid stays, what follows has a file of its own."""
    assert stalls_of(program, "exec_in_a_callback") == [2, 2]  # the pid's, in both
    processes = program.recording.processes
    assert len(processes) == 2
    assert len({each.process.pid for each in processes}) == 1


def test_daemon_thread(program: Project) -> None:
    """The main thread ends while the loop's thread is in a callback."""
    program.loopwatch("run", "program.py", "daemon_thread")
    run = program.recording
    assert run.totals.stalls >= 2
    assert run.totals.worst < 0.5  # it does not go on after the process


OLD = sorted((Path.home() / ".pyenv" / "versions").glob("*/bin/python"))


@pytest.mark.skipif(not OLD, reason="no other Python here")
def test_other_pythons_run_on_and_are_named(project: Project) -> None:
    project.write("app.py", "try:\n    import asyncio\nexcept ImportError:\n    pass\nprint('ran')\n")
    calls = "".join(f"subprocess.run([{str(python)!r}, 'app.py'], check=True)\n" for python in OLD)
    project.write("master.py", f"import subprocess\n{calls}")
    done: Done = project.loopwatch("run", "master.py")
    assert (done.returncode, done.stdout) == (0, "ran\n" * len(OLD))
    reasons = {each.reason for each in project.recording.unwatched}
    for python in OLD:
        major, minor = map(int, python.parts[-3].split(".")[:2])
        too_old = f"Python {major}.{minor} is too old for loopwatch, which needs 3.11"
        assert (too_old in reasons) == ((3,) <= (major, minor) < (3, 11))
    assert done.stderr.startswith("Nothing was watched in master.py.\nNot watched: app.py: ")


def test_settings_that_somebody_in_between_has_spoilt(project: Project) -> None:
    """The process runs on, and is named with the reason."""
    project.write("app.py", STALL + "asyncio.run(stall())\nprint('ran')\n")
    done = project.loopwatch("run", "sh", "-c", f"LOOPWATCH_TRESHOLD=5ms {sys.executable} app.py")
    assert (done.returncode, done.stdout) == (0, "ran\n")
    assert "Not watched: app.py: loopwatch cannot start: " in done.stderr
    assert "LOOPWATCH_TRESHOLD" in done.stderr
    assert "did you mean LOOPWATCH_THRESHOLD" in done.stderr


def test_same_descriptors_after_the_children(project: Project) -> None:
    """Nothing of ours is inherited by a program that is started."""
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("needs /proc")
    code = """
        import asyncio, subprocess
        async def main():
            subprocess.run(["ls", "/proc/self/fd"])
        asyncio.run(main())
    """
    project.write("app.py", code)
    plain = project.run([sys.executable, "app.py"])
    assert project.loopwatch("run", "app.py").stdout == plain.stdout
