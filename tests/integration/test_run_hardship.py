"""`loopwatch run` where processes are killed, disks fill up and folders go: the program gets on as without us, and what
was written until then can be read."""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import forks
from loopwatch.analysis.run import load
from loopwatch.errors import LoopwatchError
from loopwatch.recording import find_recordings
from tests.integration.project import LOOPWATCH, PATIENCE, STALL, Done, Project
from tests.integration.watched_program import LOOPS

if sys.platform != "linux":
    pytest.skip("Linux", allow_module_level=True)

KILLS = 5  # of each kind of process

# A master with a loop and two workers. Each process stalls over and over, and notes when each stall was over.
PREFORK = """
import asyncio, os, sys, time
def block():
    time.sleep(0.003)
async def main():
    with open("ledger-%d" % os.getpid(), "w") as ledger:
        while True:
            block()
            print(time.monotonic(), file=ledger, flush=True)
            await asyncio.sleep(0.001)
for _ in range(2):
    if not os.fork():
        break
else:
    print(os.getpid(), flush=True)
asyncio.run(main())
"""
FLUSHED = 0.3  # seconds after which a stall is in the file, however busy the machine is

# Ends with a status of its own, after stalls and some output.
PROGRAM = STALL + "for number in range(5):\n    asyncio.run(stall())\n    print(number)\nraise SystemExit(7)\n"


def ledgers(project: Project) -> dict[int, Path]:
    """By pid."""
    return {int(path.name.partition("-")[2]): path for path in project.folder.glob("ledger-*")}


def noted(ledger: Path, until: float) -> int:
    """How many stalls a process had noted until then."""
    return sum(float(line) < until for line in ledger.read_text().splitlines())


def is_gone(pid: int) -> bool:
    """Also as a zombie it has no files any more."""
    return not Path(f"/proc/{pid}/fd/1").exists()


@pytest.mark.parametrize("victim", ["worker", "master", "loopwatch run"])
def test_killed_at_any_moment(project: Project, victim: str) -> None:
    """All that had been written stays, and can be read; the others run on until they are killed, too."""
    project.write("app.py", PREFORK)
    for number in range(KILLS):
        process = project.start("run", "-q", "--threshold=2ms", f"--dir=recordings/{number}", "app.py")
        assert process.stdout is not None
        master = int(process.stdout.readline())
        project.wait_for(lambda: len(ledgers(project)) == 3)
        rest = ledgers(project)
        time.sleep(random.random())
        first = {"worker": min(set(rest) - {master}), "master": master, "loopwatch run": process.pid}[victim]
        os.kill(first, signal.SIGKILL)
        moment = time.monotonic()
        time.sleep(random.random() / 5)
        for pid in set(rest) - {first}:
            assert not is_gone(pid)
            os.kill(pid, signal.SIGKILL)
        assert process.wait(60) == (-9 if victim == "loopwatch run" else 137)
        for pid in rest:
            project.wait_for(functools.partial(is_gone, pid))

        run = load(find_recordings([project.folder / "recordings" / str(number)]))
        recorded = Counter(stall.pid for stall in run.stalls)
        for pid, ledger in rest.items():
            assert recorded[pid] + run.totals.lost >= noted(ledger, moment - FLUSHED)
            ledger.unlink()
    done = project.loopwatch("report", "-f", "json", *map(str, project.folder.glob("recordings/*/*")))
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads(done.stdout)["processes"]) == 3 * KILLS


@pytest.mark.parametrize("loop", LOOPS)
def test_many_children(tmp_path: Path, loop: str) -> None:
    """Forked from within the running loop; benchmarks/forks.py has ten thousand of them."""
    options = [*LOOPWATCH, "run", "-q", "--threshold=1ms", f"--dir={tmp_path}"]
    found = forks.measure(loop, 200, options)
    assert not found["failed"]
    assert (found["late"]["fd"], found["late"]["task"]) == (found["early"]["fd"], found["early"]["task"])
    assert found["late"]["resident"] < found["early"]["resident"] + (2 << 20)
    # Of a child that leaves at once there is nothing to be told, and one that leaves right after its only stall may
    # be gone before the watchdog has got a CPU.
    assert 50 < forks.files(tmp_path) <= 101
    assert not list(tmp_path.rglob("*.unwatched"))


def alike(project: Project, done: Done) -> None:
    """It ended as without us, and nothing of ours has failed."""
    assert (done.returncode, done.stdout) == (7, "0\n1\n2\n3\n4\n")
    assert "Traceback" not in done.stderr
    assert "No event loop ran" not in done.stderr
    for folder in project.folder.rglob("*Z-*"):
        shown = project.loopwatch("report", str(folder))
        assert "Traceback" not in shown.stderr
        assert shown.returncode == 0 or "there is no recording" in shown.stderr


def all_told(project: Project, done: Done, stalls: int = 5) -> int:
    """Each stall is recorded, or there is a word that it may be missing; how many are recorded."""
    recorded = dropped = 0
    for folder in project.folder.rglob("*Z-*"):
        with contextlib.suppress(LoopwatchError):  # there is nothing in it
            totals = load(find_recordings([folder])).totals
            recorded, dropped = recorded + totals.stalls, dropped + totals.dropped
    assert bool(dropped) == ("could not be written (disk full or gone)" in done.stderr)
    if recorded < stalls:
        assert recorded + dropped >= stalls or not recorded
        assert dropped or "cannot be written" in done.stderr or "cannot hold a recording" in done.stderr
    return recorded


LIMITS = [0, 1, 3, 100, *random.Random(1).sample(range(200, 12000), 5)]  # bytes


@pytest.mark.parametrize("limit", LIMITS)
def test_files_may_not_grow(project: Project, limit: int) -> None:
    """As a full disk, at any byte: `loopwatch run` itself has the limit, too."""
    project.write("app.py", PROGRAM)
    code = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)"
    starter = [sys.executable, "-c", code + "; os.execv(sys.argv[2], sys.argv[2:])", str(limit)]
    done = project.run([*starter, *LOOPWATCH, "run", "app.py"])
    alike(project, done)
    all_told(project, done)


def mounted(size: str, *command: str) -> list[str]:
    """With a disk of this size at `disk`, which is gone with the command."""
    if subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "x", "/mnt"], capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    script = 'mount -t tmpfs -o "$1" x disk && shift && "$@"; status=$?; cp -r disk kept; exit $status'
    return ["unshare", "-rm", "sh", "-c", script, "sh", size, *command]


@pytest.mark.parametrize("size", ["nr_inodes=1", "nr_inodes=3", "nr_inodes=5", "size=4k", "size=8k", "size=12k"])
def test_disk_full(project: Project, size: str) -> None:
    project.write("app.py", PROGRAM)
    (project.folder / "disk").mkdir()
    done = project.run(mounted(size, *LOOPWATCH, "run", "--dir=disk", "app.py"))
    alike(project, done)
    all_told(project, done)


def test_disk_that_stays_full(project: Project) -> None:
    """The count of what is missing needs no room."""
    lines = "".join(f"    time.sleep(0.012); await asyncio.sleep(0)  # {number}\n" for number in range(100))
    project.write("app.py", f"import asyncio, time\nasync def main():\n{lines}asyncio.run(main())\n")
    (project.folder / "disk").mkdir()
    done = project.run(mounted("size=28k", *LOOPWATCH, "run", "--dir=disk", "app.py"))
    assert done.returncode == 0, done.stderr
    assert 10 < all_told(project, done, 100) < 90
    assert f"cannot be written any more ({os.strerror(errno.ENOSPC)})" in done.stderr


QUIET = """
import asyncio, os, signal, sys, time
if sys.argv[1] == "worker" and os.fork():
    sys.exit(os.waitstatus_to_exitcode(os.wait()[1]) % 256)
async def main():
    for number in range(6):
        time.sleep(0.02)
        await asyncio.sleep(0.03)
    await asyncio.sleep(2.5)
    os._exit(7) if sys.argv[2] == "exit" else os.kill(os.getpid(), signal.SIGTERM)
asyncio.run(main())
"""


def test_a_loop_that_was_quiet_before_its_process_left(project: Project) -> None:
    """`loopwatch run` knows when its own child has left; of others it is known how long they were not quiet. They wait
    most of the time, so all of them side by side."""
    project.write("app.py", QUIET)
    started = {
        (who, leave): project.start("run", f"--dir={who}-{leave}", "app.py", who, leave)
        for who, leave in itertools.product(("main", "worker"), ("exit", "signal"))
    }
    for (who, leave), process in started.items():
        _, said = process.communicate(timeout=PATIENCE)
        assert process.returncode in (7, 143, 241), said
        run = load(find_recordings([project.folder / f"{who}-{leave}"]))
        (loop,) = (loop for each in run.processes for loop in each.loops)
        assert loop.iterations >= 7
        assert loop.stalls == run.totals.stalls >= 6
        assert 0.8 < loop.seconds < 2 if who == "worker" else 2.8 < loop.seconds < 10
        assert loop.seconds <= run.seconds
        assert loop.utilization < 0.5
        assert "(100 %)" not in said


def powerless(*command: str) -> list[str]:
    """Root may write anywhere; this one may not."""
    if os.geteuid():
        return list(command)
    if shutil.which("setpriv") is None:
        pytest.skip("no setpriv")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override", *command]


def test_folder_that_is_read_only(project: Project) -> None:
    project.write("app.py", PROGRAM)
    (project.folder / "closed").mkdir(0o500)
    done = project.run(powerless(*LOOPWATCH, "run", "--dir=closed", "app.py"))
    alike(project, done)
    assert done.stderr == (
        f"loopwatch: closed cannot hold a recording ({os.strerror(13)}): app.py runs without being watched\n"
    )


@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("switch", ["1", "0"])
def test_working_directory_that_goes(project: Project, when: str, switch: str) -> None:
    """The program runs as it would without us, and what can be recorded is."""
    leave = "import os\ntry:\n    os.rmdir('../gone')\nexcept OSError:\n    pass\n"
    app = project.write("app.py", PROGRAM.replace("raise", f"{leave}raise"))
    (project.folder / "gone").mkdir()
    script = 'cd gone && { [ "$1" = meanwhile ] || rmdir ../gone; } && shift && exec "$@"'
    command = [*LOOPWATCH, "run", f"--dir={project.folder / 'recordings'}", sys.executable, str(app)]
    done = project.run(["sh", "-c", script, "sh", when, *command], LOOPWATCH=switch, LOOPWATCH_LOG="1")
    alike(project, done)
    if switch == "1":
        assert all_told(project, done) == 5
        assert f"Recorded in {project.folder}" in done.stderr
        assert "app.py:4 block" in done.stderr


@pytest.mark.parametrize("what", ["os.chmod(folder, 0o500)", "shutil.rmtree(folder)", "shutil.rmtree('.loopwatch')"])
def test_folder_that_goes(project: Project, what: str) -> None:
    """While a process writes to it, and before another one would."""
    lines = f"import glob, os, shutil\n[folder] = glob.glob('.loopwatch/*-*')\n{what}\n"
    child = "if not os.fork():\n    asyncio.run(stall())\n    os._exit(0)\nassert not os.wait()[1]\n"
    project.write("app.py", STALL + "asyncio.run(stall())\n" + lines + child + PROGRAM)
    done = project.run(powerless(*LOOPWATCH, "run", "app.py"))
    for folder in project.folder.glob(".loopwatch/*-*"):
        folder.chmod(0o700)
    alike(project, done)
    assert "cannot be written" in done.stderr
    assert ("app.py:4 block" in done.stderr) == ("chmod" in what)
