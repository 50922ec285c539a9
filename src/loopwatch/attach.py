"""Watching begun and ended from outside: what `loopwatch attach` asks for in the process itself (`injected.py`).

Called on the thread of the loop that is to be watched, or on one of its own where no loop runs on the main thread. The
answers are for that command: what is wrong under `problem`, or how it went.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from loopwatch import _core, servers
from loopwatch.config import SWITCH, switched_off
from loopwatch.settings import Settings
from loopwatch.wants import Want, remove, state
from loopwatch.watch import start_recording

Answer = dict[str, Any]

_attached: Want | None = None


def begin(order: Mapping[str, Any]) -> Answer:
    """Watch the loop that runs on this thread and those that start later; record in `order["folder"]`.

    `order["settings"]` are variables as in an environment.
    """
    global _attached
    if switched_off():
        return {"problem": "off", "value": os.environ[SWITCH]}
    folder = order["folder"]
    if not os.access(folder, os.W_OK | os.X_OK):
        return {"problem": "folder"}
    settings = Settings().with_environment(order["settings"])
    with state.lock:
        recording = _recording()
        if recording is not None:
            return {"problem": "watched", "folder": recording, "attached": _is_attached()}
        _attached = start_recording(settings, folder)
    if settings.requests > 0:
        servers.join_running()
    return {"folder": folder, "loop": _core.watched()}


def end(_: Mapping[str, Any]) -> Answer:
    """End what `begin` has begun. All up to now is in the recording."""
    global _attached
    with state.lock:
        want, was_attached = _attached, _is_attached()
        _attached = None
        if want is None or not was_attached:
            recording = _recording()
            return {"problem": "unattached", "folder": recording}
        remove(want)
    return {"folder": want.record}


def _recording() -> str | None:
    """Where this process is recorded, by whomever."""
    return next((want.record for want in state.wants if want.record), None)


def _is_attached() -> bool:
    return _attached is not None and _attached in state.wants
