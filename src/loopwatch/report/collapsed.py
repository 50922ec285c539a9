"""`loopwatch report -f collapsed`: a line per stack, as flamegraph.pl, inferno and speedscope read it.

`outermost;…;innermost 1234`, in microseconds of stalled time. What is not in the totals is not in here.
"""

from __future__ import annotations

from typing import TextIO

from loopwatch.analysis.frames import short
from loopwatch.analysis.run import Run
from loopwatch.report.protocol import Options
from loopwatch.report.stacks import groups, stacks
from loopwatch.report.words import plain
from loopwatch.stack import Frame

_MICROSECONDS = 1_000_000


class CollapsedReporter:
    """Writes the stalls that count."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write a line per stack, the most expensive site first."""
        _, sites = next(groups(run))
        for frames, microseconds in stacks(sites, options, _MICROSECONDS):
            out.write(f"{';'.join(_name(frame, run.cwd) for frame in frames)} {microseconds}\n")


def _name(frame: Frame, cwd: str) -> str:
    where = f" ({short(frame, cwd)}:{frame.line})" if frame.file else ""
    return plain(f"{frame.function}{where}").replace(";", ":")


REPORTER = CollapsedReporter()
