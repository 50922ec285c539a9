"""Numbers and names as people read them."""

from __future__ import annotations

import ntpath
import posixpath
import re
from collections.abc import Sequence

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def duration(seconds: float) -> str:
    """A length of time in two or three figures: ``250 µs``, ``4.2 ms``, ``412 ms``, ``1.62 s``, ``5 min 3 s``."""
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs" if seconds > 0 else "0 s"
    if seconds < 0.9995:
        milliseconds = seconds * 1e3
        return f"{milliseconds:.0f} ms" if milliseconds >= 9.95 else f"{milliseconds:.1f} ms".replace(".0 ", " ")
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 119.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def share(part: float, whole: float) -> str:
    """A share as a percentage, never 0 for what is not nothing: ``< 0.1 %``, ``3.7 %``, ``42 %``."""
    if whole <= 0 or part <= 0:
        return "0 %"
    percent = 100 * part / whole
    if percent < 0.1:
        return "< 0.1 %"
    return f"{percent:.0f} %" if percent >= 9.95 else f"{percent:.1f} %"


def number(value: int) -> str:
    """A count with its thousands set apart."""
    return f"{value:,}"


def counted(value: int, one: str, many: str | None = None) -> str:
    """A count with its noun: ``1 stall``, ``41 stalls``."""
    return f"{number(value)} {one if value == 1 else many or one + 's'}"


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(items[:-1]), items[-1] if items else ""]))


def command(words: Sequence[str]) -> str:
    """A command as it was meant: without the folders of its programs, and without the interpreter of a script."""
    parts = list(words)
    if len(parts) > 1 and re.fullmatch(r"(python|pypy)[\d.]*t?(\.exe)?", _name(parts[0])) and parts[1][:1] != "-":
        del parts[0]
        if not parts[0].endswith(".py"):
            parts[0] = _name(parts[0])
    elif parts:
        parts[0] = _name(parts[0])
    return plain(" ".join(parts))


def plain(text: str) -> str:
    """A text from a recording or a source file for a terminal: what would steer it is shown as a code instead."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def _name(path: str) -> str:
    return ntpath.basename(path) if "\\" in path else posixpath.basename(path)
