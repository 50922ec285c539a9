"""The decoder reads what the writer writes, and survives everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from loopwatch.model import CAUSES as ALL
from loopwatch.model import Activity, Process, Stall
from loopwatch.recording import Decoder
from tests.unit.recordings import CWD, MS, RUNNER, SECOND, SITE, UNIX, Place, RecordingBuilder

HANDLER: Place = (f"{CWD}/main.py", "handler", 42, 42, 13, 29)
LIBRARY: Place = (f"{SITE}/sk/tree.py", "Tree.predict", 530)


# What a stall of 120 ms was; ns.
CAUSES: dict[str, Any] = {
    "causes": {"gil": 80 * MS, "native": 30 * MS, "starved": 10 * MS},
    "gil_held": 10 * MS,
    "cpu": 25 * MS,
    "cpu_wall": 100 * MS,
    "run_delay": 9 * MS,
    "throttled": None,
    "longest": 70 * MS,
}


def decode(data: bytes) -> tuple[list[Stall], Process]:
    decoder = Decoder(pid=4711, started=UNIX / SECOND)
    stalls = decoder.feed(data) + decoder.end_part() + decoder.flush() + decoder.open_stalls()
    return stalls, decoder.process


def small() -> RecordingBuilder:
    builder = RecordingBuilder()
    builder.loop()
    builder.phase("serving", 1)
    stack = builder.stack(*RUNNER, HANDLER, LIBRARY)
    iteration = builder.stall(5, 12, (stack, 4), t="open", requests=[[7, 4]])
    builder.stall(5, 50, (stack, 45), iteration=iteration, callbacks=3, torn=2, omitted=1, requests=[[7, 40], [9, 2]])
    builder.delayed(12, iteration)
    builder.request(7, "GET /items/{id}")
    builder.summary(1000, stalls=1, stalled_ns=50 * MS, longest_ns=50 * MS, samples=45, torn=2, requests=900)
    builder.thread(77, "hog")
    builder.stall(1200, 120, (stack, 90), t="open", **CAUSES, holders=[[stack, 77, 40], [None, 78, 3]])
    return builder


TYPES = sorted({json.loads(line)["t"] for line in small().lines})


def test_a_stall_with_all_it_says() -> None:
    stalls, process = decode(small().data)
    ended, running = stalls
    assert ended.duration == pytest.approx(0.050)
    assert ended.duration_ms == pytest.approx(50)
    assert ended.start == pytest.approx(UNIX / SECOND + 0.005, abs=1e-6)
    assert (ended.callbacks, ended.samples, ended.torn, ended.omitted) == (3, 45, 2, 1)
    assert (ended.pid, ended.thread, ended.allowed, ended.running) == (4711, "MainThread", False, False)
    assert (ended.file, ended.function, ended.line) == HANDLER[:3]
    assert [(stack.frame.file, count) for stack, count in ended.stacks] == [(LIBRARY[0], 45)]
    assert [frame.kind for frame in ended.stacks[0][0].frames] == ["loop"] * 5 + ["app", "library"]
    assert (ended.request, ended.endpoint, ended.requests_delayed) == (7, "GET /items/{id}", 12)
    assert (ended.phase, running.phase) == ("serving", "serving")
    assert running.state == "running"
    assert running.duration == pytest.approx(0.120)
    assert process.threshold == 0.010
    assert process.interval == 0.001
    assert process.command == ("uvicorn", "app:app")
    assert process.damage == replace(process.damage, garbage=0, unresolved=0, dropped=0, headless=False)


def test_what_the_thread_was_doing() -> None:
    ended, running = decode(small().data)[0]
    assert (ended.cause, ended.activity) == ("", Activity())  # a recording that does not say
    assert running.cause == "gil"
    doing = running.activity
    assert [cause for cause, _ in doing.causes] == ["gil", "native", "starved"]
    assert [seconds for _, seconds in doing.causes] == pytest.approx([0.080, 0.030, 0.010])
    assert [doing.gil_held, doing.run_delay] == pytest.approx([0.010, 0.009])
    assert doing.throttled is None
    assert doing.cpu == pytest.approx(0.030)  # a quarter of the time
    assert doing.longest == pytest.approx(0.070)
    assert [(holder.thread, holder.samples) for holder in doing.holders] == [("hog", 40), ("", 3)]
    assert doing.holders[0].stack == running.stacks[0][0]
    assert doing.holders[1].stack is None


def test_causes_add_up_to_the_stall_whatever_is_recorded() -> None:
    builder = RecordingBuilder()
    builder.stall(
        5, 50, causes={"python": 3 * MS, "blocked": 1 * MS, "magic": 9 * MS}, gil_held=9 * MS, cpu=9, cpu_wall=0
    )
    builder.stall(100, 50, causes={"native": MS}, gil_held=4 * MS, cpu=4 * MS, cpu_wall=2 * MS, longest=99 * MS)
    builder.stall(200, 50, causes={}, longest=-1)
    first, second, third = (stall.activity for stall in decode(builder.data)[0])
    assert [cause for cause, _ in first.causes] == ["python", "blocked"]
    assert [seconds for _, seconds in first.causes] == pytest.approx([0.0375, 0.0125])
    assert (first.gil_held, first.cpu) == (0, None)
    assert [second.gil_held, second.cpu, second.longest] == pytest.approx([0.050, 0.050, 0.050])
    assert (third.cause, third.longest) == ("", None)


def test_the_newest_name_of_a_thread_counts() -> None:
    builder = RecordingBuilder()
    for name in ("old", "new"):
        builder.thread(77, name)
        builder.stall(5, 50, causes={"gil": MS}, holders=[[None, 77, 1]])
    for tid in range(100, 6000):
        builder.thread(tid, "many")
    builder.stall(100, 50, causes={"gil": MS}, holders=[[None, 77, 1]])
    assert [stall.activity.holders[0].thread for stall in decode(builder.data)[0]] == ["old", "new", ""]


def test_the_figures_of_a_loop_go_on_while_it_hangs() -> None:
    _, process = decode(small().data)
    (loop,) = process.loops
    assert (loop.kind, loop.poll, loop.thread, loop.iterations) == ("asyncio", "slot", "MainThread", 1000)
    assert loop.requests == 900
    assert loop.seconds == pytest.approx(1.320, abs=1e-3)
    assert loop.busy == pytest.approx(0.220, abs=1e-3)
    builder = small()
    builder.summary(1300)
    (loop,) = decode(builder.data)[1].loops
    assert loop.busy == pytest.approx(0.130 + 0.020, abs=1e-3)  # a summary knows of the iteration that lasts
    assert process.seen == pytest.approx(UNIX / SECOND + 1.320, abs=1e-3)


def test_the_end_of_a_stall_replaces_what_was_open() -> None:
    builder = small()
    assert [stall.state for stall in decode(builder.data)[0]] == ["ended", "running"]
    builder.stall(1200, 150, iteration=2)
    assert [stall.state for stall in decode(builder.data)[0]] == ["ended", "ended"]


def test_an_open_stall_that_a_later_iteration_has_overtaken_is_cut() -> None:
    builder = small()
    builder.stall(1400, 20)
    assert [stall.state for stall in decode(builder.data)[0]] == ["ended", "ended", "cut"]


def test_an_open_stall_is_cut_when_watching_ended_in_order() -> None:
    builder = small()
    builder.end(2000)
    stalls, process = decode(builder.data)
    assert [stall.state for stall in stalls] == ["ended", "cut"]
    assert process.ended


def test_an_open_stall_that_is_not_written_again_is_cut() -> None:
    builder = small()
    builder.summary(1320 + 19_000)
    assert [stall.state for stall in decode(builder.data)[0]] == ["ended", "running"]
    builder.summary(1320 + 21_000)
    assert [stall.state for stall in decode(builder.data)[0]] == ["ended", "cut"]


def test_open_stalls_that_never_end_do_not_fill_the_memory() -> None:
    builder = RecordingBuilder()
    builder.loop()
    for number in range(500):
        builder.stall(number * 20, 15, t="open")
    decoder = Decoder()
    given_out = decoder.feed(builder.data)
    assert {stall.state for stall in given_out} == {"cut"}
    assert len(given_out) + len(decoder.open_stalls()) == 500
    assert len(decoder.open_stalls()) <= 64


def test_allowed_stalls_say_so() -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(5, 50, allowed=True)
    (stall,) = decode(builder.data)[0]
    assert stall.allowed


def test_ids_start_anew_after_a_reset() -> None:
    builder = small()
    builder.record("reset")
    builder.record("code", id=0, file=f"{CWD}/other.py", name="late", first=1)
    builder.record("frame", id=0, code=0, line=7, end_line=7, col=None, end_col=None)
    builder.record("stack", id=0, parent=None, frame=0)
    builder.stall(3000, 20, (0, 5), (1, 3), iteration=9)
    stalls, process = decode(builder.data)
    assert [stall.line for stall in stalls if stall.iteration == 9] == [7]
    assert process.damage.unresolved == 1


def test_each_part_can_be_read_by_itself() -> None:
    first = small()
    second = RecordingBuilder(part=1, monotonic_ns=6_000 * SECOND, unix_ns=UNIX + 1_000 * SECOND)
    second.loop(thread="other")
    stack = second.stack((f"{CWD}/late.py", "late", 3))
    second.stall(2_000_000, 30, (stack, 9), iteration=7)
    decoder = Decoder()
    stalls = decoder.feed(first.data) + decoder.end_part() + decoder.feed(second.data) + decoder.end_part()
    stalls += decoder.flush()
    assert [stall.line for stall in stalls] == [42, 3]
    assert len(decoder.process.loops) == 1
    alone, _ = decode(second.data)
    assert [stall.line for stall in alone] == [3]


def test_half_a_line_at_the_end_of_a_part_is_normal() -> None:
    decoder = Decoder()
    decoder.feed(small().data + b'{"t": "stall", "lo')
    assert decoder.end_part() == []
    assert decoder.process.damage.garbage == 0


def test_a_whole_last_line_without_its_end_counts() -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(5, 50)
    decoder = Decoder()
    assert decoder.feed(builder.data.rstrip(b"\n")) == []
    assert [stall.duration_ms for stall in decoder.end_part()] == [pytest.approx(50)]


@pytest.mark.parametrize("portion", [1, 2, 7, 64, 4096])
def test_portions_make_no_difference(portion: int) -> None:
    data = small().data
    decoder = Decoder(pid=4711, started=UNIX / SECOND)
    stalls = [stall for at in range(0, len(data), portion) for stall in decoder.feed(data[at : at + portion])]
    assert (stalls + decoder.flush() + decoder.open_stalls(), decoder.process) == decode(data)


def test_a_recording_cut_at_any_byte_tells_what_is_there() -> None:
    data = small().data
    whole, _ = decode(data)
    for cut in range(len(data) + 1):
        stalls, process = decode(data[:cut])
        assert len(stalls) <= len(whole)
        assert process.pid == 4711
        assert process.damage.garbage == 0


def test_byte_order_marks_nul_bytes_and_foreign_line_ends() -> None:
    builder = small()
    data = b"\xef\xbb\xbf" + builder.data.replace(b"\n", b"\r\n")
    assert len(decode(data)[0]) == 2
    lines = builder.data.splitlines(keepends=True)
    torn = b"".join([*lines[:4], b"\0" * 4096, *lines[4:]])
    assert len(decode(torn)[0]) == 2
    lone = b"".join([*lines[:4], b"\0" * 4096 + b"\n", *lines[4:]])
    stalls, process = decode(lone)
    assert len(stalls) == 2
    assert process.damage.garbage == 1


def test_garbage_is_counted_and_skipped() -> None:
    lines = small().data.splitlines(keepends=True)
    garbage = [b"{}{\n", b"\xff\xfe\n", b"[1, 2]\n", b"null\n", b'{"t": "stall"\n', b"[" * 50_000 + b"\n"]
    garbage.append(b'{"t": "stall", "loop": ' + b"9" * 5000 + b"}\n")
    stalls, process = decode(b"".join(lines[:3] + garbage + lines[3:]))
    assert len(stalls) == 2
    assert process.damage.garbage == len(garbage)


def test_a_line_without_end_does_not_fill_the_memory() -> None:
    decoder = Decoder()
    decoder.feed(small().data)
    for _ in range(40):
        decoder.feed(b"x" * (1 << 20))
    assert len(decoder._tail) <= 16 << 20
    builder = RecordingBuilder()
    builder.stall(9000, 50, iteration=8)
    decoder.flush()
    decoder.feed(b"x\n" + builder.data)
    assert [stall.iteration for stall in decoder.flush()] == [8]
    assert decoder.process.damage.garbage == 1


def test_types_and_members_of_later_versions_are_skipped() -> None:
    builder = small()
    builder.record("weather", at=1, sunny=True)
    builder.record("stall", loop=1, iteration=5, start=builder.at(0), end=builder.at(20), moon="full")
    stalls, process = decode(builder.data)
    assert len([stall for stall in stalls if stall.state == "ended"]) == 2
    assert process.damage.garbage == 0


def test_a_newer_schema_is_read_as_far_as_it_goes() -> None:
    builder = RecordingBuilder(schema="loopwatch-recording/2")
    builder.loop()
    builder.stall(5, 50)
    stalls, process = decode(builder.data)
    assert len(stalls) == 1
    assert process.damage.newer == "loopwatch-recording/2"


@pytest.mark.parametrize("bad", [None, True, "7", 1.5, [], {}, -1, 2**63, 10**400, float("nan"), float("inf")])
@pytest.mark.parametrize("t", [*TYPES, "dropped", "end"])
def test_no_field_may_be_of_any_type(t: str, bad: object) -> None:
    builder = small()
    builder.record("dropped", records=1, at=builder.at(1))
    builder.end(2000)
    lines = []
    for line in builder.lines:
        record = json.loads(line)
        if record["t"] != t:
            lines.append(line)
            continue
        lines.append(json.dumps(dict.fromkeys(record, bad) | {"t": t}))
        lines += [json.dumps({**record, key: bad}) for key in record]
        lines += [json.dumps({other: record[other] for other in record if other != key}) for key in record]
    stalls, process = decode("\n".join(lines).encode())
    for stall in stalls:
        assert stall.duration >= 0
        assert stall.samples >= 0
        assert isinstance(stall.file, str)
        assert stall.request >= 0
        assert isinstance(stall.endpoint, str)
        assert stall.requests_delayed >= 0
        assert all(cause in ALL and seconds > 0 for cause, seconds in stall.activity.causes)
        assert sum(seconds for _, seconds in stall.activity.causes) <= stall.duration * 1.000001
        assert 0 <= stall.activity.gil_held <= stall.duration * 1.000001
        assert stall.activity.cpu is None or 0 <= stall.activity.cpu <= stall.duration
        assert stall.phase in ("startup", "serving", "shutdown", "other")
    for loop in process.loops:
        assert 0 <= loop.utilization <= 1


def test_without_a_header_the_names_of_the_file_help() -> None:
    builder = small()
    stalls, process = decode("\n".join(builder.lines[1:]).encode())
    assert process.damage.headless
    assert process.pid == 4711
    assert stalls[0].start == pytest.approx(UNIX / SECOND, abs=1)


def test_a_stack_without_its_parent_begins_there() -> None:
    builder = RecordingBuilder()
    builder.record("code", id=0, file="main.py", name="f", first=1)
    builder.record("frame", id=0, code=0, line=3, end_line=3, col=0, end_col=4)
    builder.record("stack", id=5, parent=4, frame=0)
    builder.record("stack", id=6, parent=5, frame=17)
    builder.stall(5, 50, (5, 3), (6, 2))
    (stall,), process = decode(builder.data)
    assert (stall.file, stall.line) == (f"{CWD}/main.py", 3)
    assert process.damage.unresolved == 3


def test_names_with_lone_surrogates_survive() -> None:
    name = b"/srv/app/caf\xe9.py".decode("utf-8", "surrogateescape")
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(5, 50, (builder.stack((name, "f", 3)), 1))
    wtf8 = builder.data.replace(b"\\udce9", "\udce9".encode("utf-8", "surrogatepass"))
    for data in (builder.data, wtf8):
        assert [stall.file for stall in decode(data)[0]] == [name]


SCRAPS = [line.encode() for line in small().lines]


@pytest.mark.once
@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=80), st.sampled_from(SCRAPS)), max_size=30), st.integers(1, 50))
@example([b"\xef\xbb\xbf"], 1)
def test_arbitrary_bytes_never_raise(lines: list[bytes], portion: int) -> None:
    data = b"\n".join(lines)
    decoder = Decoder()
    for at in range(0, len(data), portion):
        decoder.feed(data[at : at + portion])
    decoder.end_part()
    decoder.flush()
    decoder.open_stalls()
    assert decoder.process.pid >= 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
MEMBERS = sorted({key for line in small().lines for key in json.loads(line)} - {"t"})


@pytest.mark.once
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([*TYPES, "reset", "dropped", "end"]),
            st.dictionaries(st.sampled_from(MEMBERS), JSON, max_size=12),
        ),
        max_size=20,
    )
)
def test_records_with_any_members_never_raise(records: list[tuple[str, dict[str, object]]]) -> None:
    decoder = Decoder()
    decoder.feed("".join(json.dumps({**members, "t": t}) + "\n" for t, members in records).encode())
    for stall in decoder.flush() + decoder.open_stalls():
        assert stall.duration >= 0
    assert decoder.process.seen >= 0
