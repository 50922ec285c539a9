"""The page's data, made anew while somebody looks at it."""

from __future__ import annotations

import threading
import time

from loopwatch.analysis.follow import Follower
from loopwatch.errors import LoopwatchError
from loopwatch.report.page import page_data
from loopwatch.report.protocol import Options

_INTERVAL = 1.0  # seconds between two looks at the recording
_SHARE = 0.25  # of one core, at most, goes into looking


class Updates:
    """Reads the recording on a thread of its own: the server's loop is not to be blocked by a large one."""

    def __init__(self, follower: Follower, options: Options) -> None:
        self._follower = follower
        self._options = options
        self._watchers = 0
        self._stopped = threading.Event()
        self._wanted = threading.Event()
        self._lock = threading.Lock()
        self._data = "null"
        self._problem = ""
        self._version = 0
        self._thread = threading.Thread(target=self._work, name="loopwatch-updates", daemon=True)

    def start(self) -> None:
        """Begin. Nothing is read until somebody watches."""
        self._thread.start()

    def stop(self) -> None:
        """End. Who watches is told that there is no more."""
        self._stopped.set()
        self._wanted.set()

    @property
    def stopped(self) -> bool:
        """Whether it has ended."""
        return self._stopped.is_set()

    def watch(self) -> None:
        """Somebody looks; `leave` when they do not any more."""
        with self._lock:
            self._watchers += 1
        self._wanted.set()

    def leave(self) -> None:
        """Somebody has gone."""
        with self._lock:
            self._watchers -= 1
            if not self._watchers:
                self._wanted.clear()

    @property
    def newest(self) -> tuple[int, str, str]:
        """A number that grows with each change, the data as JSON, and why there are none, if so."""
        with self._lock:
            return self._version, self._data, self._problem

    def _work(self) -> None:
        while not self.stopped:
            self._wanted.wait()
            begin = time.monotonic()
            self._look()
            took = time.monotonic() - begin
            self._stopped.wait(max(_INTERVAL, took / _SHARE))

    def _look(self) -> None:
        data, problem = "null", ""
        try:
            self._follower.update()
            data = page_data(self._follower.run(), self._options)
        except LoopwatchError as error:
            problem = error.message
        except Exception as error:  # whatever it is, this thread goes on, and who looks is told
            problem = str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        with self._lock:
            if (data, problem) != (self._data, self._problem) or not self._version:
                self._data, self._problem = data, problem
                self._version += 1
