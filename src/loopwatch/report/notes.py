"""What a reader of a report has to know about a recording: one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from loopwatch.analysis.run import Run
from loopwatch.model import Process
from loopwatch.report.words import command, counted, listed, number, plain


def run_notes(run: Run) -> Iterator[str]:
    """What the figures lack, and what did not work in which process."""
    loops = [loop for each in run.processes for loop in each.loops]
    if omitted := sum(loop.omitted for loop in loops):
        yield f"{counted(omitted, 'sample')} had no room among the stacks of their stall (setting: stacks)."
    if lost := run.totals.lost:
        yield f"Of {counted(lost, 'stall')} only the time is known, not the line."
    if untracked := run.totals.requests_untracked:
        what = f"{counted(untracked, 'request')} of {number(run.totals.requests)}"
        yield f"{what} came while too many were in flight: stalls are not put down to them."
    if unplaced := run.totals.unplaced:
        yield f"{counted(unplaced, 'stall')} without a record, at times unknown: left out."
    notes: dict[str, list[int]] = {}
    for each in run.processes:
        for note in process_notes(each.process):
            notes.setdefault(note, []).append(each.process.pid)
    for note, pids in notes.items():
        who = f"pid {listed([str(pid) for pid in pids])}" if len(pids) < 5 else f"{len(pids)} processes"
        yield f"Note on {who}: {plain(note)}."
    for reason in run.unreadable:
        yield f"Left out, since it cannot be read: {plain(reason)}."
    for path in run.skipped:
        yield f"Left out: {plain(str(path))} is not a loopwatch recording."


def unwatched_notes(run: Run) -> Iterator[str]:
    """The processes that were not watched, and why."""
    for each in run.unwatched:
        what = command(each.command) or plain(each.executable)
        yield f"Not watched: pid {each.pid} ({what}): {plain(each.reason)}"


def process_notes(process: Process) -> list[str]:
    """What did not work in a process, by its own account, and what of its recording could not be read."""
    damage, notes = process.damage, list(process.notes)
    if damage.newer:
        notes.append(
            f"it was recorded by a newer loopwatch ({damage.newer}); what this one understands is shown"
            " (for the rest: pip install -U loopwatch)"
        )
    if damage.headless:
        notes.append("its recording has no header: library code cannot be told from your own, times are by file name")
    if damage.unreadable:
        notes.append(f"not all of it could be read ({damage.unreadable})")
    if damage.parts_missing:
        noun = counted(damage.parts_missing, "part")
        notes.append(f"the oldest {noun} of its recording made room for newer ones")
    if damage.dropped:
        notes.append(f"{counted(damage.dropped, 'record')} could not be written (disk full or gone)")
    if cut := sum(loop.cut for loop in process.loops):
        notes.append(f"{counted(cut, 'sample')} had more frames than stack_depth, and lack the outermost")
    if damage.garbage:
        notes.append(f"{counted(damage.garbage, 'line')} of its recording made no sense")
    if damage.unresolved:
        notes.append(f"{counted(damage.unresolved, 'reference')} to a stack that is not in its recording")
    if not process.stacks and not process.damage.headless:
        notes.append("it recorded no stacks: durations are exact, lines are not known")
    return notes
