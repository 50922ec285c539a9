"""Run a program to its end as if the shell had started it itself; one file per kind of system."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Mapping
from typing import NoReturn

from loopwatch.errors import LoopwatchError
from loopwatch.launch.command import Command

if sys.platform == "win32":
    from loopwatch.launch import children_windows as children
else:
    from loopwatch.launch import children_posix as children


def run(command: Command, environment: Mapping[str, str], ended: Callable[[int], object]) -> int:
    """Start the program, pass signals on, wait. Its exit status, 128 + N if signal N ended it. `ended` is told of its
    pid once it has.

    Must be called on the main thread. `LoopwatchError` when it cannot be started.
    """
    try:
        return children.run(command, environment, ended)
    except OSError as error:
        raise _failure(command, error) from None


def become(command: Command, environment: Mapping[str, str]) -> NoReturn:
    """Replace this process by the program. `LoopwatchError` when that fails."""
    children.undo_python()
    try:
        os.execve(command.path, command.argv, dict(environment))
    except OSError as error:
        raise _failure(command, error) from None


def _failure(command: Command, error: OSError) -> LoopwatchError:
    hint = "the first line of a script has to say what runs it, like: #!/bin/sh"
    if error.errno != errno.ENOEXEC:
        hint = "try it without loopwatch"
    return LoopwatchError(f"{command.argv[0]} cannot be run: {error.strerror}", hint)
