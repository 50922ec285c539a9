"""The process that `loopwatch attach` is to join: what it is, and whether CPython lets this Python in."""

from __future__ import annotations

import os
import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from loopwatch.errors import LoopwatchError

OLDEST = (3, 14)  # sys.remote_exec, PEP 768
_LIST = "see which there are: pgrep -af python"
_INTERPRETER = re.compile(r"(?:lib)?python(?:(\d)\.(\d+))?[a-z]*(?:\.exe|\.so.*|\.dylib)?", re.IGNORECASE)
_EXTENSION = re.compile(r"\.cpython-(\d)(\d+)[a-z]*-[^/]*\.so")
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True, slots=True)
class Target:
    """A running process. `version` is Python's, None where nothing tells; `python` the interpreter as it was called."""

    process: psutil.Process
    typed: str  # its command, for people
    python: str
    version: tuple[int, int] | None

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def is_there(self) -> bool:
        """Whether it still runs, and not another one under its pid."""
        try:
            return self.process.is_running() and self.process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def refused(self) -> LoopwatchError:
        """It may not be joined by this user."""
        again = f"{shlex.quote(sys.executable)} -m loopwatch attach {self.pid}"
        hint = f"try: sudo {again}"
        if os.name == "posix" and os.geteuid() == 0:
            hint = "in a container give it the capability SYS_PTRACE: docker run --cap-add SYS_PTRACE"
        elif _yama() > 0:
            hint += ", or allow it on this machine: sudo sysctl kernel.yama.ptrace_scope=0"
        whose = self.process.username()
        return LoopwatchError(f"there is no permission to look into process {self.pid} (of user {whose})", hint)


def find_target(pid: int) -> Target:
    """The process, if it is one that this Python can join. `LoopwatchError` with what to do instead if not."""
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise LoopwatchError(f"process {pid} has ended, its parent has not noticed yet", _LIST)
        words = process.cmdline()
        typed = shlex.join(words) or process.name()
    except psutil.NoSuchProcess:
        raise LoopwatchError(f"there is no process {pid}", _LIST) from None
    except psutil.AccessDenied:
        words, typed = [], str(pid)
    target = Target(process, typed, sys.executable, None)
    try:
        loaded = _loaded(process)
    except (psutil.AccessDenied, PermissionError):
        raise target.refused() from None
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        raise LoopwatchError(f"process {pid} has just ended", _LIST) from None
    versions, is_python = _versions(loaded)
    if not is_python:
        raise LoopwatchError(f"process {pid} ({process.name()}) is not Python", _LIST)
    python = words[0] if words and os.sep in words[0] and _INTERPRETER.fullmatch(Path(words[0]).name) else loaded[0]
    target = Target(process, typed, python, versions)
    _must_fit(target)
    return target


def _must_fit(target: Target) -> None:
    """`LoopwatchError` unless both are CPython 3.14 or newer of one minor version."""
    here, there = sys.version_info[:2], target.version
    own = "{}.{}".format(*here)
    if there is not None and there < OLDEST:
        raise LoopwatchError(
            f"process {target.pid} runs Python {there[0]}.{there[1]}, and only 3.14 or newer can be joined",
            f"start it anew with: loopwatch run {target.typed}",
        )
    if there is not None and there != here:
        raise LoopwatchError(
            f"process {target.pid} runs Python {there[0]}.{there[1]}, and this loopwatch {own}",
            f"use its own: {shlex.quote(target.python)} -m loopwatch attach {target.pid}",
        )
    if here < OLDEST:
        raise LoopwatchError(
            f"this loopwatch runs on Python {own}, and attach needs 3.14 or newer, as does the process",
            f"use its own Python: PYTHON -m loopwatch attach {target.pid}",
        )


def _loaded(process: psutil.Process) -> list[str]:
    """The executable and the files that are mapped, where the system tells them.

    psutil's `memory_maps` reads /proc/PID/smaps, which holds the process up while the kernel counts its pages.
    """
    files = [process.exe()]
    if sys.platform == "linux":
        with Path(f"/proc/{process.pid}/maps").open(encoding="utf-8", errors="surrogateescape") as lines:
            mapped = (line.split(None, 5)[5].strip() for line in lines if "/" in line)
            files += dict.fromkeys(file.removesuffix(" (deleted)") for file in mapped)
    return files


def _versions(files: list[str]) -> tuple[tuple[int, int] | None, bool]:
    """The version of Python that these belong to, if they tell, and whether they are Python's at all."""
    is_python = False
    for file in files:
        match = _INTERPRETER.fullmatch(Path(file).name) or _EXTENSION.search(file)
        is_python = is_python or match is not None
        if match is not None and match[1]:
            return (int(match[1]), int(match[2])), True
    return None, is_python


def _yama() -> int:
    try:
        return int(_YAMA.read_text())
    except (OSError, ValueError):
        return 0
