"""What `loopwatch doctor` looks at: one function a subject, each finding with its consequence."""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import loopwatch
from loopwatch.cli.here import settings_here
from loopwatch.config import SWITCH, check_switch, switched_off
from loopwatch.cwd import working_directory
from loopwatch.errors import ConfigError, LoopwatchError
from loopwatch.launch.environment import watched_environment
from loopwatch.settings import Settings

# Whether a thing works, works less well than it might, or keeps loopwatch from working at all.
Verdict = Literal["ok", "less", "broken"]

CONFIGURATION = "configuration"
"""The subject of the one finding that the person at the keyboard can put right."""
_CLOSE_RANGE = 436  # the system call's number, on every architecture
_UNSHARE_RANGE = 1 << 1
_CLONE_FILES = 0x400
_COARSE = 1e-5  # seconds: a clock of longer steps has no high-resolution timers behind it
_PATIENCE = 30.0  # seconds for a Python to start and import asyncio
# How a loop's poll is seen, and what follows from that.
_POLLS = {
    "slot": ("its system call, through the import slot", ""),
    "uv": ("libuv's own handles", "up to 50 ns more an iteration"),
    "select": ("its selector", "0.2 µs more an iteration, and the wait for the GIL after a poll is not seen"),
    "context": ("its contexts alone", "durations are only as exact as the samples"),
}
# What is lost where a check of the self-test does not pass.
_LOST = {
    "stacks": "no stacks, so no lines",
    "callbacks": "callbacks cannot be counted",
    "gil": "no causes",
    "requests": "stalls in child tasks are put to no request",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was looked at: what it is like here, and what follows from that (empty: nothing)."""

    subject: str
    verdict: Verdict
    text: str
    consequence: str = ""


def findings() -> Iterator[Finding]:
    """All of them, in the order in which a person wants to know."""
    yield _python()
    yield Finding("system", "ok", f"{platform.system()} {platform.release()}, {platform.machine()}")
    extension = _extension()
    yield extension
    if extension.verdict == "ok":
        yield from _self_test()
        yield from _polls()
        yield _causes()
        yield _quota()
        yield _bootstrap()
    if sys.platform == "linux":
        yield _descriptors()
    yield _clock()
    settings, configuration = _configuration()
    yield configuration
    yield from _folder(Path(working_directory(), settings.dir), settings.recording_size)
    if switched_off():
        yield Finding(SWITCH, "less", f"is {os.environ[SWITCH]}", "everything is switched off")


def _python() -> Finding:
    name = f"{platform.python_implementation()} {platform.python_version()}"
    if platform.python_implementation() != "CPython":
        return Finding("Python", "broken", name, "loopwatch reads the memory of CPython only")
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return Finding("Python", "broken", f"{name}, free-threaded", "loopwatch needs a Python that has the GIL")
    return Finding("Python", "ok", f"{name} with the GIL, {sys.executable}")


def _extension() -> Finding:
    try:
        core = importlib.import_module("loopwatch._core")
    except ImportError as error:
        return Finding("extension", "broken", f"cannot be imported: {error}", "nothing can be watched")
    return Finding("extension", "ok", f"loopwatch {loopwatch.__version__}, {core.__file__}")


def _self_test() -> Iterator[Finding]:
    from loopwatch import _core

    for check, reason in _core.self_test().items():
        subject = f"self-test: {check}"
        if reason:
            yield Finding(subject, "broken", reason, _LOST.get(check, "nothing can be watched"))
        else:
            yield Finding(subject, "ok", "passed")


def _polls() -> Iterator[Finding]:
    from loopwatch import _core

    try:
        importlib.import_module("uvloop")
    except ImportError:
        yield Finding("uvloop", "ok", "not installed")
    for kind, way in _core.poll_support().items():
        place, consequence = _POLLS.get(way, (way, ""))
        yield Finding(kind, "less" if consequence else "ok", f"its poll is seen at {place}", consequence)


def _causes() -> Finding:
    from loopwatch import _core

    support = _core.cause_support()
    if not support["cpu"]:
        return Finding("causes", "less", "threads do not tell their CPU time", "no causes")
    if not support["state"]:
        text = "threads tell their CPU time, not what they wait for"
        return Finding("causes", "less", text, "`gil` and `starved` read as `blocked`")
    if not support["run_delay"]:
        text = "threads do not tell how long they have waited for a CPU"
        return Finding("causes", "less", text, "`starved` may read as `blocked`")
    return Finding("causes", "ok", "all six can be told apart")


def _quota() -> Finding:
    from loopwatch import _core

    cpus = _core.cpu_quota()
    if cpus is None:
        return Finding("CPU quota", "ok", f"none, {os.cpu_count()} CPUs")
    throttled = "the loop stands still when it is used up: such stalls are `starved`"
    return Finding("CPU quota", "ok" if cpus >= 1 else "less", f"{cpus:g} CPUs", throttled if cpus < 1 else "")


def _bootstrap() -> Finding:
    """Whether `loopwatch run` gets into a child that is this Python."""
    code = "import asyncio, sys; sys.exit('loopwatch.watch' not in sys.modules)"
    with tempfile.TemporaryDirectory() as folder:
        try:
            environment = watched_environment(os.environ, Path(folder), Settings())
            environment["LOOPWATCH"] = ""
            status = subprocess.run(
                [sys.executable, "-c", code], env=environment, capture_output=True, timeout=_PATIENCE
            ).returncode
        except (LoopwatchError, OSError, subprocess.TimeoutExpired) as error:
            return Finding("loopwatch run", "less", str(error), "`loopwatch run` cannot watch this Python")
    if status != 0:
        text = "a child of this Python does not import the bootstrap"
        return Finding("loopwatch run", "less", text, "it is not watched: call loopwatch.start() in the program")
    return Finding("loopwatch run", "ok", "reaches the children of this Python")


def _descriptors() -> Finding:
    """As the watchdog does it; this process has one thread, so nothing becomes of it."""
    libc = ctypes.CDLL(None)
    nothing = ctypes.c_uint(0xFFFFFFFF)
    if libc.syscall(_CLOSE_RANGE, nothing, nothing, _UNSHARE_RANGE) == 0:
        return Finding("descriptors", "ok", "the watchdog has a table of its own (close_range)")
    if libc.unshare(_CLONE_FILES) == 0:
        return Finding("descriptors", "ok", "the watchdog has a table of its own (unshare)")
    consequence = "a program that closes all its descriptors ends the recording of its process"
    return Finding("descriptors", "less", "the watchdog shares the program's table", consequence)


def _clock() -> Finding:
    step = time.get_clock_info("monotonic").resolution
    if step > _COARSE:
        text = f"steps of {step * 1e3:g} ms"
        return Finding("timers", "less", text, "stalls are no more exact, and samples not closer, than that")
    return Finding("timers", "ok", f"steps of {step * 1e9:g} ns")


def _configuration() -> tuple[Settings, Finding]:
    """What is set here, as far as the commands can read it."""
    settings = Settings()
    try:
        settings = settings_here()
        check_switch()
    except ConfigError as error:
        return settings, Finding(CONFIGURATION, "broken", error.message, error.hint)
    return settings, Finding(CONFIGURATION, "ok", "every setting has a meaning")


def _folder(folder: Path, room: int) -> Iterator[Finding]:
    """`room`: bytes that the recording of one process may take."""
    place = next((each for each in (folder, *folder.parents) if each.exists()), folder)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        yield Finding("recordings", "ok", f"{place} can be written to")
    else:
        text = f"{place} cannot be written to"
        yield Finding("recordings", "less", text, "programs run unwatched from here: name a folder with --dir")
    free = shutil.disk_usage(place).free
    text = f"{free / (1 << 30):.1f} GiB free"
    if free < room:
        consequence = f"a process may record {room >> 20} MiB; what does not fit is dropped and counted"
        yield Finding("disk", "less", text, consequence)
    else:
        yield Finding("disk", "ok", text)
