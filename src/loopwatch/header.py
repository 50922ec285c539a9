"""What a recording says about the process that it is of."""

from __future__ import annotations

import json
import os
import site
import sys
from collections.abc import Sequence

from loopwatch import __version__, _core
from loopwatch.cwd import working_directory


def header_members(threshold: float, interval: float, problems: dict[str, str], app: Sequence[str] = ()) -> bytes:
    """JSON members, without braces, for the header record (docs/recording.md). Durations in seconds.

    `problems`: check name -> what is wrong, as the self-test says. `app`: installed packages that are own code.
    """
    members = {
        "loopwatch": __version__,
        "python": "{}.{}.{}".format(*sys.version_info[:3]),
        "executable": sys.executable,
        "command": _command(),
        "cwd": working_directory(""),
        "platform": sys.platform,
        "threshold_ns": round(threshold * 1e9),
        "interval_ns": round(interval * 1e9),
        "paths": code_paths(),
        "app": list(app),
        "stacks": "stacks" not in problems,
        "cpu_quota": _core.cpu_quota(),
        "notes": [f"{name}: {reason}" for name, reason in problems.items()],
    }
    return json.dumps(members)[1:-1].encode()


def code_paths() -> dict[str, list[str]]:
    """The folders that tell the user's own code from libraries, by whose they are."""
    return {"stdlib": _stdlib(), "site": _site(), "loopwatch": [os.path.dirname(os.path.abspath(__file__))]}


def _command() -> list[str]:
    """The command as it was typed: a script that stands beside the interpreter by its name alone."""
    interpreter, *arguments = sys.orig_argv or [sys.executable]
    if arguments and os.path.dirname(arguments[0]) == os.path.dirname(sys.executable):
        return [os.path.basename(arguments[0]), *arguments[1:]]
    return [os.path.basename(interpreter), *arguments]


def _stdlib() -> list[str]:
    return [os.path.dirname(os.path.abspath(os.__file__))]


def _site() -> list[str]:
    folders = [*site.getsitepackages(), *([site.USER_SITE] if site.USER_SITE else [])]
    folders += [entry for entry in sys.path if os.path.basename(entry) in ("site-packages", "dist-packages")]
    return list(dict.fromkeys(folders))
