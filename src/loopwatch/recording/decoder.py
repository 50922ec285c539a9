"""One process's records, fed as bytes in any portions, become stalls and figures.

The writer may be killed, or run out of disk, between any two bytes. So nothing that is read raises: what makes no
sense is left out and counted in `Damage`.
"""

from __future__ import annotations

from dataclasses import replace

from loopwatch.model import Damage, Loop, Process, Stall, State
from loopwatch.recording.fields import Record, count, counts, integer, parse_line, text, texts
from loopwatch.recording.kinds import Kinds
from loopwatch.recording.tables import Tables

SCHEMA = "loopwatch-recording/1"
_FAMILY = "loopwatch-recording/"

_LONGEST_LINE = 16 << 20  # bytes; a record is far shorter, and what is longer shall not fill the memory
_OPEN_AGAIN = 20.0  # seconds; a stall that lasts is written again at least every ten
_MOST_PENDING = 64  # `open` records without an end, per process, before the oldest is given out as it is


class Decoder:
    """Feed it the bytes of one process's file, part after part, or the records of a queue in memory.

    `pid` and `started` (Unix seconds) are what the file's name says; the header overrules the one and stands in
    for the other. Whoever reads the files says in `parts_missing` and `unreadable` what could not be read.
    """

    def __init__(self, *, pid: int = 0, started: float = 0.0) -> None:
        self._process = Process(pid=pid, started=started, damage=Damage(headless=True))
        self._tables = Tables()
        self._loops: dict[int, Loop] = {}
        self._pending: dict[tuple[int, int], Stall] = {}  # by loop and iteration, from their newest `open` record
        self._newest: dict[int, int] = {}  # the newest iteration of each loop
        self._since: dict[int, int] = {}  # when each loop was first seen; ns of the process's clock
        self._summed: dict[int, int] = {}  # when its newest summary was written; likewise
        self._offset: int | None = None  # from the process's clock to Unix time, ns
        self._seen = 0  # the newest time of any record; ns of the process's clock
        self._tail = b""
        self._skipping = False
        self._garbage = 0
        self.records = 0
        """How many lines were records of a type that is known here: none in a file that is no recording."""
        self.parts_missing = 0
        self.unreadable = ""

    def feed(self, data: bytes) -> list[Stall]:
        """Take some more bytes; returns the stalls that they complete. Lines may be cut anywhere between calls."""
        *lines, self._tail = (self._tail + data).split(b"\n") if self._tail else data.split(b"\n")
        stalls: list[Stall] = []
        for line in lines:
            if self._skipping:  # the rest of a line that was too long
                self._skipping = False
            elif line and not line.isspace():
                stalls += self._line(line)
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
            loops=tuple(self._loop_so_far(number) for number in self._loops),
            damage=damage,
        )

    # One record

    def _line(self, line: bytes) -> list[Stall]:
        record = parse_line(line)
        if record is None:
            self._garbage += 1
            return []
        return self._record(record)

    def _record(self, record: Record) -> list[Stall]:
        self.records += 1
        match record.get("t"):
            case "stall":
                return self._stall(record)
            case "open":
                return self._open(record)
            case "stack":
                self._tables.add_stack(record)
            case "frame":
                self._tables.add_frame(record)
            case "code":
                self._tables.add_code(record)
            case "summary":
                self._summary(record)
            case "loop":
                self._loop(record)
            case "header":
                self._header(record)
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
        return []

    def _header(self, record: Record) -> None:
        schema = text(record, "schema")
        if not schema.startswith(_FAMILY):
            self.records -= 1
            return
        self._tables.clear()  # a part can be read by itself: it defines all that it refers to
        cwd, platform = text(record, "cwd"), text(record, "platform")
        self._tables.kinds = Kinds(record.get("paths"), cwd, platform)
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

    def _loop(self, record: Record) -> None:
        number = integer(record, "loop")
        if number is None:
            return
        self._saw(record, "at")
        self._since.setdefault(number, count(record, "at"))
        self._loops[number] = replace(
            self._known_loop(number),
            kind=text(record, "kind", "other"),
            poll=text(record, "poll"),
            thread=text(record, "thread"),
        )

    def _summary(self, record: Record) -> None:
        number = integer(record, "loop")
        if number is None:
            return
        self._saw(record, "at")
        self._summed[number] = count(record, "at")
        self._loops[number] = replace(
            self._known_loop(number),
            running=record.get("running") is True,
            seconds=count(record, "watched_ns") / 1e9,
            busy=count(record, "busy_ns") / 1e9,
            iterations=count(record, "iterations"),
            stalls=count(record, "stalls"),
            stalled=count(record, "stalled_ns") / 1e9,
            worst=count(record, "longest_ns") / 1e9,
            samples=count(record, "samples"),
            torn=count(record, "torn"),
            unsampled=count(record, "unsampled"),
            lost=count(record, "lost"),
            histogram=counts(record, "histogram"),
        )

    def _open(self, record: Record) -> list[Stall]:
        stall = self._decode(record, "at", "running")
        if stall is None:
            return []
        key = stall.loop, stall.iteration
        self._pending[key] = stall
        if len(self._pending) <= _MOST_PENDING:
            return []
        oldest = min(self._pending, key=lambda each: self._pending[each].start)
        given = replace(self._pending.pop(oldest), state="cut")
        return [given]

    def _stall(self, record: Record) -> list[Stall]:
        stall = self._decode(record, "end", "ended")
        if stall is None:
            return []
        self._pending.pop((stall.loop, stall.iteration), None)
        return [stall]

    # Helpers

    def _decode(self, record: Record, end_key: str, state: State) -> Stall | None:
        loop, start, end = integer(record, "loop"), integer(record, "start"), integer(record, end_key)
        if loop is None or start is None or end is None or end < start:
            self._garbage += 1
            return None
        self._saw(record, end_key)
        if loop not in self._loops:
            self._loops[loop] = self._known_loop(loop)
            self._since.setdefault(loop, start)
        iteration = count(record, "iteration")
        self._newest[loop] = max(self._newest.get(loop, 0), iteration)
        return Stall(
            start=self._unix(start),
            duration=(end - start) / 1e9,
            callbacks=count(record, "callbacks"),
            samples=count(record, "samples"),
            stacks=self._tables.stacks(record),
            torn=count(record, "torn"),
            omitted=count(record, "omitted"),
            allowed=record.get("allowed") is True,
            state=state,
            pid=self._process.pid,
            thread=self._loops[loop].thread,
            loop=loop,
            iteration=iteration,
        )

    def _settled(self, key: tuple[int, int]) -> Stall:
        loop, iteration = key
        stall = self._pending[key]
        over = self._process.ended or iteration < self._newest.get(loop, 0)
        # Records that a full disk has swallowed may be those of its end.
        over = over or self._unix(self._seen) - stall.end > _OPEN_AGAIN
        return replace(stall, state="cut") if over else stall

    def _known_loop(self, number: int) -> Loop:
        return self._loops.get(number) or Loop(number)

    def _loop_so_far(self, number: int) -> Loop:
        """A loop's newest summary, and after it what running stalls tell: a stuck loop writes no summary."""
        loop = self._loops[number]
        summed = self._summed.get(number)
        if summed is None:  # killed within its first second: all that is known is from when to when
            return replace(loop, seconds=max(0, self._seen - self._since.get(number, self._seen)) / 1e9)
        open_stalls = [stall for (n, _), stall in self._pending.items() if n == number]
        if not open_stalls:
            return loop
        newest = max(open_stalls, key=lambda stall: stall.end)
        at = self._unix(summed)  # a summary counts the iteration that lasts, up to that moment
        seconds = loop.seconds + max(0.0, newest.end - at)
        return replace(loop, seconds=seconds, busy=loop.busy + max(0.0, newest.end - max(at, newest.start)))

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
