"""`loopwatch run`: signals reach the command as if they had been sent to it, and once."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.integration.project import LOOPWATCH, STALL, Project

if sys.platform == "win32":
    pytest.skip("POSIX", allow_module_level=True)

from tests.integration.terminals import CTRL_BACKSLASH, CTRL_C, CTRL_D, CTRL_Z, terminal

# Writes the name of each signal that it gets, and ends with status 9 when it is told to.
LISTENER = """
import os, signal, sys, time
def heard(number, frame):
    os.write(1, (signal.Signals(number).name + " ").encode())
    if number == signal.SIGUSR2:
        os._exit(9)
for name in "HUP INT QUIT USR1 USR2 ALRM TERM TTIN TTOU TSTP CONT WINCH URG IO VTALRM PROF XCPU PWR".split():
    number = getattr(signal, "SIG" + name, None)
    if number is not None:
        signal.signal(number, heard)
os.write(1, b"ready\\n")
while True:
    time.sleep(100)
"""
# Stalls once, then waits.
SERVER = (
    STALL
    + """
async def main():
    await stall()
    print("up")
    await asyncio.sleep(100)
    await stall()
asyncio.run(main())
"""
)
PATIENT_SERVER = (
    STALL
    + """
import os, signal
async def main():
    await stall()
    asked = []
    def interrupted():
        asked.append(1)
        print("asked", len(asked))
        if len(asked) == 2:
            os._exit(3)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, interrupted)
    print("up")
    await asyncio.sleep(100)
asyncio.run(main())
"""
)
COUNTER = """
import time
for number in range(10**6):
    print(f"tick {number}.", end=" ", flush=True)
    time.sleep(0.02)
"""
# Needs a moment to end, and says that it did so in order.
SLOW_TO_END = """
import os, signal, time
def end(number, frame):
    time.sleep(0.2)
    open("ended", "w").write("yes")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
open("pid", "w").write(str(os.getpid()))
time.sleep(100)
"""
# SIGCONT: only to a stopped one, below.
PASSED_ON = [
    number
    for name in re.findall("[A-Z0-9]+", "HUP INT QUIT USR1 ALRM TERM TTIN TTOU TSTP WINCH URG IO VTALRM PROF XCPU PWR")
    if (number := getattr(signal, f"SIG{name}", None)) is not None
]


def is_gone(pid: int) -> bool:
    """Whether a process has ended; whoever has to take note of that may be slow."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def is_stopped(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_STOPPED


class TestSentToUs:
    def test_reach_the_command_once(self, project: Project) -> None:
        project.write("listener.py", LISTENER)
        process = project.start("run", "listener.py")
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        heard = ""
        for number in [*PASSED_ON, *PASSED_ON]:
            process.send_signal(number)
            while not heard.endswith(" "):
                heard += process.stdout.read(1)
            assert heard == f"{signal.Signals(number).name} "
            heard = ""
        process.send_signal(signal.SIGUSR2)
        out, _ = process.communicate(timeout=60)
        assert (process.returncode, out) == (9, "SIGUSR2 ")

    def test_real_time_signals(self, project: Project) -> None:
        process = project.start("run", "sleep", "100")
        project.wait_for(lambda: psutil.Process(process.pid).children())
        process.send_signal(signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 128 + (signal.SIGRTMIN + 3 if hasattr(signal, "SIGRTMIN") else 15)

    @pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
    def test_end_the_command(self, project: Project, number: int) -> None:
        project.write("app.py", "import signal\nsignal.signal(signal.SIGINT, signal.SIG_DFL)\n" + SERVER)
        process = project.start("run", "app.py")
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert "blocked for" in err

    def test_to_a_command_that_is_another_users(self, project: Project) -> None:
        """As with sudo: who may not send it a signal may not with us either, and we wait for its end."""
        capabilities = "+setuid,+dac_override"
        someone = ["setpriv", "--reuid=12345", f"--inh-caps={capabilities}", f"--ambient-caps={capabilities}"]
        if os.geteuid() != 0 or project.run([*someone, "true"]).returncode != 0:
            pytest.skip("only root can be another user")
        project.write("app.py", "import os\nos.setresuid(54321, 54321, 54321)\nprint('up', input())\n")
        (project.folder / ".loopwatch").mkdir(0o777)
        process = subprocess.Popen(
            [*someone, *LOOPWATCH, "run", "app.py"],
            cwd=project.folder,
            env=project.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            child = project.wait_for(lambda: psutil.Process(process.pid).children())[0]
            project.wait_for(lambda: child.uids().real == 54321)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            assert process.poll() is None
            out, err = process.communicate("on\n", timeout=60)
        assert (process.returncode, out) == (0, "up on\n"), err

    def test_at_once_after_the_start(self, project: Project) -> None:
        for delay in (0.0, 0.02, 0.05, 0.1, 0.2, 0.3):
            process = project.start("run", "sleep", "100")
            time.sleep(delay)
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)
            assert process.returncode in (143, -15)  # -15: Python itself was still starting
            assert not [each for each in psutil.process_iter(["cwd"]) if each.info["cwd"] == str(project.folder)]

    def test_stop_and_continue(self, project: Project) -> None:
        process = project.start("run", "sleep", "100", start_new_session=False, process_group=0)
        [child] = project.wait_for(lambda: psutil.Process(process.pid).children())
        process.send_signal(signal.SIGTSTP)
        project.wait_for(lambda: is_stopped(child.pid))
        project.wait_for(lambda: is_stopped(process.pid))
        process.send_signal(signal.SIGCONT)
        project.wait_for(lambda: not is_stopped(child.pid) and not is_stopped(process.pid))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 143

    def test_stopped_by_its_pid_the_command_stops_alone(self, project: Project) -> None:
        process = project.start("run", "sleep", "0.3")
        [child] = project.wait_for(lambda: psutil.Process(process.pid).children())
        child.send_signal(signal.SIGSTOP)
        project.wait_for(lambda: is_stopped(child.pid))
        time.sleep(0.1)
        assert not is_stopped(process.pid)
        child.send_signal(signal.SIGCONT)
        process.communicate(timeout=60)
        assert process.returncode == 0

    def test_ignored_before_us_stays_ignored(self, project: Project) -> None:
        project.write("app.py", "import signal\nprint(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN)\n")
        done = project.run(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *LOOPWATCH, "run", "app.py"])
        assert done.stdout == "True\n"

    def test_kill_leaves_the_recording_and_the_command(self, project: Project) -> None:
        project.write(
            "app.py", SERVER.replace("asyncio.sleep(100)", "asyncio.sleep(1)") + "open('done', 'w').write('yes')\n"
        )
        process = project.start("run", "app.py")
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.kill()
        process.wait(60)
        assert process.returncode == -9
        project.wait_for_text("done", "yes")
        project.wait_for(lambda: project.recording.processes[0].process.ended)
        assert project.recording.totals.stalls >= 2


class TestLeftBehind:
    @pytest.mark.parametrize("shell", ["sh", "bash"])
    @pytest.mark.parametrize("deep", [1, 2])
    def test_commands_of_a_shell(self, project: Project, shell: str, deep: int) -> None:
        """The shell dies of the signal, its commands would run on."""
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell}")
        project.write("app.py", SLOW_TO_END)
        command = f"{shlex.quote(sys.executable)} app.py; true"
        for _ in range(deep - 1):
            command = f"{shell} -c {shlex.quote(command)}; true"
        process = project.start("run", shell, "-c", command)
        pid = int(project.wait_for_text("pid"))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        assert process.returncode == 143
        assert (project.folder / "ended").read_text() == "yes"  # we have waited for it
        assert is_gone(pid)

    def test_who_handles_the_signal_decides(self, project: Project) -> None:
        """The command itself ended in order: what it has left behind is meant to run on."""
        code = """
            import signal, subprocess, sys, time
            left = subprocess.Popen(["sleep", "100"])
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(5))
            open("pid", "w").write(str(left.pid))
            time.sleep(100)
        """
        project.write("app.py", code)
        process = project.start("run", "app.py", stdout=None, stderr=None)
        pid = int(project.wait_for_text("pid"))
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.returncode == 5
        time.sleep(0.1)
        assert not is_gone(pid)
        os.kill(pid, signal.SIGKILL)

    def test_who_will_not_end_is_left_after_a_while(self, project: Project) -> None:
        script = "sh -c 'trap \"\" TERM; echo $$ > pid; while true; do sleep 0.2; done'; true"
        process = project.start("run", "sh", "-c", script, stdout=None, stderr=None)
        pid = int(project.wait_for_text("pid", "\n"))
        process.send_signal(signal.SIGTERM)
        project.wait_for(lambda: not psutil.Process(process.pid).children())
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait(60)
        os.kill(pid, signal.SIGKILL)

    def test_a_second_signal_reaches_them(self, project: Project) -> None:
        script = "sh -c 'trap \"\" TERM; echo $$ > pid; while true; do sleep 0.2; done'; true"
        process = project.start("run", "sh", "-c", script, stdout=None, stderr=None)
        pid = int(project.wait_for_text("pid", "\n"))
        process.send_signal(signal.SIGTERM)
        project.wait_for(lambda: not psutil.Process(process.pid).children())
        process.send_signal(signal.SIGHUP)
        process.wait(60)
        assert process.returncode == 143
        assert is_gone(pid)


@pytest.fixture
def listener(project: Project) -> Project:
    project.write("listener.py", LISTENER)
    return project


class TestTerminal:
    def test_keys_reach_the_command_once(self, listener: Project) -> None:
        with terminal([*LOOPWATCH, "run", "listener.py"], listener.folder, listener.environment) as screen:
            screen.read_until("ready")
            for keys, name in [(CTRL_C, "SIGINT "), (CTRL_BACKSLASH, "SIGQUIT "), (CTRL_Z, "SIGTSTP ")] * 2:
                screen.type(keys)
                screen.read_until(name)
            screen.resize(50, 70)
            screen.read_until("SIGWINCH ")
            time.sleep(0.2)  # for what should not come
            os.kill(screen.process.pid, signal.SIGUSR2)
            assert screen.wait() == 9
            assert [screen.seen.count(name) for name in ("SIGINT ", "SIGQUIT ", "SIGTSTP ", "SIGWINCH ")] == [
                2,
                2,
                2,
                1,
            ]

    @pytest.mark.parametrize("leave", ["os.setpgrp()", "os.setsid()"])
    def test_keys_reach_a_command_that_has_left_our_group(self, listener: Project, leave: str) -> None:
        """Without us it would lead the group of its job, and could not have left it."""
        listener.write("listener.py", f"import os\n{leave}\n{LISTENER}")
        with terminal([*LOOPWATCH, "run", "listener.py"], listener.folder, listener.environment) as screen:
            screen.read_until("ready")
            for keys, name in [(CTRL_C, "SIGINT "), (CTRL_BACKSLASH, "SIGQUIT ")]:
                screen.type(keys)
                screen.read_until(name)
            os.kill(screen.process.pid, signal.SIGUSR2)
            assert screen.wait() == 9

    def test_interrupt_ends_both(self, project: Project) -> None:
        project.write("app.py", SERVER)
        with terminal([*LOOPWATCH, "run", "app.py"], project.folder, project.environment) as screen:
            screen.read_until("up")
            screen.type(CTRL_C)
            assert screen.wait() == 130
            assert "KeyboardInterrupt" in screen.seen
            assert "blocked for" in screen.seen
            assert screen.seen.count("Traceback") <= 3  # the program's own

    def test_interrupted_twice(self, project: Project) -> None:
        """As with a server: the first Ctrl-C asks it to end, the second one insists."""
        project.write("app.py", PATIENT_SERVER)
        with terminal([*LOOPWATCH, "run", "app.py"], project.folder, project.environment) as screen:
            screen.read_until("up")
            screen.type(CTRL_C)
            screen.read_until("asked 1")
            time.sleep(0.1)
            assert "asked 2" not in screen.seen
            screen.type(CTRL_C)
            screen.read_until("asked 2")
            assert screen.wait() == 3
            assert "blocked for" in screen.seen

    def test_keyboard_is_the_commands(self, project: Project) -> None:
        code = """
            import os, sys
            print(os.isatty(0), os.isatty(1), os.isatty(2))
            print(input("name? ")[::-1])
            print(len(sys.stdin.read()))
        """
        project.write("app.py", code)
        with terminal([*LOOPWATCH, "run", "app.py"], project.folder, project.environment) as screen:
            screen.read_until("name? ")
            screen.type("abc\r")
            screen.read_until("cba")
            screen.type("xy\r" + CTRL_D)
            screen.read_until("3\r\n")
            assert screen.wait() == 0
            assert "True True True" in screen.seen

    def test_hang_up(self, project: Project) -> None:
        """We lead the session, so the kernel tells us alone, where it would have told the command."""
        code = """
            import os, signal, time
            def heard(number, frame):
                with open("heard", "a") as file:
                    file.write("HUP ")
                os._exit(0)
            signal.signal(signal.SIGHUP, heard)
            print("up")
            time.sleep(100)
        """
        project.write("app.py", code)
        with terminal([*LOOPWATCH, "run", "app.py"], project.folder, project.environment) as screen:
            screen.read_until("up\r\n")  # all of it: nothing can be written after that
            screen.hang_up()
            project.wait_for_text("heard", "HUP ")
            screen.wait()
        assert (project.folder / "heard").read_text() == "HUP "

    @pytest.mark.parametrize("shell", ["bash", "sh"])
    def test_job_control(self, project: Project, shell: str) -> None:
        """Ctrl-Z gives the shell back its terminal, `bg` and `fg` go on, and Ctrl-C ends it."""
        if shutil.which(shell) is None:
            pytest.skip(f"no {shell}")
        project.write("count.py", COUNTER)
        environment = {**project.environment, "PS1": "$ ", "HISTFILE": "", "ENV": "", "TERM": "dumb"}
        start = [shutil.which(shell) or shell, *(["--norc", "--noprofile"] if shell == "bash" else []), "-i"]
        with terminal(start, project.folder, environment) as screen:
            screen.read_until("$ ")
            screen.type(" ".join([*LOOPWATCH, "run", "count.py", "\r"]))
            screen.read_until("tick 5.")
            screen.type(CTRL_Z)
            screen.read_until("topped")
            screen.read_until("$ ")
            stopped = screen.seen.count("tick")
            time.sleep(0.3)
            screen.type("echo still $((1 + 1))\r")
            screen.read_until("still 2")
            assert screen.seen.count("tick") <= stopped + 1
            screen.type("fg\r")
            screen.read_until(f"tick {stopped + 5}.")
            screen.type(CTRL_Z)
            screen.read_until("topped")
            screen.type("bg\r")
            ticks = screen.seen.count("tick")
            screen.read_until(f"tick {ticks + 5}.")
            screen.type("fg\r")
            screen.read_until("tick")
            screen.type(CTRL_C)
            screen.read_until("No event loop ran")
            screen.type("\recho status $?\r")
            screen.read_until("status 1")
            screen.type("exit\r")
            screen.wait()
            assert "status 130" in screen.seen
