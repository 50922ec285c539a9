"""The steps of .ci/run: what may run side by side does, then what needs the machine to itself, then the summary.

Most tests wait most of their time, so there are more lanes than cores. The output of a step is kept in build/logs and
shown in one piece when the step has ended: its last lines, or, if it failed, all of it. `make test` alone works in this
folder; all other interpreters install from the sdist, each from a copy of its own, so that no two write the same file,
and run their tests in two parts, so that no lane is idle at the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import summary

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
RESULTS = BUILD / "results"
LINKS = BUILD / "pythons"  # so that nox finds each interpreter by its plain name, and `python3` stays what it is
NOX = BUILD / "nox"
INSTALLER = ROOT.parent / "shared" / "interpreters" / "install"

VERSIONS = ["3.11", "3.12", "3.13", "3.14", "3.15"]
OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"  # of `make test`
LANES = max(1, min(len(VERSIONS), (os.cpu_count() or 1) * 3 // 2))
LIMIT = 1500.0  # seconds of one step
GRACE = 30.0  # seconds to end in
TAIL = 20  # lines that are shown of a step that has passed

# Of the markers of pyproject.toml, as they are described there.
SHARED = "not alone"
EACH = "not alone and not once"
ALONE = "alone"

# The tests of `loopwatch run`: a third of the time that all of them take.
OF_RUN = "integration/test_run_*.py"


class Steps:
    """Runs steps, several at a time: each a process group of its own, so that all of it can be ended."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal may come while its thread has it
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, label: str, *command: str, **environment: str) -> bool:
        """Run a step to its end, show its output and note what became of it; whether it passed."""
        log = LOGS / f"{label.replace(' ', '-')}.log"
        begin = time.monotonic()
        print(f"=== {label}: {' '.join(command)}", flush=True)
        with log.open("wb") as output:
            status = self._wait(command, output.fileno(), {**os.environ, **environment})
        seconds = round(time.monotonic() - begin)
        said = "passed" if status == 0 else f"failed (status {status})"
        lines = log.read_text(errors="replace").strip().splitlines()
        with self._lock:
            print("", *(lines if status else lines[-TAIL:]), sep="\n")
            print(f"=== {label}: {said} after {seconds} s, all of it: {log.relative_to(ROOT)}\n", flush=True)
        self.note(label, str(status), seconds)
        return status == 0

    def note(self, label: str, status: str, seconds: int = 0) -> None:
        """A line of what `summary` reads."""
        with self._lock, (RESULTS / "steps.tsv").open("a") as table:
            table.write(f"{label}\t{status}\t{seconds}\n")

    def _wait(self, command: tuple[str, ...], output: int, environment: dict[str, str]) -> int:
        with self._lock:
            if self._stopped:
                return 130
            process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            self._running.add(process)
        try:
            return process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._end([process])
            return 124
        finally:
            with self._lock:
                self._running.discard(process)

    def stop(self) -> None:
        """End all that runs; nothing begins after it."""
        with self._lock:
            self._stopped = True
            running = list(self._running)
        self._end(running)

    @staticmethod
    def _end(processes: list[subprocess.Popen[bytes]]) -> None:
        """With all that they have started."""
        for each in (signal.SIGTERM, signal.SIGKILL):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, each)
            for process in processes:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE)


def find_python(version: str, *folders: str) -> str | None:
    """An interpreter of that version on this machine, or in one of the folders."""
    name = f"python{version}"
    candidates = [str(path) for path in Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")]
    candidates += [found for folder in [*os.get_exec_path(), *folders] if (found := shutil.which(name, path=folder))]
    for candidate in candidates:
        check = f"import sys; sys.exit(not sys.version.startswith('{version}.'))"
        if subprocess.run([candidate, "-c", check], capture_output=True).returncode == 0:
            return candidate
    return None


def install_interpreters(steps: Steps) -> str | None:
    """The folder with those that this machine does not have, where there is a way to get them."""
    if not INSTALLER.exists():
        return None
    # Downloads: one failure may be the network's. The last line of what it says is the folder.
    steps.run("interpreters", "bash", "-c", f"bash '{INSTALLER}' || bash '{INSTALLER}'")
    lines = (LOGS / "interpreters.log").read_text(errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.startswith("/")), None)


def nox(*arguments: str) -> list[str]:
    """Its command line; it has an environment of its own, since `.venv` is what `make test` is about to make."""
    return [str(NOX / "bin" / "nox"), "--error-on-missing-interpreters", *arguments]


def install_nox(steps: Steps) -> bool:
    """With whatever pip there is: not every Python can put it into a new environment."""
    pip = f"'{sys.executable}' -m pip --python '{NOX}/bin/python' install -q nox build"
    return steps.run("nox", "bash", "-c", f"'{sys.executable}' -m venv --clear --without-pip '{NOX}' && {pip}")


def is_alone(file: Path) -> bool:
    """Whether it has tests that are marked so: the others need not be collected."""
    return f"pytest.mark.{ALONE}" in file.read_text()


class Matrix:
    """The tests of one interpreter after another, first those that may run beside others."""

    def __init__(self, steps: Steps, lanes: ThreadPoolExecutor) -> None:
        self._steps = steps
        self._lanes = lanes
        self._sdist: dict[str, str] = {}  # where it is, for what installs from it
        self._nox = {"PATH": f"{LINKS}{os.pathsep}{os.environ['PATH']}"}
        self._there: list[str] = []

    def prepare(self) -> None:
        """The sdist, from which all but `make test` install; made before that one compiles in the same folder."""
        (LINKS / f"python{OURS}").symlink_to(sys.executable)
        shutil.rmtree(BUILD / "dist", ignore_errors=True)
        install_nox(self._steps)
        self._steps.run("archive", str(NOX / "bin" / "python"), "-m", "build", "--sdist", "-o", str(BUILD / "dist"))
        self._sdist["TESTED_SDIST"] = str(next((BUILD / "dist").glob("*.tar.gz"), "none"))

    def here(self) -> None:
        """This interpreter: as a person does it who has just cloned the project."""
        self._there.append(OURS)
        self._make_test(OURS, SHARED)
        self._steps.run("lint", "make", "-k", "lint")

    def sdist(self) -> None:
        """What a user installs where there is no wheel."""
        self._steps.run("sdist", *nox("-s", f"sdist-{OURS}"), **self._nox, **self._sdist)

    def other(self, version: str, folder: Future[str | None]) -> Future[None] | None:
        """One that has to be found first, if need be in the folder that somebody fills at this moment: most of its
        tests. The others are a matter for the next free lane."""
        python = find_python(version) or find_python(version, *filter(None, [folder.result()]))
        if python is None:
            self._steps.note(version, "absent")
            return None
        (LINKS / f"python{version}").symlink_to(python)
        install = nox("--install-only", "-s", f"tests-{version}")
        if not self._steps.run(f"install {version}", *install, **self._nox, **self._sdist):
            return None
        self._there.append(version)
        of_run = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").glob(OF_RUN))]
        later = self._lanes.submit(self._nox_tests, f"{version} run", version, EACH, *of_run)
        self._nox_tests(version, version, EACH, f"--ignore-glob=*/{OF_RUN}")
        return later

    def alone(self) -> None:
        """What notices any other load, once more for each of them."""
        files = [str(file.relative_to(ROOT)) for file in sorted((ROOT / "tests").rglob("test_*.py")) if is_alone(file)]
        for version in sorted(self._there):
            if version == OURS:
                self._make_test(f"{version} alone", ALONE, *files)
            else:
                self._nox_tests(f"{version} alone", version, ALONE, *files)

    def _make_test(self, label: str, marked: str, *which: str) -> None:
        arguments = f"-m '{marked}' --junitxml='{summary.junit(RESULTS, label)}' {' '.join(which)}"
        self._steps.run(label, "make", "test", f"ARGS={arguments}")

    def _nox_tests(self, label: str, version: str, marked: str, *which: str) -> None:
        # No cache: they would all write the same one.
        pytest = ["-p", "no:cacheprovider", "-m", marked, f"--junitxml={summary.junit(RESULTS, label)}", *which]
        self._steps.run(label, *nox("-R", "-s", f"tests-{version}", "--", *pytest), **self._nox)


def run_all(steps: Steps) -> None:
    """All of it, in the order in which it takes least time."""
    with ThreadPoolExecutor() as aside, ThreadPoolExecutor(LANES) as lanes:
        matrix = Matrix(steps, lanes)
        # Both install packages of the system, so one after the other.
        browser = aside.submit(steps.run, "packages", "bash", ".ci/packages")
        folder = aside.submit(lambda: (browser.result(), install_interpreters(steps))[1])
        matrix.prepare()
        browser.result()
        here = lanes.submit(matrix.here)
        others = [lanes.submit(matrix.other, version, folder) for version in VERSIONS if version != OURS]
        sdist = lanes.submit(matrix.sdist)
        of_run = [later for each in others if (later := each.result()) is not None]
        for each in (here, sdist, *of_run):
            each.result()
    matrix.alone()


def main() -> int:
    for folder in (RESULTS, LINKS):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    LOGS.mkdir(exist_ok=True)
    steps = Steps()

    def interrupted(*_: object) -> None:
        steps.stop()
        os._exit(130)

    signal.signal(signal.SIGINT, interrupted)
    signal.signal(signal.SIGTERM, interrupted)
    run_all(steps)
    return summary.main(RESULTS)


if __name__ == "__main__":
    sys.exit(main())
