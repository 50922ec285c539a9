"""What a process is within its run, as far as commands and parents tell."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from pathlib import Path
from typing import Literal

from loopwatch.model import Process
from loopwatch.recording.files import starters_of

# main      what was started, alone or beside children of other kinds
# master    has workers: the parent of a server, a process pool's
# reloader  a master that starts its worker anew when the code changes
# worker    forked from its parent, or started by multiprocessing. Where the parent runs no loop, and so is not in the
#           recording, that is told by there being several of one command
# child     started by another program, which is not watched or runs no loop, or is of another kind
Role = Literal["main", "master", "reloader", "worker", "child"]

_SPAWNED = "--multiprocessing-fork"
_FORK_SERVER = "from multiprocessing.forkserver import main"  # the command of those that it forks too


def roles(processes: Sequence[Process], paths: Iterable[Path] = ()) -> list[Role]:
    """The role of each. `paths`: the recordings, whose names tell the pids of each `loopwatch run`."""
    starters = starters_of(paths)
    by_pid = {process.pid: process for process in processes}
    pids: dict[tuple[int, tuple[str, ...]], set[int]] = {}  # of one parent and one command
    for process in processes:
        pids.setdefault((process.parent_pid, process.command), set()).add(process.pid)
    found = [
        _below(
            process,
            by_pid.get(process.parent_pid),
            starters,
            has_twins=len(pids[process.parent_pid, process.command]) > 1,
        )
        for process in processes
    ]
    masters = {process.parent_pid for process, role in zip(processes, found, strict=True) if role == "worker"}
    return [
        role if role == "worker" or process.pid not in masters else _above(process)
        for process, role in zip(processes, found, strict=True)
    ]


def _below(process: Process, parent: Process | None, starters: Set[int], *, has_twins: bool) -> Role:
    if _SPAWNED in process.command or any(_FORK_SERVER in word for word in process.command):
        return "worker"
    if parent is None or parent is process:
        if starters and has_twins:
            return "worker"
        # With --exec it is the process that `loopwatch run` was.
        return "child" if starters and starters.isdisjoint((process.pid, process.parent_pid)) else "main"
    return "worker" if process.command == parent.command else "child"


def _above(process: Process) -> Role:
    return "reloader" if "--reload" in process.command else "master"
