"""What every report format has to offer, and which formats there are."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Protocol, TextIO, cast

from loopwatch.analysis.run import Run
from loopwatch.errors import LoopwatchError


@dataclass(frozen=True, slots=True)
class Options:
    """How a report shall look. `source` is whether source files are read; `here` is where those of the run's working
    directory are looked for if that is not there."""

    source: bool = True
    all_frames: bool = False
    here: Path | None = None


class Reporter(Protocol):
    """One format."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the report on a run to a stream. Raises nothing but what the stream does."""


@dataclass(frozen=True, slots=True)
class Format:
    """A format: the module that has its `REPORTER`, loaded when it is asked for, and the suffixes of its files.
    A `binary` one writes to the `buffer` of its stream. `stalls` is how many single stalls it shows, the longest."""

    module: str
    suffixes: tuple[str, ...]
    binary: bool = False
    stalls: int = 1000


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "text": Format("loopwatch.report.text", (".txt", ".text", ".log")),
        "json": Format("loopwatch.report.json", (".json",), stalls=100_000),
        "html": Format("loopwatch.report.html", (".html", ".htm"), stalls=4000),
        "markdown": Format("loopwatch.report.markdown", (".md", ".markdown")),
        "speedscope": Format("loopwatch.report.speedscope", (".speedscope.json", ".speedscope")),
        "collapsed": Format("loopwatch.report.collapsed", (".collapsed", ".folded")),
        "pprof": Format("loopwatch.report.pprof", (".pb.gz", ".pprof"), binary=True),
    }
)


def reporter(name: str) -> Reporter:
    """The reporter of a format by its name, which must be one of `FORMATS`."""
    return cast(Reporter, importlib.import_module(FORMATS[name].module).REPORTER)


def format_of(file: str) -> str:
    """The format that a file's suffix asks for. `LoopwatchError` if it is of none."""
    lower = PurePath(file).name.lower()
    suffixes = ((suffix, name) for name, each in FORMATS.items() for suffix in each.suffixes)
    # The longest that fits: .speedscope.json is no .json.
    fitting = [(len(suffix), name) for suffix, name in suffixes if lower.endswith(suffix) and lower != suffix]
    if fitting:
        return max(fitting)[1]
    known = ", ".join(each.suffixes[0] for each in FORMATS.values())
    raise LoopwatchError(f"no format belongs to the suffix of {file}", f"name it {known}, or choose one with -f")
