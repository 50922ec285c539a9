"""Where a report goes: a file, or a terminal that may not know every character."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, TextIO, cast

from loopwatch.errors import LoopwatchError

_PLAIN = str.maketrans(
    {"│": "|", "▶": ">", "└": "`", "→": "->", "·": "-", "…": "...", "µ": "u", "■": "#", "–": "-", "×": "x"}
)


class _PlainStream:
    """A stream whose encoding lacks our signs: they are put in plainer ones, what is left becomes a question mark."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        encoding = self._stream.encoding or "ascii"
        self._stream.write(text.translate(_PLAIN).encode(encoding, "replace").decode(encoding))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def opened(file: str | None) -> Iterator[TextIO]:
    """A stream for a report: standard output for None and ``-``, else a file that appears once it is complete.
    What a link points to is written in place.

    `LoopwatchError` when the file cannot be written. That nobody reads standard output any more is no error: they
    have seen enough.
    """
    if file is None or file == "-":
        if sys.stdout is None:
            raise LoopwatchError("standard output is closed", "write to a file: -o FILE")
        try:
            yield terminal(sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:
            discard_output()
        return
    path = Path(file)
    try:
        # A pipe or a device cannot be replaced by a file, and a link is meant to stay: /dev/stdout is one, too.
        replaceable = not path.is_symlink() and (path.is_file() or not path.exists())
        writer = _replacing(path) if replaceable else path.open("w", encoding="utf-8")
        with writer as stream:
            yield cast(TextIO, stream)
    except OSError as error:
        raise LoopwatchError(f"{file} cannot be written: {error.strerror}", "name another file with -o") from None


def discard_output() -> None:
    """Let go of standard output: Python would otherwise complain at exit when it flushes what nobody takes."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def terminal(stream: TextIO) -> TextIO:
    """The stream itself, or one that writes plainer signs to it if it would not know ours."""
    encoding = (stream.encoding or "ascii").lower().replace("-", "").replace("_", "")
    return stream if encoding.startswith("utf") else cast(TextIO, _PlainStream(stream))


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[IO[str]]:
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            yield stream
        Path(name).chmod(_mode(path))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _mode(path: Path) -> int:
    """That of the file that is there, else the one of a new file."""
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask
