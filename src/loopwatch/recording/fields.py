"""Members of records, read without trust: a wrong type reads as absent, and nothing here raises."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from json.scanner import make_scanner
from typing import Any, TypeAlias

Record: TypeAlias = Mapping[str, Any]

# What json.loads ends up in, without the layers around it.
_parse: Callable[[str, int], tuple[Any, int]] = make_scanner(json.JSONDecoder())  # type: ignore[arg-type]

LIMIT = 2**63  # beyond it no clock and no counter of the writer can be; floats are still far from overflow


def parse_line(line: bytes) -> Record | None:
    """The JSON object in a line; None if there is none. Byte order marks and NUL bytes around it are left out:
    editors add the one, file systems the other after a crash."""
    if line[:1] == b"{":  # nearly all: the others take three times as long
        try:
            whole = line.decode("utf-8", "surrogatepass")
            value, end = _parse(whole, 0)
        except (ValueError, RecursionError, StopIteration):
            pass
        else:
            if end == len(whole):
                return value  # type: ignore[no-any-return]  # it begins with a brace
    text = line.removeprefix(b"\xef\xbb\xbf").strip(b"\0 \t\r\n")
    try:
        # Not left to json, which would guess at UTF-16. File names may hold lone surrogates.
        value = json.loads(text.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def integer(record: Record, key: str) -> int | None:
    """A whole number; None if it is missing, of another type, or larger than the writer's own."""
    value = record.get(key)
    return value if type(value) is int and -LIMIT < value < LIMIT else None  # a bool is none


def count(record: Record, key: str) -> int:
    """A whole number that is not negative; 0 if it is missing or anything else."""
    value = record.get(key)
    return value if type(value) is int and 0 < value < LIMIT else 0


def text(record: Record, key: str, otherwise: str = "") -> str:
    """A string."""
    value = record.get(key)
    return value if isinstance(value, str) else otherwise


def texts(record: Record, key: str) -> tuple[str, ...]:
    """A list of strings; what is none in it is left out."""
    value = record.get(key)
    return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def counts(record: Record, key: str) -> tuple[int, ...]:
    """A list of whole numbers that are not negative; what is none in it reads as 0, to keep the places."""
    value = record.get(key)
    if not isinstance(value, list):
        return ()
    return tuple(count({"": item}, "") for item in value)
