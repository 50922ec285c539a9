"""A child process on POSIX systems: signals, job control, and whoever the child leaves behind.

The child is in our process group, as it would be in the shell's job without us. So whatever the terminal sends
(Ctrl-C, Ctrl-Z, a change of its size) has reached the child when it reaches us; what somebody sends to our pid has
not. All signals are blocked here and taken one by one, since only then the kernel tells which of the two it was.
A blocked signal does not end us either: until the child has ended nothing does but SIGKILL.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from loopwatch.launch.command import Command

if sys.platform == "linux":
    from loopwatch.launch import signals_linux as signals
else:
    from loopwatch.launch import signals_sigwait as signals

if TYPE_CHECKING:
    import psutil

# Faults of our own, and what cannot be blocked.
_OURS = {
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGABRT,
    signal.SIGTRAP,
    signal.SIGSYS,
}
_STOPPING = {signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
_SET_BY_PYTHON = [signal.SIGPIPE, signal.SIGXFSZ]  # Python ignores them, and a child inherits that
_LEFT_BEHIND = 10.0  # seconds to wait for processes that the child has left behind
_LOOK = 0.02  # seconds between two looks at them


def run(command: Command, environment: Mapping[str, str], ended: Callable[[int], object]) -> int:
    """Start the program, pass signals on, wait. Its exit status, or 128 + the signal that ended it. `ended` is told of
    its pid once it has.

    OSError when it cannot be started.
    """
    for number in (signal.SIGCHLD, signal.SIGCONT, signal.SIGWINCH):
        # Left at their default, or ignored by who started us, they might be thrown away though they are blocked.
        signal.signal(number, _nothing)
    taken = {int(number) for number in signal.valid_signals()} - _OURS
    before = signal.pthread_sigmask(signal.SIG_BLOCK, taken)
    try:
        pid = os.posix_spawn(command.path, command.argv, environment, setsigmask=before, setsigdef=_SET_BY_PYTHON)
        return _Child(pid, taken, ended).wait()
    finally:
        while signals.take(taken, timeout=0.0):  # second thoughts of who has sent the first signal
            pass
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def undo_python() -> None:
    """Give a program that replaces this process the signal actions that this process was started with."""
    for number in _SET_BY_PYTHON:
        signal.signal(number, signal.SIG_DFL)


class _Child:
    def __init__(self, pid: int, taken: set[int], ended: Callable[[int], object]) -> None:
        self.pid = pid
        self.ended = ended
        self.taken = taken
        self.stopped = False
        self.status: int | None = None  # what `waitpid` says, once it has ended
        self.sent: set[int] = set()  # signals that were passed on
        self.family: dict[int, psutil.Process] = {}  # everybody below it when they were

    def wait(self) -> int:
        """Its exit status, or 128 + the signal that ended it."""
        while self.status is None:
            received = signals.take(self.taken)
            if received is None:
                continue
            if received.number == signal.SIGCHLD:
                self._look()
            elif received.number == signal.SIGCONT:
                self._continue()
            elif not received.terminal or not self._has_heard(received.number):
                self._pass_on(received.number)
        self.ended(self.pid)
        code = os.waitstatus_to_exitcode(self.status)
        if -code in self.sent:
            # It had no handler, so it has told nobody: `sh -c '…'` would leave its commands running.
            self._follow(-code)
        return code if code >= 0 else 128 - code

    def _look(self) -> None:
        """See what has become of the child, and stop as it was stopped."""
        while self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED | os.WCONTINUED)
            if pid == 0:
                return
            if os.WIFCONTINUED(status):
                self.stopped = False
            elif os.WIFSTOPPED(status):
                self.stopped = True
                # Not at SIGSTOP: who stops a process by its pid continues it by its pid.
                if os.WSTOPSIG(status) in _STOPPING:
                    _stop_like(os.WSTOPSIG(status))
            else:
                self.status = status

    def _continue(self) -> None:
        """`fg` has continued the whole group, `kill` with our pid only us."""
        self._look()
        if self.stopped and self.status is None:
            self._send(signal.SIGCONT)

    def _has_heard(self, number: int) -> bool:
        """Whether what the terminal has sent to us has reached the child, too. Not the hang-up: that goes to the leader
        of its session alone, the program, were we not in between. Nor anything where it is in a group of its own: as
        the first process of a job it could not have left that."""
        if number == signal.SIGHUP and os.getsid(0) == os.getpid():
            return False
        return os.getpgid(self.pid) == os.getpgrp()

    def _send(self, number: int) -> None:
        with suppress(PermissionError):  # it has become another user's: nobody here may do that, with or without us
            os.kill(self.pid, number)

    def _pass_on(self, number: int) -> None:
        import psutil

        self.sent.add(number)
        try:
            family = psutil.Process(self.pid).children(recursive=True)
        except psutil.Error:  # it is ending
            family = []
        self.family.update({each.pid: each for each in family})
        self._send(number)

    def _follow(self, number: int) -> None:
        """Pass a signal on to those that the child has left behind, and give them time to end."""
        left = [each for each in self.family.values() if _send(each, number)]
        end = time.monotonic() + _LEFT_BEHIND
        while left and time.monotonic() < end:
            received = signals.take(self.taken, timeout=_LOOK)
            if received is not None and not received.terminal and received.number != signal.SIGCHLD:
                number = received.number
                left = [each for each in left if _send(each, number)]
            left = [each for each in left if _is_alive(each)]


def _send(process: psutil.Process, number: int) -> bool:
    """Whether the process was there, still the same, to get the signal."""
    import psutil

    try:
        process.send_signal(number)
    except psutil.Error:
        return False
    return True


def _is_alive(process: psutil.Process) -> bool:
    import psutil

    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def _stop_like(number: int) -> None:
    """Stop as by this signal's default action; returns when somebody continues us."""
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])


def _nothing(*_: object) -> None:
    """A signal that is only waited for."""
