"""A child process on Windows, where Ctrl-C reaches everybody at the console and there is nothing else to pass on."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Mapping

from loopwatch.launch.command import Command


def run(command: Command, environment: Mapping[str, str], ended: Callable[[int], object]) -> int:
    """Start the program, wait, tell `ended` of its pid, give its exit status. OSError when it cannot be started."""
    child = subprocess.Popen(command.argv, executable=command.path, env=environment, close_fds=False)
    while True:
        # The child has had the Ctrl-C too; how it ends is its decision.
        with contextlib.suppress(KeyboardInterrupt):
            status = child.wait()
            break
    ended(child.pid)
    return status


def undo_python() -> None:
    """Nothing to take back."""
