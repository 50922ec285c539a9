"""What the loop's thread was doing in a stall: the members of its cause in an `open` or `stall` record."""

from __future__ import annotations

from operator import itemgetter
from typing import Final

from loopwatch.model import CAUSES, NO_ACTIVITY, Activity, Cause, Holder
from loopwatch.recording.fields import LIMIT, Record
from loopwatch.recording.tables import Tables

_TIME: Final = itemgetter(1)


def activity(record: Record, length: int, tables: Tables) -> Activity:
    """What a record of a stall of `length` ns says of its cause; nothing if it is of a version that did not say."""
    get = record.get
    causes, longest = get("causes"), _time(get("longest"))
    if causes is None and longest is None:
        return NO_ACTIVITY
    times = _times(causes)
    sampled = sum([time for _, time in times])
    # Its times are those of the whole stall. If they are not, they shall be: shares are what they tell.
    scale = length / sampled / 1e9 if sampled else 0.0
    held, cpu, wall = _time(get("gil_held")), _time(get("cpu")), _time(get("cpu_wall"))
    delay, throttled, holders = _time(get("run_delay")), _time(get("throttled")), get("holders")
    return Activity(
        tuple([(cause, time * scale) for cause, time in times]),
        min(held, dict(times).get("native", 0)) * scale if held else 0.0,
        min(1.0, cpu / wall) * length / 1e9 if wall and cpu is not None else None,
        None if delay is None else delay / 1e9,
        None if throttled is None else throttled / 1e9,
        None if longest is None else min(longest, length) / 1e9,
        _holders(holders, tables) if holders else (),
    )


def _times(causes: object) -> list[tuple[Cause, int]]:
    """Nanoseconds by cause, most first; among equals in the order of `CAUSES`."""
    if type(causes) is not dict:
        return []
    found = [
        (cause, time) for cause in CAUSES if cause in causes and type(time := causes[cause]) is int and 0 < time < LIMIT
    ]
    if len(found) > 1:
        found.sort(key=_TIME, reverse=True)
    return found


def _time(value: object) -> int | None:
    return value if type(value) is int and 0 <= value < LIMIT else None


def _holders(entries: object, tables: Tables) -> tuple[Holder, ...]:
    found: list[Holder] = []
    for entry in entries if isinstance(entries, list) else ():
        if type(entry) is not list or len(entry) < 3 or type(entry[2]) is not int or not 0 < entry[2] < LIMIT:
            continue
        number, tid, samples = entry[:3]
        stack = tables.stack(number) if type(number) is int else None
        found.append(Holder(tables.thread(tid) if type(tid) is int else "", stack, samples))
    return tuple(sorted(found, key=lambda holder: -holder.samples))
