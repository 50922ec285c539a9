"""Having another Python do something (`injected.py`), and what it answers."""

from __future__ import annotations

import contextlib
import importlib.machinery
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

import loopwatch
from loopwatch.errors import LoopwatchError
from loopwatch.launch.target import Target

_PACKAGE = Path(loopwatch.__file__).resolve().parent
_LOOK = 0.02  # seconds between two looks
_LONGEST_ANSWER = 1 << 16


class NoAnswer(LoopwatchError):
    """The process has the order, and has not carried it out yet."""


def ask(target: Target, do: str, wanted: Mapping[str, Any], patience: float) -> dict[str, Any]:
    """Have the process `do` ("begin" or "end") what `loopwatch.attach` does with `wanted`; what that answers.

    `LoopwatchError` if it cannot be asked, `NoAnswer` if it has not answered within `patience` seconds: it will do so
    when its main thread runs Python again.
    """
    with _folder(target) as folder:
        script, answer = folder / "script.py", folder / "answer.json"
        order = {
            "do": do,
            "script": str(script),
            "answer": str(answer),
            "package": str(_PACKAGE),
            "version": loopwatch.__version__,
            "suffix": importlib.machinery.EXTENSION_SUFFIXES[0],
            **wanted,
        }
        text = f"{(_PACKAGE / 'injected.py').read_text(encoding='utf-8')}\n\ncarry_out({order!r})\n"
        with _written(script, text) as descriptor:
            # The folder last: from then on the process's user may put links in it.
            give(target, script, folder)
            _must_see(target, script)
            _send(target, script)
            try:
                return _answer(target, answer, patience)
            except KeyboardInterrupt:
                _take_back(script, descriptor)
                raise


@contextlib.contextmanager
def _folder(target: Target) -> Iterator[Path]:
    """A folder that nobody else can look into. It stays while the script in it is still to be read."""
    prefix = f"loopwatch-{target.pid}-"
    for old in Path(tempfile.gettempdir()).glob(f"{prefix}*"):  # this order takes the place of one that was never read
        shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield folder
    except (NoAnswer, KeyboardInterrupt):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _written(script: Path, text: str) -> Iterator[int]:
    """A new file for its owner alone, and a descriptor of it, which no link can turn elsewhere."""
    descriptor = os.open(script, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, text.encode("utf-8"))
        yield descriptor
    finally:
        os.close(descriptor)


def _take_back(script: Path, descriptor: int) -> None:
    """Leave a script that does nothing: the process is going to open it all the same, and would complain."""
    done = f"import os\nos.unlink({str(script)!r})\nos.rmdir({str(script.parent)!r})\n"
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, done.encode("utf-8"))


def give(target: Target, *paths: Path) -> None:
    """Let the process's user have what root has made: what lies in a folder before that folder."""
    if os.name == "posix" and os.geteuid() == 0:
        for path in paths:
            os.chown(path, target.process.uids().effective, target.process.gids().effective, follow_symlinks=False)


def _must_see(target: Target, script: Path) -> None:
    """`LoopwatchError` where the process has another file system, as in a container."""
    root = Path(f"/proc/{target.pid}/root")
    if sys.platform != "linux":
        return
    try:
        if (root / script.relative_to("/")).samefile(script):
            return
    except PermissionError:
        raise target.refused() from None
    except OSError:
        pass
    raise LoopwatchError(
        f"process {target.pid} does not see {script.parent.parent} as it is here: it runs in a container, or has a"
        " folder of its own for temporary files",
        "attach from within the container, or name a folder that both see: TMPDIR=FOLDER",
    )


def _send(target: Target, script: Path) -> None:
    """What CPython says, in our words (Modules/_remote_debugging, Python/remote_debug.h)."""
    if sys.version_info < (3, 14):
        raise AssertionError("`find_target` has looked at the version")
    try:
        sys.remote_exec(target.pid, str(script))
    except PermissionError:
        raise target.refused() from None
    except ProcessLookupError:
        raise LoopwatchError(f"process {target.pid} has just ended", "see: pgrep -af python") from None
    except (RuntimeError, OSError) as error:
        if not target.is_there:
            raise LoopwatchError(f"process {target.pid} has just ended", "see: pgrep -af python") from None
        raise _explained(target, error) from None


def _explained(target: Target, error: Exception) -> LoopwatchError:
    causes = [error, error.__cause__, error.__context__]
    if any(isinstance(each, PermissionError) for each in causes):
        return target.refused()
    text = str(error).rstrip(".")
    if text.endswith("not enabled in the remote process"):
        return LoopwatchError(
            f"process {target.pid} was started with PYTHON_DISABLE_REMOTE_DEBUG or -X disable-remote-debug",
            f"start it anew without, or with: loopwatch run {target.typed}",
        )
    if "not enabled" in text:
        return LoopwatchError(
            "PYTHON_DISABLE_REMOTE_DEBUG, or -X disable-remote-debug, is set for loopwatch itself",
            f"try: env -u PYTHON_DISABLE_REMOTE_DEBUG loopwatch attach {target.pid}",
        )
    return LoopwatchError(
        f"Python cannot join process {target.pid} ({text})", f"start it anew with: loopwatch run {target.typed}"
    )


def _answer(target: Target, answer: Path, patience: float) -> dict[str, Any]:
    """Wait for it."""
    end = time.monotonic() + patience
    while True:
        there = target.is_there  # before the look: it may answer, and end
        content = _read(answer)
        if content is not None:
            return content
        if not there:
            raise LoopwatchError(f"process {target.pid} has ended meanwhile", "see: pgrep -af python")
        if time.monotonic() >= end:
            raise NoAnswer(_stuck(target, patience))
        time.sleep(_LOOK)


def _stuck(target: Target, patience: float) -> str:
    """What the main thread does instead, as far as that can be told."""
    try:
        stopped = target.process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        stopped = False
    why = "is stopped" if stopped else "has not run any Python for {:g} s (a long call in C, or nothing to do)"
    return f"the main thread of process {target.pid} {why.format(patience)}"


def _read(answer: Path) -> dict[str, Any] | None:
    try:
        descriptor = os.open(answer, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        try:
            content = json.loads(file.read(_LONGEST_ANSWER))
        except ValueError:
            return {}
    return content if isinstance(content, dict) else {}
