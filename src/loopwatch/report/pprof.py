"""`loopwatch report -f pprof`: for `go tool pprof` and whatever else reads google's profile.proto, gzipped.

The messages are few and flat, so they are encoded here: protobuf's own package pins versions that clash in other
people's applications.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from typing import TextIO

from loopwatch.analysis.frames import short
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.report.protocol import Options
from loopwatch.report.stacks import groups, stacks
from loopwatch.report.words import command, plain
from loopwatch.stack import Frame

_NANOSECONDS = 1_000_000_000
_VARINT, _BYTES = 0, 2  # wire types


class PprofReporter:
    """Writes bytes: the stream has to have a `buffer`."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the profile. Each sample says in a label whether the totals have it."""
        profile = _Profile(run.cwd)
        for name, sites in groups(run):
            profile.add(name, sites, options)
        out.flush()
        out.buffer.write(gzip.compress(profile.encoded(run), mtime=0))


class _Profile:
    def __init__(self, cwd: str) -> None:
        self._cwd = cwd
        self._strings: dict[str, int] = {"": 0}
        self._functions: dict[tuple[str, str], int] = {}
        self._locations: dict[tuple[int, int], int] = {}
        self._body = bytearray()

    def add(self, group: str, sites: list[Site], options: Options) -> None:
        """Sample: location_id = 1 (innermost first), value = 2, label = 3 with key = 1 and str = 2."""
        label = _number(1, self._string("group")) + _number(2, self._string(group))
        for frames, nanoseconds in stacks(sites, options, _NANOSECONDS):
            locations = [self._location(frame) for frame in reversed(frames)]
            self._body += _block(2, _packed(1, locations) + _packed(2, [nanoseconds]) + _block(3, label))

    def encoded(self, run: Run) -> bytes:
        """Profile: sample_type = 1, string_table = 6, time_nanos = 9, duration_nanos = 10, period_type = 11,
        period = 12, comment = 13."""
        stalled = _number(1, self._string("stalled")) + _number(2, self._string("nanoseconds"))
        comment = self._string(f"loopwatch · {command(run.command) or 'no command'}")
        rest = _block(11, stalled) + _number(12, 1) + _packed(13, [comment])
        times = _number(9, round(run.started * _NANOSECONDS)) + _number(10, round(run.seconds * _NANOSECONDS))
        strings = b"".join(_block(6, text.encode("utf-8", "replace")) for text in self._strings)
        return _block(1, stalled) + bytes(self._body) + strings + times + rest

    def _location(self, frame: Frame) -> int:
        """Location: id = 1, line = 4; Line: function_id = 1, line = 2."""
        key = self._function(frame), frame.line
        number = self._locations.get(key)
        if number is None:
            number = self._locations[key] = len(self._locations) + 1
            self._body += _block(4, _number(1, number) + _block(4, _number(1, key[0]) + _number(2, frame.line)))
        return number

    def _function(self, frame: Frame) -> int:
        """Function: id = 1, name = 2, system_name = 3, filename = 4."""
        key = frame.function, frame.file
        number = self._functions.get(key)
        if number is None:
            number = self._functions[key] = len(self._functions) + 1
            name, file = self._string(plain(frame.function)), self._string(plain(short(frame, self._cwd)))
            self._body += _block(5, _number(1, number) + _number(2, name) + _number(3, name) + _number(4, file))
        return number

    def _string(self, text: str) -> int:
        return self._strings.setdefault(text, len(self._strings))


def _varint(value: int) -> bytes:
    out = bytearray()
    value &= 2**64 - 1  # a negative one, such as a time before 1970, is written as its complement
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3 | _VARINT) + _varint(value)


def _block(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | _BYTES) + _varint(len(data)) + data


def _packed(field: int, values: Iterable[int]) -> bytes:
    return _block(field, b"".join(map(_varint, values)))


REPORTER = PprofReporter()
