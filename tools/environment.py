"""Set up .venv for `make`: the environment, what it needs from the package index, the built extension.

Runs on a bare interpreter, so standard library only. Every step is one line; what fails is one line too, with
the rest in build/logs. What is already there is left alone, so a second run takes no time.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "loopwatch-stamp.json"
LOGS = ROOT / "build" / "logs"
BUILD_TOOLS = ["setuptools>=77", "cython>=3.1", "wheel"]


class SetupError(Exception):
    """One line for the user: what is missing, and what to do about it."""


def say(text: str) -> None:
    print(f"· {text}", flush=True)


def run(log: str, command: list[str]) -> None:
    """Run a command with its output in a log file; raise its own best line if it fails."""
    LOGS.mkdir(parents=True, exist_ok=True)
    path = LOGS / f"{log}.log"
    with path.open("wb") as stream:
        status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream).returncode
    if status:
        reason = _telling_line(path.read_text(errors="replace")) or f"exit status {status}"
        raise SetupError(f"{reason}  (all of it: {path.relative_to(ROOT)})")


# What tells most about a failure, first the surest: a compiler's error, our own, an exception, pip's.
_TELLING = [r":\d+(:\d+)?: (fatal )?error: ", r"^loopwatch: ", r"^\w*(Error|Exception): ", r"^ERROR: "]


def _telling_line(output: str) -> str:
    """The line of a tool's output that says what went wrong; the last one if none stands out."""
    lines = [line.strip() for line in re.sub(r"\x1b\[[0-9;]*m", "", output).splitlines() if line.strip()]
    if "WARNING: Retrying (" in output and "ERROR: No matching distribution" in output:
        return "no network: pip cannot reach the package index"
    for pattern in _TELLING:
        for line in lines:
            if re.search(pattern, line):
                return line
    return lines[-1] if lines else ""


def check_machine() -> None:
    """Say what is missing before pip fails over it with a screenful."""
    if sys.platform == "win32":
        return  # setuptools finds the compiler by itself there
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if not shutil.which(compiler):
        raise SetupError(f"no C compiler ({compiler}): install one (Debian: apt-get install gcc), or name yours in CC")
    folder = sysconfig.get_path("include")
    if not Path(folder, "Python.h").exists():
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SetupError(f"no Python.h in {folder}: install the headers (Debian: apt-get install python{version}-dev)")


def make_venv() -> None:
    """A virtual environment with pip, also where ensurepip was left out of the interpreter."""
    say(f"environment .venv with Python {sys.version.split()[0]}")
    shutil.rmtree(VENV, ignore_errors=True)
    ways = [
        [sys.executable, "-m", "venv", str(VENV)],
        [sys.executable, "-m", "virtualenv", "-q", str(VENV)],
        ["virtualenv", "-q", "-p", sys.executable, str(VENV)],
    ]
    for number, way in enumerate(ways):
        try:
            run(f"venv-{number}", way)
            return
        except (SetupError, FileNotFoundError):
            shutil.rmtree(VENV, ignore_errors=True)
    # Neither ensurepip nor virtualenv: an empty environment, filled by whatever pip there is.
    run("venv", [sys.executable, "-m", "venv", "--without-pip", str(VENV)])
    for python in (sys.executable, "python3"):
        try:
            run("venv-pip", [python, "-m", "pip", "--python", str(venv_python()), "install", "-q", "pip"])
            return
        except (SetupError, FileNotFoundError):
            continue
    shutil.rmtree(VENV, ignore_errors=True)
    raise SetupError("no pip, venv or virtualenv for this Python (Debian: apt-get install python3-venv)")


def venv_python() -> Path:
    return VENV / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def install(extras: list[str]) -> None:
    """loopwatch itself, editable, and what the extras ask for."""
    wanted = f".[{','.join(extras)}]" if extras else "."
    pip = [str(venv_python()), "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-input", "--retries=2"]
    started = time.monotonic()
    say(f"packages: build tools, {', '.join(extras) or 'loopwatch'}")
    run("pip-build-tools", [*pip, *BUILD_TOOLS])
    say("extension: compile and install (about half a minute)")
    run("pip-install", [*pip, "--no-build-isolation", "-e", wanted])
    say(f"ready after {time.monotonic() - started:.0f} s")


def build() -> None:
    """Only the extension, in place: after a change of the C or Cython sources."""
    say("extension: the sources or the sanitizers changed, compile")
    run("build", [str(venv_python()), "setup.py", "-q", "build_ext", "--inplace", "--force"])


def digest(paths: list[Path], start: str = "") -> str:
    total = hashlib.sha256(start.encode())
    for path in sorted(paths):
        total.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def read_stamp() -> dict[str, object]:
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def extension_built() -> bool:
    return any((ROOT / "src" / "loopwatch").glob(f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"))


def set_up(extras: list[str]) -> None:
    project = digest([ROOT / "pyproject.toml"])
    cython = [path for path in (ROOT / "src" / "loopwatch").iterdir() if path.suffix in {".pyx", ".pxd"}]
    sanitizers = os.environ.get("LOOPWATCH_SANITIZE", "")
    sources = digest([ROOT / "setup.py", *(ROOT / "csrc").rglob("*.[ch]"), *cython], sanitizers)
    stamp = read_stamp()
    interpreter = [str(Path(sys.executable).resolve()), sys.version]
    had = stamp.get("extras")
    known = {str(extra) for extra in had} if isinstance(had, list) else set()
    if stamp.get("interpreter") != interpreter or not venv_python().exists():
        check_machine()
        make_venv()
        stamp, known = {}, set()
    if stamp.get("project") != project or not known.issuperset(extras):
        check_machine()
        known |= set(extras)
        install(sorted(known))
    elif stamp.get("sources") != sources or not extension_built():
        check_machine()
        build()
    else:
        return
    STAMP.write_text(
        json.dumps({"interpreter": interpreter, "project": project, "sources": sources, "extras": sorted(known)})
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("extras", nargs="*", help="extras of pyproject.toml to install: demo, test, bench, dev")
    try:
        set_up(parser.parse_args().extras)
    except SetupError as error:
        print(f"make: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
