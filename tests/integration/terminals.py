"""A terminal to run programs in, as a person at a keyboard has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

CTRL_C, CTRL_D, CTRL_Z, CTRL_BACKSLASH = "\x03", "\x04", "\x1a", "\x1c"
_PATIENCE = 30.0  # seconds


# Standard input becomes the terminal of the session that the process leads; then the program takes over.
_SIT_DOWN = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for number in (signal.SIGPIPE, signal.SIGXFSZ):
    signal.signal(number, signal.SIG_DFL)
os.execvp(sys.argv[1], sys.argv[1:])
"""


class Terminal:
    """A program that leads the session of a terminal of its own. What it prints is in `seen`."""

    def __init__(self, command: Sequence[str], cwd: Path, environment: dict[str, str]) -> None:
        self.seen = ""
        self._read_to = 0
        self.master, slave = os.openpty()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-S", "-c", _SIT_DOWN, *command],
                cwd=cwd,
                env=environment,
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        finally:
            os.close(slave)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.master, keys.encode())

    def resize(self, rows: int, columns: int) -> None:
        """Change the window's size; everybody in the foreground gets SIGWINCH."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, text: str) -> str:
        """Wait until the text has been printed once more than at the last call; what was printed up to it."""
        end = time.monotonic() + _PATIENCE
        while (at := self.seen.find(text, self._read_to)) < 0:
            assert self._read(end - time.monotonic()), f"{text!r} did not come: {self.seen!r}"
        begin, self._read_to = self._read_to, at + len(text)
        return self.seen[begin : self._read_to]

    def wait(self) -> int:
        """Read until the program has ended: its exit status, or minus the signal that ended it."""
        end = time.monotonic() + _PATIENCE
        while self.process.poll() is None:
            self._read(0.02)
            assert time.monotonic() < end, f"it did not end: {self.seen!r}"
        while self._read(0.05):
            pass
        return self.process.returncode

    def hang_up(self) -> None:
        """Close the terminal's window."""
        os.close(self.master)
        self.master = -1

    def close(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait()
        if self.master >= 0:
            os.close(self.master)

    def _read(self, timeout: float) -> bool:
        if self.master < 0 or not select.select([self.master], [], [], max(0.0, timeout))[0]:
            return False
        try:
            data = os.read(self.master, 65536)
        except OSError:  # the last one at the other end is gone
            return False
        self.seen += data.decode("utf-8", "replace")
        return bool(data)


@contextlib.contextmanager
def terminal(command: Sequence[str], cwd: Path, environment: dict[str, str]) -> Iterator[Terminal]:
    """Run a program in a terminal; afterwards it is gone."""
    opened = Terminal(command, cwd, environment)
    try:
        yield opened
    finally:
        opened.close()
