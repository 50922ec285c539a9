"""The stalls without an end: what hangs right now is what a reader wants to know first."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from loopwatch.analysis.run import PlacedStall, Run
from loopwatch.analysis.sites import Site
from loopwatch.report.words import counted, duration, plain

_SILENT = 30.0  # seconds; a stall that lasts is recorded at least every ten


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A line about one such stall, or about several of a place, in the parts that it is set in."""

    running: bool
    lead: str
    length: str
    rest: str

    @property
    def label(self) -> str:
        """What it begins with."""
        return "STILL RUNNING" if self.running else "NEVER ENDED"


def unfinished(run: Run, place: Callable[[Site], str]) -> Iterator[Unfinished]:
    """Stalls that last still, then those that lasted until their process was gone: one line for all of a place. `place`
    says where a site is, in plain text."""
    gone = dict[int, list[PlacedStall]]()
    for stall in run.stalls:
        if stall.state == "running":
            rest = f", in {_where(run, stall, place)}{_silence(run, stall.pid)}"
            yield Unfinished(True, f"pid {stall.pid} has answered nobody for", duration(stall.duration), rest)
        elif stall.state == "gone":
            gone.setdefault(stall.site, []).append(stall)
    for stalls in gone.values():
        longest, count = max(stalls, key=lambda stall: stall.duration), len(stalls)
        many = count > 1
        several = f"{counted(count, 'process', 'processes')} were stuck, pid {longest.pid} for at least"
        yield Unfinished(
            False,
            several if many else f"pid {longest.pid} was stuck for at least",
            duration(longest.duration),
            f" until {'they were' if many else 'the process was'} gone, in {_where(run, longest, place)}",
        )


def _where(run: Run, stall: PlacedStall, place: Callable[[Site], str]) -> str:
    """The place, and for whom."""
    return place(run.sites[stall.site]) + (f", for {plain(stall.endpoint)}" if stall.endpoint else "")


def _silence(run: Run, pid: int) -> str:
    """What to add where the newest record of a running process is old."""
    seen = max((each.process.seen for each in run.processes if each.process.pid == pid), default=0.0)
    silent = run.started + run.seconds - seen
    return f" (as of its newest record, {duration(silent)} ago)" if silent > _SILENT else ""
