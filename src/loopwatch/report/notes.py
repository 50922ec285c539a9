"""What a reader of a report has to know about a recording: one sentence each."""

from __future__ import annotations

from loopwatch.model import Process
from loopwatch.report.words import counted


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
