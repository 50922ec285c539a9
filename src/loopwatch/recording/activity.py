"""What the loop's thread was doing in a stall: the members of its cause in an `open` or `stall` record."""

from __future__ import annotations

from typing import Final

from loopwatch.model import CAUSES, Activity, Cause, Holder
from loopwatch.recording.fields import LIMIT, Record, count, integer
from loopwatch.recording.tables import Tables

_UNKNOWN: Final = Activity()
_ORDER: Final = {cause: at for at, cause in enumerate(CAUSES)}


def activity(record: Record, length: int, tables: Tables) -> Activity:
    """What a record of a stall of `length` ns says of its cause; nothing if it is of a version that did not say."""
    if "causes" not in record and "cpu" not in record and "longest" not in record:
        return _UNKNOWN
    times = _times(record)
    sampled = sum(times.values())
    # Its times are those of the whole stall. If they are not, they shall be: shares are what they tell.
    scale = length / sampled / 1e9 if sampled else 0.0
    wall = count(record, "cpu_wall")
    longest = integer(record, "longest")
    return Activity(
        causes=tuple([(cause, time * scale) for cause, time in sorted(times.items(), key=_most_first)]),
        gil_held=min(count(record, "gil_held"), times.get("native", 0)) * scale,
        cpu=min(1.0, count(record, "cpu") / wall) * length / 1e9 if wall and "cpu" in record else None,
        run_delay=_seconds(record, "run_delay"),
        throttled=_seconds(record, "throttled"),
        longest=None if longest is None else max(0, min(longest, length)) / 1e9,
        holders=_holders(record, tables) if "gil" in times else (),
    )


def _times(record: Record) -> dict[Cause, int]:
    causes = record.get("causes")
    if not isinstance(causes, dict):
        return {}
    return {
        cause: time
        for cause in _ORDER.keys() & causes.keys()
        if type(time := causes[cause]) is int and 0 < time < LIMIT
    }


def _most_first(item: tuple[Cause, int]) -> tuple[int, int]:
    return -item[1], _ORDER[item[0]]


def _seconds(record: Record, key: str) -> float | None:
    value = integer(record, key)
    return None if value is None or value < 0 else value / 1e9


def _holders(record: Record, tables: Tables) -> tuple[Holder, ...]:
    entries, found = record.get("holders"), list[Holder]()
    for entry in entries if isinstance(entries, list) else ():
        if type(entry) is not list or len(entry) < 3 or type(entry[2]) is not int or not 0 < entry[2] < LIMIT:
            continue
        number, tid, samples = entry[:3]
        stack = tables.stack(number) if type(number) is int else None
        found.append(Holder(tables.thread(tid) if type(tid) is int else "", stack, samples))
    return tuple(sorted(found, key=lambda holder: -holder.samples))
