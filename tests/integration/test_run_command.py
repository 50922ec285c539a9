"""`loopwatch run`: which program it runs, with what, and how it ends."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import loopwatch
from loopwatch.launch.folder import is_held
from tests.integration.project import LOOPWATCH, STALL, Project, once

posix_only = pytest.mark.skipif(os.name != "posix", reason="POSIX")
SHOW = "import json, sys\nprint(json.dumps(sys.argv[1:]))\n"


def test_stalls_are_recorded_and_summed_up(project: Project) -> None:
    program = (
        STALL.replace("0.03", "0.1") + "for _ in range(3): asyncio.run(stall())\nprint('out')\nraise SystemExit(7)\n"
    )
    project.write("app.py", program)
    # A threshold that a busy machine does not reach by itself.
    done = project.loopwatch("run", "--threshold", "80ms", "app.py")
    assert (done.returncode, done.stdout) == (7, "out\n")
    lead, site, place, following = done.stderr.splitlines()
    assert re.fullmatch(r"loopwatch · .* · 3 stalls · blocked for .*s \(.* %\) · worst .*s", lead)
    assert re.fullmatch(r" 1  app\.py:4 block +\d+ ms · 3 stalls", site)
    assert re.fullmatch(r"Recorded in \.loopwatch/\d{8}T\d{6}\.\d{3}Z-\d+", place)
    assert following == "Next: loopwatch report"
    run = project.recording
    assert [site.count for site in run.sites] == [3]
    assert run.sites[0].frame is not None
    assert (run.sites[0].frame.line, run.sites[0].frame.function) == (4, "block")


class TestOwnOptions:
    def test_quiet(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\n")
        done = project.loopwatch("run", "-q", "app.py")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert project.recording.totals.stalls >= 1

    def test_threshold(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\n")
        done = project.loopwatch("run", "--threshold", "5s", "--interval=2ms", "app.py")
        assert "no stall of 5.00 s or more" in done.stderr
        assert (project.recording.threshold, project.recording.interval) == (5.0, 0.002)

    def test_directory(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\n")
        done = project.loopwatch("run", "--dir", "some where", "app.py")
        [recording] = (project.folder / "some where").glob("*-*")
        assert done.stderr.splitlines()[-1] == f"Next: loopwatch report 'some where/{recording.name}'"
        assert project.loopwatch("report", f"some where/{recording.name}").returncode == 0
        assert not (project.folder / ".loopwatch").exists()

    def test_switched_off(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\nraise SystemExit(3)\n")
        done = project.loopwatch("run", "app.py", LOOPWATCH="0")
        assert (done.returncode, done.stderr) == (3, "loopwatch: LOOPWATCH=0 is set: nothing is watched\n")
        assert not (project.folder / ".loopwatch").exists()

    @pytest.mark.parametrize(
        ("toml", "variables"),
        [
            ("", {"LOOPWATCH_THRESHOLD": "abc"}),
            ("", {"LOOPWATCH_TRESHOLD": "5ms"}),
            ("", {"LOOPWATCH_THRESHOLD": "0"}),
            ("[tool.loopwatch]\nthreshhold = 5\n", {}),
            ("tool = 5", {}),
            ("[tool", {}),
        ],
    )
    @pytest.mark.parametrize("options", [[], *once((["-q"],), (["--exec"],))])
    def test_switched_off_with_settings_that_mean_nothing(
        self, project: Project, toml: str, variables: dict[str, str], options: list[str]
    ) -> None:
        project.write("pyproject.toml", toml)
        project.write(
            "show.py", "import os\nprint(os.environ.get('LOOPWATCH_THRESHOLD'), 'PYTHONPATH' in os.environ)\n"
        )
        done = project.loopwatch("run", *options, "show.py", LOOPWATCH="off", **variables)
        assert done.stdout == f"{variables.get('LOOPWATCH_THRESHOLD')} {'PYTHONPATH' in project.environment}\n"
        said = "" if "-q" in options else "loopwatch: LOOPWATCH=off is set: nothing is watched\n"
        assert (done.returncode, done.stderr) == (0, said)

    def test_neither_on_nor_off(self, project: Project) -> None:
        done = project.loopwatch("run", "echo", "x", LOOPWATCH="maybe")
        assert (done.returncode, done.stdout) == (2, "")
        line = "LOOPWATCH: 'maybe' is neither on nor off; write 0, false, no or off; or 1, true, yes or on"
        assert done.stderr == f"loopwatch: {line}\n"

    @pytest.mark.parametrize(
        ("arguments", "line"),
        [
            ([], "there is no command to run; write: loopwatch run uvicorn app:app"),
            *once(
                (["--threshold", "abc", "x"], "--threshold: 'abc' is not a duration; write 10ms, "),
                (["--threshold", "0", "x"], "a threshold of 0 s means nothing; "),
                (["--interval", "2min", "x"], "an interval of 120 s means nothing; "),
                (["--nonsense", "x"], "there is no option --nonsense; "),
                (["-m"], "option '-m' requires an argument; see: loopwatch"),
                (["not-there-at-all"], "not-there-at-all: there is no such command; install it"),
                (["./not_there.py"], "./not_there.py: there is no such file; "),
                (["not_there.py"], "not_there.py: there is no such command; "),
                (["./folder"], "./folder is a folder; name a program in it"),
                (["tool"], "tool: there is no such command; write: loopwatch run ./tool"),
                (["./tool"], "./tool may not be executed; allow it: chmod +x ./tool"),
                ([""], "the command to run is empty; "),
                (["--dir", "tool", "echo"], "tool is not a folder; name another one with --dir"),
                (["--dir", "tool/more", "echo"], "tool/more is not a folder; "),
            ),
        ],
    )
    def test_bad_input(self, project: Project, arguments: list[str], line: str) -> None:
        (project.folder / "folder").mkdir()
        project.write("tool", "#!/bin/sh\n")
        done = project.loopwatch("run", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("loopwatch: ")
        assert line in done.stderr
        assert "; " in done.stderr
        assert done.stderr.count("\n") == 1

    def test_self_test_fails(self, project: Project) -> None:
        done = project.loopwatch("run", "echo", "x", LOOPWATCH_SELFTEST="fail")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("loopwatch: the self-test of this Python fails (")
        assert done.stderr.endswith("; see what is wrong: loopwatch doctor\n")


class TestArguments:
    @pytest.mark.parametrize(
        "arguments",
        [
            ["--reload", "-q", "--threshold", "x", "-m", "y"],
            ["", " ", "a b", "'", '"', "$HOME", "*", "\\", "a\nb", "ü€😀"],
            *once((["--", "-x", "--"],), (["x" * 10_000],), (["--help"],), (["--dir=x"],)),
        ],
    )
    def test_passed_on_untouched(self, project: Project, arguments: list[str]) -> None:
        project.write("show.py", SHOW)
        assert json.loads(project.loopwatch("run", "show.py", *arguments).stdout) == arguments
        assert json.loads(project.loopwatch("run", "-m", "show", *arguments).stdout) == arguments

    @pytest.mark.parametrize(
        "before",
        [
            [sys.executable, "show.py"],
            *once(
                (["./show.py"],),
                (["--", "show.py"],),
                (["-q", "-mshow"],),
                (["--threshold", "20ms", "-m", "show"],),
                (["--threshold=20ms", "-q", "--", "show.py"],),
            ),
        ],
    )
    def test_own_options_end_at_the_command(self, project: Project, before: list[str]) -> None:
        project.write("show.py", SHOW)
        arguments = ["-q", "--", "-m", "--dir", "x", "--help"]
        assert json.loads(project.loopwatch("run", *before, *arguments).stdout) == arguments

    @posix_only
    def test_bytes(self, project: Project) -> None:
        project.write("show.py", "import os, sys\nprint(os.fsencode(sys.argv[1]))\n")
        done = project.loopwatch("run", "show.py", b"\xff\xfe")
        assert (done.returncode, done.stdout) == (0, repr(b"\xff\xfe") + "\n")
        assert "No event loop ran in" in done.stderr


class TestProgram:
    def test_module(self, project: Project) -> None:
        (project.folder / "package").mkdir()
        project.write("package/__main__.py", STALL + "import sys\nasyncio.run(stall())\nprint(__name__, sys.argv)\n")
        done = project.loopwatch("run", "-m", "package", "-m", "x")
        assert done.stdout == f"__main__ [{str(project.folder / 'package' / '__main__.py')!r}, '-m', 'x']\n"
        assert "blocked for" in done.stderr

    def test_script_is_run_by_this_python(self, project: Project) -> None:
        project.write("which.py", "import sys\nprint(sys.executable, sys.argv[0])\n")
        assert project.loopwatch("run", "which.py").stdout == f"{sys.executable} which.py\n"
        assert project.loopwatch("run", "./which.py").stdout == f"{sys.executable} ./which.py\n"

    @posix_only
    def test_executable_script_is_run_as_it_says(self, project: Project) -> None:
        script = project.write("tool.py", '#!/bin/sh\necho "I am $0"\n')
        script.chmod(0o755)
        assert project.loopwatch("run", "./tool.py").stdout == "I am ./tool.py\n"

    @posix_only
    def test_executable_script_that_does_not_say(self, project: Project) -> None:
        project.write("tool.py", "print('by Python')\n").chmod(0o755)
        assert project.loopwatch("run", "./tool.py").stdout == "by Python\n"

    @posix_only
    def test_script_without_a_first_line(self, project: Project) -> None:
        project.write("tool", "echo x\n").chmod(0o755)
        done = project.loopwatch("run", "./tool")
        assert done.returncode == 2
        assert done.stderr == (
            "loopwatch: ./tool cannot be run: Exec format error; "
            "the first line of a script has to say what runs it, like: #!/bin/sh\n"
        )

    @posix_only
    def test_found_on_path_as_the_shell_finds_it(self, project: Project) -> None:
        (project.folder / "bin").mkdir()
        project.write("bin/python", '#!/bin/sh\necho "my own $*"\n').chmod(0o755)
        path = f"{project.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        assert project.loopwatch("run", "python", "x.py", PATH=path).stdout == "my own x.py\n"

    @posix_only
    def test_environment_that_is_not_activated(self, project: Project) -> None:
        """What lies beside this Python is found although PATH does not lead there."""
        show = "import sys; print(sys.executable)"
        done = project.loopwatch("run", Path(sys.executable).name, "-c", show, PATH="/nowhere")
        assert done.stdout == f"{sys.executable}\n"


class TestEnvironment:
    def test_what_the_command_finds(self, project: Project) -> None:
        code = "import json, os; print(json.dumps(dict(os.environ)))"
        before = {"PYTHONPATH": f"one{os.pathsep}two", "X": "1"}
        done = project.loopwatch("run", "--threshold=1.5s", sys.executable, "-c", code, **before)
        found = json.loads(done.stdout)
        bootstrap = str(Path(loopwatch.__file__).parent / "bootstrap")
        assert found.pop("PYTHONPATH").split(os.pathsep) == [bootstrap, "one", "two"]
        [folder] = (project.folder / ".loopwatch").glob("*-*")
        ours = {name: found.pop(name) for name in list(found) if name.startswith("LOOPWATCH")}
        assert ours == {
            "LOOPWATCH_RECORD": str(folder),
            "LOOPWATCH_THRESHOLD": "1500000000ns",
            "LOOPWATCH_INTERVAL": "1000000ns",
            "LOOPWATCH_VERSION": loopwatch.__version__,
        }
        expected = {**project.environment, **before}
        del expected["PYTHONPATH"]
        found.pop("LC_CTYPE", None)  # Python's own
        assert found == {name: value for name, value in expected.items() if name != "LC_CTYPE"}

    def test_empty_python_path_stays_without_the_working_directory(self, project: Project) -> None:
        code = "import os; print(os.environ['PYTHONPATH'])"
        done = project.loopwatch("run", sys.executable, "-c", code, PYTHONPATH="")
        assert os.pathsep not in done.stdout

    def test_within_another_run(self, project: Project) -> None:
        project.write("app.py", STALL + "import os\nasyncio.run(stall())\nprint(os.environ['PYTHONPATH'])\n")
        done = project.loopwatch("run", *LOOPWATCH, "run", "--dir", "inner", "app.py")
        assert done.stdout.count("bootstrap") == 1
        assert "blocked for" in done.stderr
        assert len(list((project.folder / "inner").glob("*/*.jsonl"))) == 1

    @posix_only
    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
    @pytest.mark.parametrize("state", ["", "signal.signal(1, signal.SIG_IGN)", "signal.pthread_sigmask(0, [10])"])
    def test_signals_and_descriptors_are_as_without_us(self, project: Project, state: str) -> None:
        """Whatever whoever starts us has ignored, blocked or opened."""
        undo = "signal.signal(signal.SIGPIPE, signal.SIG_DFL); signal.signal(signal.SIGXFSZ, signal.SIG_DFL)"
        starter = f"import os, sys, signal; {undo}; {state}\nos.execvp(sys.argv[1], sys.argv[1:])"
        look = "grep -E '^(Sig(Blk|Ign|Cgt)|NoNewPrivs)' /proc/self/status; ls /proc/self/fd; umask; ulimit -a; pwd"

        def found(*before: str) -> str:
            with (project.folder / "any").open("w") as file:
                done = subprocess.run(
                    [sys.executable, "-c", starter, *before, "sh", "-c", look],
                    cwd=project.folder,
                    env=project.environment,
                    pass_fds=[file.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            # glibc's posix_spawn has the signals that only the C library uses, 32 and 33, ignored until it uses them.
            # make starts its commands that way too, so either side may show them.
            return re.sub(r"(?<=SigIgn:\t)\w+", lambda word: f"{int(word[0], 16) & ~0x180000000:016x}", done.stdout)

        assert "SigIgn" in found()
        assert found(*LOOPWATCH, "run") == found()
        assert found(*LOOPWATCH, "run", "--exec") == found()

    @posix_only
    @pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-", "2>/dev/full"])
    def test_closed_streams(self, project: Project, closed: str) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\nopen('done', 'w').close()\nraise SystemExit(5)\n")
        done = project.run(["sh", "-c", f'exec "$@" {closed}', "sh", *LOOPWATCH, "run", "app.py"])
        assert done.returncode == 5
        assert (project.folder / "done").exists()
        assert project.recording.totals.stalls >= 1

    @posix_only
    def test_nobody_reads_the_summary(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\nraise SystemExit(5)\n")
        reader, writer = os.pipe()
        os.close(reader)
        process = project.start("run", "app.py", stderr=writer)
        os.close(writer)
        assert process.wait(60) == 5

    def test_standard_input(self, project: Project) -> None:
        process = project.start("run", sys.executable, "-c", "print(input()[::-1])", stdin=subprocess.PIPE)
        out, _ = process.communicate("abc\n", timeout=60)
        assert out == "cba\n"


class TestFolder:
    @posix_only
    def test_is_private_and_ignored_by_git(self, project: Project) -> None:
        project.loopwatch("run", "true")
        base = project.folder / ".loopwatch"
        [folder] = base.glob("*-*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (base / ".gitignore").read_text() == (folder / ".gitignore").read_text() == "*\n"

    @posix_only
    def test_is_held_while_it_is_written(self, project: Project) -> None:
        """So that nobody removes it whose container has other pids."""
        project.write(
            "app.py", STALL + "asyncio.run(stall())\nprint('stalled', input())\nasyncio.run(stall())\ninput()\n"
        )
        process = project.start("run", "-q", "app.py", stdin=subprocess.PIPE)
        [folder] = project.wait_for(lambda: [file.parent for file in project.folder.glob(".loopwatch/*/*.jsonl")])
        assert is_held(folder)
        process.communicate("x\n", timeout=60)
        assert not is_held(folder)

    def test_does_not_hide_a_folder_that_was_there(self, project: Project) -> None:
        project.loopwatch("run", "--dir", ".", sys.executable, "-c", "")
        assert not (project.folder / ".gitignore").exists()
        [folder] = project.folder.glob("*-*")
        assert (folder / ".gitignore").exists()

    @posix_only
    def test_cannot_be_made(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\nprint('ran')\nraise SystemExit(4)\n")
        done = project.loopwatch("run", "--dir", "/proc/none", "app.py", "x")
        assert (done.returncode, done.stdout) == (4, "ran\n")
        reason = os.strerror(2)
        assert done.stderr == (
            f"loopwatch: /proc/none cannot hold a recording ({reason}): app.py x runs without being watched\n"
        )


class TestStatus:
    @pytest.mark.parametrize("status", [7, *once((0,), (1,), (2,), (255,))])
    def test_is_the_commands(self, project: Project, status: int) -> None:
        assert project.loopwatch("run", sys.executable, "-c", f"raise SystemExit({status})").returncode == status

    @posix_only
    @pytest.mark.parametrize("number", [9, 15, *once((1,), (2,), (3,), (6,), (10,), (11,))])
    def test_killed(self, project: Project, number: int) -> None:
        done = project.loopwatch("run", "sh", "-c", f"ulimit -c 0; kill -{number} $$")
        assert done.returncode == 128 + number

    @posix_only
    def test_stuck_and_killed(self, project: Project) -> None:
        project.write("app.py", "import asyncio\nasync def main():\n    while True: pass\nasyncio.run(main())\n")
        process = project.start("run", "app.py")
        files = project.wait_for(lambda: list(project.folder.glob(".loopwatch/*/*.jsonl")))
        project.wait_for(lambda: '"open"' in files[0].read_text())
        assert "STILL RUNNING" in project.loopwatch("report").stdout
        os.kill(int(files[0].name.split("-")[0]), 9)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 137
        assert "NEVER ENDED" in err
        assert "app.py:3 main" in err
        assert "NEVER ENDED" in project.loopwatch("report").stdout


class TestNothingToWatch:
    def test_no_asyncio(self, project: Project) -> None:
        project.write("script.py", "pass\n")
        done = project.loopwatch("run", "python" if shutil.which("python") else sys.executable, "script.py")
        assert re.fullmatch(
            r"No event loop ran in \S*python\S* script\.py: nothing was watched \(.*\)\.\n", done.stderr
        )

    def test_asyncio_without_a_loop(self, project: Project) -> None:
        project.write("script.py", "import asyncio\n")
        done = project.loopwatch("run", "script.py")
        assert done.stderr.startswith("No event loop ran in script.py: nothing was watched")

    def test_failed_at_its_imports(self, project: Project) -> None:
        project.write("script.py", "import no_such_module, asyncio\n")
        done = project.loopwatch("run", "script.py")
        assert done.returncode == 1
        assert done.stderr.splitlines()[-1] == (
            "No event loop ran in script.py, which ended with status 1: nothing was watched."
        )

    def test_only_children(self, project: Project) -> None:
        project.write("app.py", STALL + "asyncio.run(stall())\n")
        project.write("master.py", "import subprocess, sys\nsubprocess.run([sys.executable, 'app.py'])\n")
        done = project.loopwatch("run", "master.py")
        assert "blocked for" in done.stderr
        assert "\nNo event loop ran in master.py itself, only in its child processes.\n" in done.stderr

    @pytest.mark.parametrize("option", ["-I", "-E", "-S", "-bIu"])
    def test_python_that_is_deaf(self, project: Project, option: str) -> None:
        done = project.loopwatch("run", sys.executable, option, "-c", "import asyncio; asyncio.run(asyncio.sleep(0))")
        assert f"Python's option -{option[1 if len(option) == 2 else 2]} keeps loopwatch out" in done.stderr

    @posix_only
    def test_script_whose_python_is_deaf(self, project: Project) -> None:
        project.write("tool", f"#!{sys.executable} -I\n").chmod(0o755)
        assert "Python's option -I keeps loopwatch out" in project.loopwatch("run", "./tool").stderr

    def test_python_without_loopwatch(self, project: Project) -> None:
        """Named once, however often it is started."""
        done = project.run([sys.executable, "-m", "venv", "--without-pip", "other"])
        other = str(project.folder / "other" / ("Scripts" if os.name == "nt" else "bin") / "python")
        project.write("app.py", "import asyncio\nasyncio.run(asyncio.sleep(0))\nprint('ran')\n")
        start = f"import subprocess\nfor _ in range(3): subprocess.run([{other!r}, 'app.py'])\n"
        project.write("master.py", f"{STALL}asyncio.run(stall())\n{start}")
        variables = {"PYTHONPATH": ""}
        if project.run([sys.executable, "-c", "import loopwatch"], **variables).returncode != 0:
            pytest.skip("loopwatch is not installed")
        done = project.loopwatch("run", "master.py", **variables)
        assert (done.returncode, done.stdout) == (0, "ran\n" * 3)
        assert done.stderr.count("Not watched: app.py: loopwatch is not installed for its Python.\n") == 1


@posix_only
class TestExec:
    def test_replaces_this_process(self, project: Project) -> None:
        project.write("app.py", STALL + "import os\nasyncio.run(stall())\nprint(os.getpid())\nraise SystemExit(6)\n")
        process = project.start("run", "--exec", "app.py")
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (6, f"{process.pid}\n", "")
        assert project.recording.totals.stalls >= 1

    def test_killed(self, project: Project) -> None:
        assert project.loopwatch("run", "--exec", "sh", "-c", "kill -TERM $$").returncode == -15

    def test_not_there(self, project: Project) -> None:
        done = project.loopwatch("run", "--exec", "not-there-at-all")
        assert done.returncode == 2
