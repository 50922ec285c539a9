"""A program that stops after every machine instruction, so that each state its memory is ever in can be looked at.

`python -m tests.integration.stepping MOST WORKLOAD…` samples the workloads flat out while another process takes the
loop's thread from instruction to instruction, for so many of them in each workload, and prints one verdict a line. The
watchdog is not stopped: switching between the two processes takes as long as a few samples.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict

from tests.integration.judge import Calls
from tests.integration.sampling import sample
from tests.integration.trial import Verdict, judge
from tests.integration.workloads import WORKLOADS

REFUSED = 77
"""Exit status: one process may not trace another one here."""

# <sys/ptrace.h>
_TRACEME, _CONTINUE, _STEP = 0, 7, 9
_WAIT_FOR_THREADS = 0x40000000  # __WALL

_BEGIN, _END = signal.SIGUSR1, signal.SIGUSR2


def _ptrace(request: int, pid: int = 0, number: int = 0) -> None:
    """ptrace(2) without an address. Raises OSError."""
    if _libc.ptrace(request, pid, None, number) == -1:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def step(work: Callable[[], None], most: int) -> int:
    """Do the work in a child process, whose main thread goes step by step from each _BEGIN on, for so many instructions
    or until _END. The child's exit status."""
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        _be_traced(work)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSTOPPED(status):
        return os.waitstatus_to_exitcode(status)
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # where the thread runs that waits for this one
    left = passed_on = 0
    while True:
        _ptrace(_STEP if left > 0 else _CONTINUE, pid, passed_on)
        _, status = os.waitpid(pid, _WAIT_FOR_THREADS)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        stopped_by = os.WSTOPSIG(status)
        passed_on = 0
        if stopped_by == _BEGIN:
            left = most
        elif stopped_by == _END:
            left = 0
        elif stopped_by == signal.SIGTRAP:
            left -= 1
        else:
            passed_on = stopped_by


def _be_traced(work: Callable[[], None]) -> None:
    status = REFUSED
    try:
        _ptrace(_TRACEME)
        os.kill(os.getpid(), signal.SIGSTOP)
        status = 1
        work()
        sys.stdout.flush()
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    os._exit(status)


def judged(name: str) -> Verdict:
    """The verdict on what was seen of a workload, done once."""
    learning = True

    def stepped() -> None:
        if not learning:
            signal.raise_signal(_BEGIN)
        WORKLOADS[name]()
        if not learning:
            signal.raise_signal(_END)

    calls = Calls()
    calls.learn(stepped)
    learning = False
    verdict = Verdict(name)
    judge(verdict, calls, sample([stepped], 0))
    return verdict


def main(most: int, names: list[str]) -> int:
    """All verdicts, one JSON line each."""

    def work() -> None:
        for name in names:
            print(json.dumps(asdict(judged(name))), flush=True)

    return step(work, most)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:] or list(WORKLOADS)))
