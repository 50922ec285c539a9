"""`loopwatch report -f speedscope`: for https://www.speedscope.app, or `npx speedscope`.

A profile for the stalls that count, and others for those at start-up and those that are allowed. A weight is stalled
time, in milliseconds.
"""

from __future__ import annotations

import json
from typing import Any, TextIO

from loopwatch import __version__
from loopwatch.analysis.frames import short
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.report.protocol import Options
from loopwatch.report.stacks import groups, stacks
from loopwatch.report.words import command, plain
from loopwatch.stack import Frame

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_NANOSECONDS = 1_000_000_000
_MILLISECOND = 1_000_000  # ns


class SpeedscopeReporter:
    """Writes sampled profiles with one sample per stack."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the profiles as one JSON object."""
        frames = _Frames(run.cwd)
        profiles = [_profile(name, sites, frames, options) for name, sites in groups(run)]
        document = {
            "$schema": _SCHEMA,
            "exporter": f"loopwatch@{__version__}",
            "name": f"loopwatch · {command(run.command) or 'no command'}",
            "activeProfileIndex": 0,
            "shared": {"frames": frames.listed},
            "profiles": profiles,
        }
        out.write(json.dumps(document) + "\n")


class _Frames:
    def __init__(self, cwd: str) -> None:
        self.listed: list[dict[str, Any]] = []
        self._cwd = cwd
        self._numbers: dict[tuple[str, str, int], int] = {}

    def number(self, frame: Frame) -> int:
        key = frame.file, frame.function, frame.line
        if key not in self._numbers:
            self._numbers[key] = len(self.listed)
            entry: dict[str, Any] = {"name": plain(frame.function)}
            if frame.file:
                entry["file"] = plain(short(frame, self._cwd))
            if frame.line:
                entry["line"] = frame.line
            self.listed.append(entry)
        return self._numbers[key]


def _profile(name: str, sites: list[Site], frames: _Frames, options: Options) -> dict[str, Any]:
    samples: list[list[int]] = []
    weights: list[float] = []
    total = 0
    for stack, nanoseconds in stacks(sites, options, _NANOSECONDS):
        samples.append([frames.number(frame) for frame in stack])
        weights.append(nanoseconds / _MILLISECOND)
        total += nanoseconds
    return {
        "type": "sampled",
        "name": name,
        "unit": "milliseconds",
        "startValue": 0,
        "endValue": total / _MILLISECOND,
        "samples": samples,
        "weights": weights,
    }


REPORTER = SpeedscopeReporter()
