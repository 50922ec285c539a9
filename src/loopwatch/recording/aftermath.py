"""What becomes known of a stall only after it: its culprit's endpoint, how many had to wait, the loop's phase.

So a stall that has ended is held for a while, and handed out when all of that is known or is no longer to be expected.
They are handed out in the order in which they have come.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections import OrderedDict, deque
from dataclasses import dataclass, replace
from typing import Final

from loopwatch.model import Phase, Stall
from loopwatch.recording.fields import LIMIT, Record, count, integer, text

_PROMPT: Final = 1.0  # seconds of the recording's time that a stall is held …
_PATIENT: Final = 60.0  # … and when there is no hurry: some requests are named only when they end
_MOST_HELD = 2048  # stalls, before the oldest is handed out as it is
_MOST_NAMED = 16384  # requests whose endpoint is remembered: more than can be in flight
_MOST_PHASES = 32  # changes of one loop's phase that are remembered
_put = object.__setattr__
_PHASES: Final[dict[str, Phase]] = {"startup": "startup", "serving": "serving", "shutdown": "shutdown"}


def culprit(record: Record, samples: int) -> int:
    """The request that most samples of an `open` or `stall` record were taken in, the first begun among equals.

    0 if more of its `samples` were taken outside of any request: whoever ran a moment beside that is not to blame.
    """
    pairs, found = record.get("requests"), dict[int, int]()
    if type(pairs) is not list:
        return 0
    for pair in pairs:
        if type(pair) is not list or len(pair) < 2 or type(pair[0]) is not int or type(pair[1]) is not int:
            continue
        request, its = pair[0], pair[1]
        if 0 < request < LIMIT and 0 < its < LIMIT:
            if len(pairs) == 1:  # by far the most
                return request if 2 * its >= samples else 0
            found[request] = found.get(request, 0) + its
    if 2 * sum(found.values()) < samples:
        return 0
    if len(found) < 2:
        return next(iter(found), 0)
    return min(found, key=lambda request: (-found[request], request))


@dataclass(slots=True)
class _Held:
    stall: Stall
    end: float
    came: float  # by `time.monotonic`, where there is a hurry
    delayed: int | None = None  # None: it is not recorded yet


class Aftermath:
    """Holds the stalls of one process. Points in time are Unix seconds.

    `prompt` is for whoever tells of stalls while they happen: one of a loop that serves no requests is not held at
    all, and no other longer than a second.
    """

    def __init__(self, *, prompt: bool) -> None:
        self._prompt = prompt
        self._patience = _PROMPT if prompt else _PATIENT
        self._queue: deque[_Held] = deque()
        self._by_iteration: dict[tuple[int, int], _Held] = {}
        self._endpoints: OrderedDict[int, str] = OrderedDict()  # by request; last the one named or needed last
        self._names: dict[str, str] = {}  # each name once, however many requests have it
        self._phases: dict[int, list[tuple[float, Phase]]] = {}  # by loop: when each phase began
        self._counted: dict[int, int] = {}  # by loop: the newest iteration whose delayed requests are counted
        self._serving: set[int] = set()  # loops that serve requests, as far as is known

    # What the records say

    def name_request(self, record: Record) -> None:
        """A `request` record."""
        request, endpoint = count(record, "request"), text(record, "endpoint")
        if request:
            self._remember(request, endpoint or self._endpoints.get(request, ""))

    def count_delayed(self, record: Record) -> tuple[tuple[int, int], int] | None:
        """A `delayed` record; returns loop and iteration with the count if its stall is not held here."""
        loop, delayed = integer(record, "loop"), integer(record, "requests")
        if loop is None or delayed is None or delayed < 0:
            return None
        self._serving.add(loop)
        key = loop, count(record, "iteration")
        self._counted[loop] = max(self._counted.get(loop, 0), key[1])
        held = self._by_iteration.get(key)
        if held is None:
            return key, delayed
        held.delayed = delayed
        return None

    def begin_phase(self, record: Record, at: float) -> None:
        """A `phase` record. Each part of a recording may repeat it."""
        loop, phase = integer(record, "loop"), _PHASES.get(text(record, "phase"))
        if loop is None or phase is None:
            return
        self._serving.add(loop)
        marks = self._phases.setdefault(loop, [])
        insort(marks, (at, phase))
        marks[:] = [mark for i, mark in enumerate(marks) if i == 0 or mark[1] != marks[i - 1][1]][-_MOST_PHASES:]

    def expect_requests(self, loop: int) -> None:
        """This loop serves requests: `delayed` records are to come."""
        self._serving.add(loop)

    def forget(self, loop: int) -> None:
        """Nothing more is to come of this loop, and none of its stalls is held."""
        self._phases.pop(loop, None)
        self._counted.pop(loop, None)
        self._serving.discard(loop)

    # The stalls

    def hold(self, stall: Stall) -> None:
        """Take a stall that has ended."""
        if stall.request:
            self._serving.add(stall.loop)
            if stall.request in self._endpoints:
                self._endpoints.move_to_end(stall.request)
        held = _Held(stall, stall.end, time.monotonic() if self._prompt else 0.0)
        self._queue.append(held)
        self._by_iteration[stall.loop, stall.iteration] = held

    def release(self, now: float, clock: float = -math.inf) -> list[Stall]:
        """The stalls that need not be held any longer. `now` is the recording's time, in which nothing passes while
        nothing happens; `clock` that of `time.monotonic`, for who cannot wait for it."""
        done: list[Stall] = []
        queue = self._queue
        while queue:
            first = queue[0]
            held = max(now - first.end, clock - first.came)
            if held < self._patience and len(queue) <= _MOST_HELD and not self._complete(first):
                break
            done.append(self._pop())
        return done

    def due(self) -> float:
        """When the next one is released at the latest, by `time.monotonic`; infinity if none is held."""
        return self._queue[0].came + self._patience if self._queue else math.inf

    def held(self) -> list[Stall]:
        """The stalls that are held, with what is known of them by now. They stay held."""
        return [self.told(held.stall, held.delayed) for held in self._queue]

    def flush(self) -> list[Stall]:
        """All stalls that are held: nothing more is to come."""
        return [self._pop() for _ in range(len(self._queue))]

    def told(self, stall: Stall, delayed: int | None = None) -> Stall:
        """The stall with what is known of it by now."""
        endpoint = self._endpoints.get(stall.request, "") if stall.request else ""
        phase = self._phase(stall)
        delayed = stall.requests_delayed if delayed is None else delayed
        if (endpoint, phase, delayed) == (stall.endpoint, stall.phase, stall.requests_delayed):
            return stall
        return replace(stall, endpoint=endpoint, phase=phase, requests_delayed=delayed)

    def _complete(self, held: _Held) -> bool:
        stall = held.stall
        if self._prompt and stall.loop not in self._serving:
            return True
        # They are counted in the order of the stalls: those left out will not come.
        if held.delayed is None and self._counted.get(stall.loop, 0) <= stall.iteration:
            return False
        if stall.request and stall.request not in self._endpoints:
            return False
        return self._prompt or stall.loop in self._phases

    def _pop(self) -> Stall:
        held = self._queue.popleft()
        key = held.stall.loop, held.stall.iteration
        if self._by_iteration.get(key) is held:
            del self._by_iteration[key]
        return self._complete_in_place(held)

    def _complete_in_place(self, held: _Held) -> Stall:
        """The held stall with what is known of it by now. Nobody else has it yet, so it is not copied: that would
        take as long as all else that is done with it."""
        stall = held.stall
        if stall.request and (endpoint := self._endpoints.get(stall.request)):
            _put(stall, "endpoint", endpoint)
        if held.delayed:
            _put(stall, "requests_delayed", held.delayed)
        if stall.loop in self._phases:
            _put(stall, "phase", self._phase(stall))
        return stall

    def _phase(self, stall: Stall) -> Phase:
        """The phase that has most of the stall: one may end with a stall and begin within another.

        What was before the first that is recorded is start-up too: servers import the app inside the loop. Unless that
        first one is the shutdown: then the part of the recording that told of the others is gone.
        """
        marks = self._phases.get(stall.loop)
        if not marks:
            return "other"
        if marks[-1][0] <= stall.start:  # by far the most: all of it is in the newest one
            return marks[-1][1]
        phase: Phase = "serving" if marks[0][1] == "shutdown" else "startup"
        since, found, most = -math.inf, phase, -math.inf
        for at, following in (*marks, (math.inf, phase)):
            share = min(at, stall.end) - max(since, stall.start)
            if share > most:
                found, most = phase, share
            since, phase = at, following
        return found

    def _remember(self, request: int, endpoint: str) -> None:
        endpoint = self._names.setdefault(endpoint, endpoint) if len(self._names) < _MOST_NAMED else endpoint
        self._endpoints[request] = endpoint
        self._endpoints.move_to_end(request)
        if len(self._endpoints) > _MOST_NAMED:
            self._endpoints.popitem(last=False)
