"""One process's records, fed as bytes in any portions, become stalls and figures.

The writer may be killed, or run out of disk, between any two bytes. So nothing that is read raises: what makes no
sense is left out and counted in `Damage`.
"""

from __future__ import annotations

import time
from dataclasses import replace

from loopwatch.model import Damage, Loop, Process, Stall, State
from loopwatch.recording.activity import activity
from loopwatch.recording.aftermath import Aftermath, culprit
from loopwatch.recording.draft import Draft, seal
from loopwatch.recording.fields import Record, count, integer, parse_line, text, texts
from loopwatch.recording.kinds import Kinds
from loopwatch.recording.loops import Loops
from loopwatch.recording.tables import Tables

SCHEMA = "loopwatch-recording/1"
_FAMILY = "loopwatch-recording/"

_LONGEST_LINE = 16 << 20  # bytes; a record is far shorter, and what is longer shall not fill the memory
_OPEN_AGAIN = 20.0  # seconds; a stall that lasts is written again at least every ten
_SUMMED_UP = 1.5  # seconds after which a loop that has done anything is summed up
_CROWD = 64  # loops of which some may be over
_MOST_PENDING = 64  # `open` records without an end, per process, before the oldest is given out as it is


class Decoder:
    """Feed it the bytes of one process's file, part after part, or the records of a queue in memory.

    `pid` and `started` (Unix seconds) are what the file's name says; the header overrules the one and stands in
    for the other. Whoever reads the files says in `parts_missing` and `unreadable` what could not be read.

    A stall is handed out when it is known whose it was and who had to wait for it, which is recorded after it; see
    `Aftermath`, also for `prompt`. At the end of the data, `flush` hands out those that are held still. `app` names
    installed packages that are own code, beside those of the header.
    """

    def __init__(self, *, pid: int = 0, started: float = 0.0, prompt: bool = True, app: tuple[str, ...] = ()) -> None:
        self._process = Process(pid=pid, started=started, damage=Damage(headless=True))
        self._tables = Tables()
        self._loops = Loops()
        self._aftermath = Aftermath(prompt=prompt)
        self._pending: dict[tuple[int, int], Stall] = {}  # by loop and iteration, from their newest `open` record
        self._newest: dict[int, int] = {}  # the newest iteration of each loop
        self._crowd = _CROWD
        self._offset: int | None = None  # from the process's clock to Unix time, ns
        self._seen = 0  # the newest time of any record; ns of the process's clock
        self._app = app
        self._tail = b""
        self._skipping = False
        self._garbage = 0
        self.records = 0
        """How many lines were records of a type that is known here: none in a file that is no recording."""
        self.parts_missing = 0
        self.unreadable = ""

    def feed(self, data: bytes) -> list[Stall]:
        """Take some more bytes; returns the stalls of which all is known with them. Lines may be cut anywhere between
        calls."""
        *lines, self._tail = (self._tail + data).split(b"\n") if self._tail else data.split(b"\n")
        stalls: list[Stall] = []
        for line in lines:
            if self._skipping:  # the rest of a line that was too long
                self._skipping = False
            elif (record := parse_line(line)) is not None:
                stalls += self._record(record)
            elif line.strip():
                self._garbage += 1
        if len(self._tail) > _LONGEST_LINE:
            self._garbage += not self._skipping
            self._skipping, self._tail = True, b""
        return stalls

    def end_part(self) -> list[Stall]:
        """The part ends here. A last line without its line break counts if it is whole; half a line is normal."""
        line, self._tail = self._tail, b""
        skipping, self._skipping = self._skipping, False
        record = None if skipping else parse_line(line)
        return self._record(record) if record else []

    def recount(self, head: bytes) -> None:
        """The beginning of the newest part once more: its second line is written over when records are lost."""
        lines = head.split(b"\n", 2)
        record = parse_line(lines[1]) if len(lines) == 3 else None
        if record is not None and record.get("t") == "dropped":
            self._dropped(count(record, "records"))

    @property
    def due(self) -> float:
        """When `overdue` has something to hand out, by `time.monotonic`; infinity if all has been."""
        return self._aftermath.due()

    def overdue(self) -> list[Stall]:
        """Hand out the stalls that have been held for long enough by the clock, whether or not records have come."""
        return self._aftermath.release(self._unix(self._seen), time.monotonic())

    def held_stalls(self) -> list[Stall]:
        """The stalls that have ended and were not handed out yet, with what is known of them by now."""
        return self._aftermath.held()

    def flush(self) -> list[Stall]:
        """Hand out the stalls that have ended, with what is known of them: nothing more is awaited."""
        return self._aftermath.flush()

    def open_stalls(self) -> list[Stall]:
        """The stalls whose end is not recorded, oldest first: `running` the newest of each loop, as long as the
        process lives, `cut` those that later records show to have ended."""
        return [self._settled(key) for key in self._pending]

    @property
    def header(self) -> Process:
        """What the header says: the process without its loops."""
        return self._process

    @property
    def process(self) -> Process:
        """The process and its loops, as far as they are known by now."""
        damage = replace(
            self._process.damage,
            garbage=self._garbage,
            unresolved=self._tables.unresolved,
            parts_missing=self.parts_missing,
            unreadable=self.unreadable,
        )
        started = self._process.started
        return replace(
            self._process,
            seen=max(self._unix(self._seen), started) if self._seen else started,
            loops=self.loops(),
            damage=damage,
        )

    def loops(self, now: float | None = None) -> tuple[Loop, ...]:
        """The loops of the process, up to its newest record or, if it lives `now`, up to then: one that has not been
        heard of for a while is idle."""
        offset = self._offset or 0
        until = self._seen if now is None else int((now - _SUMMED_UP) * 1e9) - offset
        running = self.open_stalls()
        return tuple(
            self._loops.so_far(number, running, until, offset, lives=now is not None) for number in self._loops
        )

    @property
    def crowded(self) -> bool:
        """Whether there are so many loops that it is time for `forget_loops`."""
        return len(self._loops) > self._crowd

    def forget_loops(self, summaries: bytes) -> tuple[Loop, ...]:
        """Forget the loops that are over, so that a process may have any number of them; returns them, with their
        figures.

        `summaries` are records of all that may go on. Older ones are over, once all is fed that was recorded before;
        but one whose stall is still held, or open, stays until the next time.
        """
        records = filter(None, map(parse_line, summaries.splitlines()))
        kept = {integer(record, "loop") or 0 for record in records}
        newest = max(kept, default=0)
        kept |= {loop for loop, _ in self._pending} | {stall.loop for stall in self._aftermath.held()}
        over = [number for number in self._loops if number < newest and number not in kept]
        until, offset = self._seen, self._offset or 0
        loops = tuple(self._loops.so_far(number, (), until, offset, lives=False) for number in over)
        for number in over:
            self._loops.forget(number)
            self._aftermath.forget(number)
            self._newest.pop(number, None)
        self._crowd = max(_CROWD, 2 * len(self._loops))
        return loops

    # One record

    def _record(self, record: Record) -> list[Stall]:
        self.records += 1
        match record.get("t"):
            case "stall":
                self._stall(record)
            case "request":
                self._aftermath.name_request(record)
            case "delayed":
                self._delayed(record)
            case "open":
                self._open(record)
            case "stack":
                self._tables.add_stack(record)
                return []  # by far the most records: these tell of no time and complete no stall
            case "frame":
                self._tables.add_frame(record)
                return []
            case "code":
                self._tables.add_code(record)
                return []
            case "thread":
                self._tables.add_thread(record)
                return []
            case "phase":
                self._saw(record, "at")
                if at := count(record, "at"):
                    self._aftermath.begin_phase(record, self._unix(at))
            case "summary":
                self._summary(record)
            case "loop":
                self._saw(record, "at")
                self._loops.add_loop(record)
            case "header":
                self._header(record)
            case "gone":
                self._saw(record, "at")
            case "reset":
                self._tables.clear()
            case "dropped":
                self._dropped(count(record, "records"))
                self._saw(record, "at")
            case "end":
                self._dropped(count(record, "dropped"))
                self._saw(record, "at")
                self._process = replace(self._process, ended=True)
            case _:
                self.records -= 1
        return self._aftermath.release(self._unix(self._seen)) if self._seen else []

    def _header(self, record: Record) -> None:
        schema = text(record, "schema")
        if not schema.startswith(_FAMILY):
            self.records -= 1
            return
        self._tables.clear()  # a part can be read by itself: it defines all that it refers to
        cwd, platform = text(record, "cwd"), text(record, "platform")
        self._tables.kinds = Kinds(record.get("paths"), cwd, platform, (*texts(record, "app"), *self._app))
        monotonic, unix = integer(record, "monotonic_ns"), integer(record, "unix_ns")
        known = self._process
        if monotonic is not None and unix is not None:
            self._offset = unix - monotonic
            self._seen = max(self._seen, monotonic)
        self._process = replace(
            known,
            pid=count(record, "pid") or known.pid,
            parent_pid=count(record, "parent_pid"),
            python=text(record, "python"),
            executable=text(record, "executable"),
            command=texts(record, "command"),
            cwd=cwd,
            platform=platform,
            version=text(record, "loopwatch"),
            started=known.started or (unix or 0) / 1e9,
            threshold=count(record, "threshold_ns") / 1e9,
            interval=count(record, "interval_ns") / 1e9,
            stacks=record.get("stacks") is not False,
            notes=tuple(dict.fromkeys(known.notes + texts(record, "notes"))),
            damage=replace(known.damage, headless=False, newer="" if schema == SCHEMA else schema),
        )

    def _summary(self, record: Record) -> None:
        self._saw(record, "at")
        loop = self._loops.add_summary(record)
        if loop is not None and loop.requests:
            self._aftermath.expect_requests(loop.id)

    def _open(self, record: Record) -> None:
        stall = self._decode(record, "at", "running")
        if stall is None:
            return
        self._pending[stall.loop, stall.iteration] = stall
        if len(self._pending) > _MOST_PENDING:
            oldest = min(self._pending, key=lambda each: self._pending[each].start)
            self._aftermath.hold(replace(self._pending.pop(oldest), state="cut"))

    def _stall(self, record: Record) -> None:
        stall = self._decode(record, "end", "ended")
        if stall is not None:
            self._pending.pop((stall.loop, stall.iteration), None)
            self._loops.add_stall(stall.loop, count(record, "start"), count(record, "end"))
            self._aftermath.hold(stall)

    def _delayed(self, record: Record) -> None:
        strange = self._aftermath.count_delayed(record)
        if strange is not None and strange[0] in self._pending:  # the record of its end was lost
            key, delayed = strange
            self._pending[key] = replace(self._pending[key], requests_delayed=delayed)

    # Helpers

    def _decode(self, record: Record, end_key: str, state: State) -> Stall | None:
        loop, start, end = integer(record, "loop"), integer(record, "start"), integer(record, end_key)
        if loop is None or start is None or end is None or end < start:
            self._garbage += 1
            return None
        if end > self._seen:
            self._seen = end
        self._loops.add_requests(loop, record.get("requests"))
        iteration, samples = count(record, "iteration"), count(record, "samples")
        if iteration > self._newest.get(loop, 0):
            self._newest[loop] = iteration
        return seal(
            Draft(
                start=self._unix(start),
                duration=(end - start) / 1e9,
                callbacks=count(record, "callbacks"),
                samples=samples,
                stacks=self._tables.stacks(record),
                torn=count(record, "torn"),
                outer=count(record, "outer"),
                omitted=count(record, "omitted"),
                allowed=record.get("allowed") is True,
                state=state,
                pid=self._process.pid,
                thread=self._loops.see(loop, start).thread,
                loop=loop,
                iteration=iteration,
                request=culprit(record, samples),
                activity=activity(record, end - start, self._tables),
            )
        )

    def _settled(self, key: tuple[int, int]) -> Stall:
        loop, iteration = key
        stall = self._aftermath.told(self._pending[key])
        over = self._process.ended or iteration < self._newest.get(loop, 0)
        # Records that a full disk has swallowed may be those of its end.
        over = over or self._unix(self._seen) - stall.end > _OPEN_AGAIN
        return replace(stall, state="cut") if over else stall

    def _saw(self, record: Record, key: str) -> None:
        self._seen = max(self._seen, count(record, key))

    def _dropped(self, records: int) -> None:
        damage = self._process.damage
        if records > damage.dropped:
            self._process = replace(self._process, damage=replace(damage, dropped=records))

    def _unix(self, nanoseconds: int) -> float:
        if self._offset is None:  # no header: the first time that is seen stands for the start
            self._offset = int(self._process.started * 1e9) - nanoseconds
        return (nanoseconds + self._offset) / 1e9
