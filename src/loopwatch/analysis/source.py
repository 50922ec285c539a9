"""Source lines, and the expression that a frame's columns stand for.

Files are read as Python reads them (`tokenize`), once, on the machine of the report: they may be missing, changed
since, or not text at all. Columns count bytes of UTF-8, whatever the file is written in.
"""

from __future__ import annotations

import re
import tokenize
from dataclasses import dataclass
from pathlib import Path

from loopwatch.analysis.frames import relative
from loopwatch.stack import Frame

_LONGEST_FILE = 8 << 20  # bytes; more is not source that a person wrote
_LONGEST_EXPRESSION = 200  # characters
_MOST_LINES = 50  # of an expression
_CODING_SPACE = str.maketrans("\t\f\v", "   ")


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Lines around a frame's own, without line ends and empty ones. `numbers` and `lines` go together.

    `begin` and `end` say which characters of the line `at` are the expression (equal: not known); an expression of
    several lines ends with its first.
    """

    at: int
    numbers: tuple[int, ...]
    lines: tuple[str, ...]
    begin: int
    end: int


class Source:
    """Reads source files and keeps them. With `enabled` false it knows of none.

    What lay below the folder `recorded` and is not there now is looked for below `here`: a recording may come from a
    container or another machine.
    """

    def __init__(self, *, enabled: bool = True, recorded: str = "", here: Path | None = None) -> None:
        self._enabled = enabled
        self._recorded = recorded
        self._here = here
        self._files: dict[str, tuple[str, ...]] = {}
        self._changed: dict[str, float] = {}
        self._expressions: dict[Frame, str] = {}

    def line(self, frame: Frame) -> str:
        """The frame's line without its end; empty if it cannot be had."""
        return self._at(frame.file, frame.line)

    def text(self, file: str) -> str:
        """A whole file, its lines ended by line feeds; empty if it cannot be had."""
        return "\n".join(self._lines(file))

    def expression(self, frame: Frame) -> str:
        """What runs at the frame, in one line: the call by its columns, else its whole line without indentation.
        Empty if it cannot be had."""
        known = self._expressions.get(frame)
        if known is None:
            known = self._expressions[frame] = self._expression(frame)
        return known

    def _expression(self, frame: Frame) -> str:
        first = self.line(frame)
        if frame.column is None or frame.end_column is None or not first:
            return shorten(first.strip())
        if frame.end_line <= frame.line:
            return shorten(_between(first, frame.column, frame.end_column).strip() or first.strip())
        last = min(frame.end_line, frame.line + _MOST_LINES)
        lines = [_between(first, frame.column, None)]
        lines += [self._at(frame.file, number) for number in range(frame.line + 1, last)]
        end = self._at(frame.file, last)
        lines.append(_between(end, 0, frame.end_column) if last == frame.end_line else end)
        return shorten(join(lines))

    def excerpt(self, frame: Frame, *, around: int = 1) -> Excerpt | None:
        """The frame's line with some around it; None if it cannot be had."""
        line = self.line(frame)
        if not line.strip():
            return None
        wanted = range(frame.line - around, frame.line + around + 1)
        numbers = tuple(number for number in wanted if self._at(frame.file, number).strip())
        begin = end = 0
        if frame.column is not None and frame.end_column is not None:
            begin = len(_between(line, 0, frame.column))
            whole = frame.end_line <= frame.line
            end = begin + len(_between(line, frame.column, frame.end_column if whole else None).rstrip())
        lines = tuple(self._at(frame.file, number) for number in numbers)
        return Excerpt(frame.line, numbers, lines, begin, max(begin, end))

    def changed_since(self, file: str, moment: float) -> bool:
        """Whether the file was written to after a moment (Unix seconds), so that its lines may be others now."""
        self._lines(file)
        return self._changed.get(file, 0.0) > moment > 0

    def _at(self, file: str, number: int) -> str:
        lines = self._lines(file)
        return lines[number - 1] if 0 < number <= len(lines) else ""

    def _lines(self, file: str) -> tuple[str, ...]:
        if file not in self._files:
            self._files[file] = self._read(file) if self._enabled else ()
        return self._files[file]

    def _found(self, file: str) -> Path:
        path = Path(file)
        if self._here is None or path.exists():
            return path
        below = relative(file, self._recorded)
        return path if below == file else self._here / below

    def _read(self, file: str) -> tuple[str, ...]:
        if not file or file.startswith("<") or "\0" in file:
            return ()
        try:
            path = self._found(file)
            state = path.stat()
            if not path.is_file() or state.st_size > _LONGEST_FILE:
                return ()
            with tokenize.open(path) as stream:  # the file's own encoding, UTF-8 without its mark by default
                text = stream.read()
        except (OSError, SyntaxError, ValueError, LookupError):
            return ()
        self._changed[file] = state.st_mtime
        # Not splitlines: Python's own lines end at line feeds only, and open() has made them of all others.
        return tuple(text.split("\n"))


def join(lines: list[str]) -> str:
    """The lines of one expression as a single line."""
    text = re.sub(r"\s+", " ", " ".join(line.strip() for line in lines)).strip()
    return re.sub(r",? ([)\]}])", r"\1", re.sub(r"([(\[{]) ", r"\1", text))


def shorten(text: str, most: int = _LONGEST_EXPRESSION) -> str:
    """At most so many characters, the last one an ellipsis if there were more."""
    text = text.translate(_CODING_SPACE)
    return text if len(text) <= most else text[: most - 1] + "…"


def _between(line: str, begin: int, end: int | None) -> str:
    """A part of a line by its bytes in UTF-8; half a character is left out."""
    raw = line.encode("utf-8", "surrogatepass")
    return raw[begin:end].decode("utf-8", "ignore")
