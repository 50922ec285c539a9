"""A child process on Windows, where Ctrl-C reaches everybody at the console and there is nothing else to pass on."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Mapping

from loopwatch.launch.command import Command


def run(command: Command, environment: Mapping[str, str]) -> int:
    """Start the program, wait, give its exit status. OSError when it cannot be started."""
    child = subprocess.Popen(command.argv, executable=command.path, env=environment, close_fds=False)
    while True:
        # The child has had the Ctrl-C too; how it ends is its decision.
        with contextlib.suppress(KeyboardInterrupt):
            return child.wait()


def undo_python() -> None:
    """Nothing to take back."""
