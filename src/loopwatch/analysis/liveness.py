"""Whether a watched process is still there. Not used in the watched process itself: it needs psutil."""

from __future__ import annotations

import os

import psutil

from loopwatch.model import Process

_CLOCK_SLACK = 2.0  # seconds by which two ways to tell a process's start may differ


def is_running(process: Process) -> bool:
    """Whether the process that wrote this is alive: its pid is, since before watching began, and under that pid
    runs the same program (an `execv` keeps pid and start). False when watching has ended in order."""
    if process.ended or process.pid <= 0:
        return False
    try:
        found = psutil.Process(process.pid)
        with found.oneshot():
            if found.status() == psutil.STATUS_ZOMBIE:
                return False
            if process.started and found.create_time() > process.started + _CLOCK_SLACK:
                return False
            return _same_program(process, found)
    except (psutil.Error, OSError, OverflowError, ValueError):
        return False


def _same_program(process: Process, found: psutil.Process) -> bool:
    """One sign is enough: an embedded interpreter has another executable, a renamed process another command. The
    recorded command names its program without the interpreter that runs it."""
    if not process.executable:
        return True
    try:
        executable, command = found.exe(), tuple(found.cmdline())
    except psutil.AccessDenied:
        return True
    arguments = process.command[1:]
    if arguments and command[-len(arguments) :] == arguments:
        return True
    return os.path.realpath(executable) == os.path.realpath(process.executable)
