"""Which program is meant, found as a shell would find it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from loopwatch.errors import LoopwatchError

_PYTHON = re.compile(r"(python|pypy)[\d.]*[a-z]*(\.exe)?", re.IGNORECASE)
_EXAMPLE = "write: loopwatch run uvicorn app:app"


@dataclass(frozen=True, slots=True)
class Command:
    """A program: the file that is run, and its arguments with the program's name as it was typed in front."""

    path: str
    argv: tuple[str, ...]
    typed: str  # for people

    @property
    def deaf_option(self) -> str:
        """The option by which this Python leaves PYTHONPATH or `site` alone, such as ``-I``; empty if none does."""
        for word in self._interpreter_options():
            if not word.startswith("-") or word in ("-", "--"):
                return ""
            for letter in "" if word.startswith("--") else word[1:]:
                if letter in "IES":
                    return f"-{letter}"
                if letter in "cmWX":  # what follows is its value
                    break
        return ""

    def _interpreter_options(self) -> Iterator[str]:
        words = [Path(self.path).name, *self.argv[1:]]
        if not _PYTHON.fullmatch(words[0]):
            words = [Path(word).name if "/" in word else word for word in _interpreter(self.path)]
            while words and not _PYTHON.fullmatch(words[0]):  # #!/usr/bin/env -S python3 -I
                del words[0]
        rest = iter(words[1:])
        for word in rest:
            yield word
            if word[:1] == "-" and word[-1:] in ("W", "X"):
                next(rest, None)
            if word[:1] == "-" and word[:2] != "--" and ("c" in word or "m" in word):
                return


def find_command(words: Sequence[str], module: str | None = None) -> Command:
    """The program that `words` call, or the module of this Python's that `module` names.

    A ``.py`` file that cannot be run by itself is run by this Python. What is not on PATH but lies beside this
    Python is found as well, for an environment that is not activated. `LoopwatchError` when there is no such program.
    """
    if module is not None:
        return _python(["-m", module, *words], " ".join(["python -m", module, *map(shlex.quote, words)]))
    if not words:
        raise LoopwatchError("there is no command to run", _EXAMPLE)
    name, *rest = words
    typed = shlex.join(words)
    if not name:
        raise LoopwatchError("the command to run is empty", _EXAMPLE)
    found, name = _find(name)
    if _is_script(found) and not (os.access(found, os.X_OK) and _interpreter(found)):
        return _python([name, *rest], typed)
    _must_run(found)
    return Command(found, (name, *rest), typed)


def _find(name: str) -> tuple[str, str]:
    """The program's file, and the name to call it by."""
    if os.sep in name or (os.altsep and os.altsep in name):
        return name, name
    if found := shutil.which(name):
        return found, name
    if _is_script(name):
        return name, name
    if beside := shutil.which(name, path=str(Path(sys.executable).parent)):
        return beside, beside  # a Python that is not on PATH cannot find its home by its name
    raise LoopwatchError(
        f"{name}: there is no such command",
        f"write: loopwatch run ./{name}"
        if Path(name).is_file()
        else "install it in this environment, or write its path",
    )


def _python(arguments: Sequence[str], typed: str) -> Command:
    return Command(sys.executable, (sys.executable, *arguments), typed)


def _is_script(path: str) -> bool:
    return path.endswith(".py") and Path(path).is_file()


def _must_run(path: str) -> None:
    file = Path(path)
    if not file.exists():
        raise LoopwatchError(f"{path}: there is no such file", _EXAMPLE)
    if file.is_dir():
        module = f"{path}/__main__.py" if (file / "__main__.py").exists() else "a program in it"
        raise LoopwatchError(f"{path} is a folder", f"name {module}")
    if not os.access(path, os.X_OK):
        raise LoopwatchError(f"{path} may not be executed", f"allow it: chmod +x {shlex.quote(path)}")


def _interpreter(path: str) -> list[str]:
    """The words of a script's first line, ``#!/usr/bin/python3 -I``; none if it is no script."""
    try:
        with Path(path).open("rb") as file:
            line = file.readline(256)
    except OSError:
        return []
    return line[2:].decode("utf-8", "replace").split() if line.startswith(b"#!") else []
