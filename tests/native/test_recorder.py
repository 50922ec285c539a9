"""What the recorder wrote, read strictly: by docs/recording.md, every line, every reference."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.native.native import Toolchain, cases

pytestmark = pytest.mark.once

Record = dict[str, Any]

PROGRAM_OF = {case: p for p in ("test_recorder", "test_recorder_disk", "test_recorder_queue") for case in cases(p)}
FORMAT = Path(__file__).parents[2] / "docs" / "recording.md"


def documented() -> dict[str, set[str]]:
    """The members of each record, from the table in docs/recording.md."""
    members: dict[str, set[str]] = {}
    for row in re.findall(r"^\| `(\w+)` \| (.*?) \| .* \|$", FORMAT.read_text("utf-8"), re.MULTILINE):
        if row[0] == "t":
            continue  # the head of the table
        names = re.sub(r"\([^)]*\)", "", row[1])  # what stands in brackets explains a member
        members[row[0]] = {"t", *re.findall(r"`(\w+)`", names)}
    return members


def documented_of_causes() -> set[str]:
    """The members that stalls have in addition when it is known what the thread was doing."""
    (table,) = re.findall(r"^\| member \| what \|\n(.*?)\n\n", FORMAT.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return {name for row in table.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}


MEMBERS = documented()
OF_CAUSES = documented_of_causes()


class StrictReader:
    """Follows one part, or one queue, and fails at the first thing that a reader could not resolve."""

    def __init__(self, path: Path) -> None:
        self.records: list[Record] = []
        self.torn = 0
        self._queue = path.name == "queue.jsonl"
        self._known: dict[str, dict[int, Record]] = {"code": {}, "frame": {}, "stack": {}, "loop": {}, "thread": {}}
        content = path.read_bytes()
        lines = content.decode("utf-8").split("\n")
        if lines.pop():
            self.torn += 1
        for line in lines:
            self._line(line)
        assert self.records, f"{path} has no header"
        assert self.records[0]["t"] == "header"

    def of(self, kind: str) -> list[Record]:
        return [record for record in self.records if record["t"] == kind]

    def _line(self, line: str) -> None:
        try:
            record = json.loads(line)
        except ValueError:
            self.torn += 1
            return
        kind = record["t"]
        if kind in ("stall", "open") and "causes" in record:
            assert set(record) == MEMBERS[kind] | OF_CAUSES, record
        else:
            assert set(record) == MEMBERS[kind], record
        assert (kind == "header") == (not self.records), "a header comes first, and only there"
        if len(self.records) == 1 and not self._queue:
            assert (kind, record["at"]) == ("dropped", 0), "it has its place there, whatever happens to the disk"
        getattr(self, f"_{kind}", lambda record: None)(record)
        self.records.append(record)

    def _reset(self, record: Record) -> None:
        for kind in ("code", "frame", "stack"):
            self._known[kind].clear()

    def _add(self, kind: str, number: int, record: Record) -> None:
        assert self._known[kind].setdefault(number, record) == record, f"{kind} {number} has two meanings"

    def _loop(self, record: Record) -> None:
        self._add("loop", record["loop"], record)

    def _thread(self, record: Record) -> None:
        self._known["thread"][record["tid"]] = record  # it may take another name

    def _code(self, record: Record) -> None:
        self._add("code", record["id"], record)

    def _frame(self, record: Record) -> None:
        assert record["code"] in self._known["code"]
        self._add("frame", record["id"], record)

    def _stack(self, record: Record) -> None:
        assert record["frame"] in self._known["frame"]
        assert record["parent"] is None or record["parent"] in self._known["stack"]
        self._add("stack", record["id"], record)

    def _stall(self, record: Record) -> None:
        assert record["loop"] in self._known["loop"]
        for stack, samples in record["stacks"]:
            assert stack in self._known["stack"] and samples > 0
        for stack, thread, samples in record.get("holders", ()):
            assert stack is None or stack in self._known["stack"]
            assert thread in self._known["thread"] and samples > 0

    def _open(self, record: Record) -> None:
        self._stall(record)

    def _summary(self, record: Record) -> None:
        assert record["loop"] in self._known["loop"]


def part_number(path: Path) -> int:
    return int(path.name.split(".")[1]) if path.name.count(".") == 2 else 0


@pytest.fixture
def run(toolchain: Toolchain, tmp_path: Path) -> Any:
    """Run a case and read what it left: the parts in their order, then the queue."""

    def run_case(case: str) -> list[StrictReader]:
        toolchain.run(PROGRAM_OF[case], case, tmp_path)
        paths = [path for path in tmp_path.glob("*.jsonl") if path.stat().st_size]
        paths.sort(key=lambda path: (path.name == "queue.jsonl", part_number(path)))
        return [StrictReader(path) for path in paths]

    return run_case


def test_the_table_of_the_document_is_understood() -> None:
    assert MEMBERS["stack"] == {"t", "id", "parent", "frame"}
    assert MEMBERS["reset"] == {"t"}
    assert {"causes", "cpu", "cpu_wall", "holders", "longest"} < OF_CAUSES
    assert {"header", "loop", "code", "frame", "open", "stall", "summary", "dropped", "end"} < set(MEMBERS)


# Cases that say all there is to say themselves, or whose files need no more than being readable throughout.
DETAILED = {
    *("one_of_each", "names_of_any_bytes", "parts", "a_full_disk", "names_that_are_taken"),
    *("a_stall_of_many_deep_stacks", "holders_with_deep_stacks", "a_stack_bigger_than_the_buffer"),
    *("many_deep_stalls_before_a_flush", "phases_that_begin_anew"),
}
# Lines in a part, at most.
TORN = {"a_disk_that_is_full_at_the_next_part": 1, "a_disk_that_stays_full": 1, "a_limit_to_the_size_of_files": 1}
NO_FILE = {"a_folder_that_is_not_there", "a_disk_without_room_for_the_header"}


@pytest.mark.parametrize("case", [case for case in PROGRAM_OF if case not in DETAILED])
def test_case(run: Any, case: str) -> None:
    readers = run(case)
    assert (not readers) == (case in NO_FILE)
    for reader in readers:
        assert reader.torn <= TORN.get(case, 0)


def test_one_of_each(run: Any) -> None:
    (part,) = run("one_of_each")
    assert part.torn == 0
    assert {record["t"] for record in part.records} == set(MEMBERS) - {"gone"}  # who is gone does not write it
    assert part.of("dropped") == [{"t": "dropped", "records": 0, "at": 0}]
    header = part.records[0]
    assert header["schema"] == "loopwatch-recording/1"
    assert (header["pid"], header["parent_pid"], header["part"]) == (77, 1, 0)
    assert abs(header["unix_ns"] / 1e9 - 1.8e9) < 2e8
    assert part.of("loop") == [
        {"t": "loop", "loop": 1, "kind": "asyncio", "poll": "slot", "thread": "MainThread", "tid": 77, "at": 5}
    ]
    (opened,) = part.of("open")
    assert (opened["start"], opened["at"], opened["callbacks"], opened["omitted"]) == (100, 150, 2, 5)
    stalls = part.of("stall")
    assert stalls[0]["stacks"] == opened["stacks"] == [[2, 2]]
    assert [stall["allowed"] for stall in stalls] == [True, True, False]
    assert (stalls[1]["causes"], stalls[1]["gil_held"]) == ({"native": 30, "gil": 20}, 10)
    assert (stalls[1]["cpu"], stalls[1]["cpu_wall"], stalls[1]["longest"]) == (25, 40, 45)
    assert (stalls[1]["run_delay"], stalls[1]["throttled"]) == (5, None)
    assert [holder[1:] for holder in stalls[1]["holders"]] == [[78, 3], [79, 1]]
    assert [thread["name"] for thread in part.of("thread")] == ["worker", ""]
    assert [frame["end_col"] for frame in part.of("frame")][:3] == [None, 9, None]
    assert part.of("summary")[0]["histogram"] == [0] * 23 + [2**64 - 1]
    assert stalls[0]["requests"] == [[17, 2]]
    assert part.of("phase") == [{"t": "phase", "loop": 1, "phase": "serving", "at": 7}]
    assert part.of("delayed") == [{"t": "delayed", "loop": 1, "iteration": 9, "requests": 4}]
    assert [(one["request"], one["endpoint"]) for one in part.of("request")] == [(17, "GET /items/{id}"), (18, None)]
    assert part.of("end") == [{"t": "end", "at": 300, "dropped": 0}]


def test_names_of_any_bytes(run: Any) -> None:
    (part,) = run("names_of_any_bytes")
    assert [code["file"] for code in part.of("code")] == [
        "plain", "café", 'a"b\\c\n', "\udc80lone", "\ufffd\ufffd(", "<lambda>"
    ]  # fmt: skip
    assert part.of("loop")[0]["thread"] == "\udcff thread \x01"


def test_parts(run: Any, tmp_path: Path) -> None:
    parts = run("parts")
    assert len(parts) == 3
    numbers = [part.records[0]["part"] for part in parts]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    assert numbers[0] > 10
    assert len({path.name.split(".")[0] for path in tmp_path.glob("*.jsonl")}) == 1
    iterations = [stall["iteration"] for part in parts for stall in part.of("stall")]
    assert iterations == list(range(iterations[0], 1001)), "nothing is lost between parts"
    assert all(path.stat().st_size < 30_000 for path in tmp_path.glob("*.jsonl"))


def told_stacks(record: Record) -> int:
    """How many stacks of a deep stall are told: those with most samples, and the others' samples are omitted."""
    told = [samples for _, samples in record["stacks"]]
    assert told == list(range(100, 100 - len(told), -1))
    assert sum(told) + record["omitted"] == record["samples"] == 5050
    return len(told)


def test_a_stall_of_many_deep_stacks(run: Any) -> None:
    (part,) = run("a_stall_of_many_deep_stacks")
    counts = [told_stacks(record) for record in part.of("open") + part.of("stall")]
    assert len(counts) == 4
    assert counts[0] > 5
    assert counts == sorted(set(counts)), "each tells of some more"
    assert counts[-1] < 100


def test_holders_with_deep_stacks(run: Any) -> None:
    (part,) = run("holders_with_deep_stacks")
    first, *_, last = stalls = part.of("stall")
    assert len(stalls) == 3
    assert 5 < len(first["holders"]) < len(last["holders"]) == 30
    assert told_stacks(first) == 0 < told_stacks(last)


def test_a_stack_bigger_than_the_buffer(run: Any) -> None:
    (part,) = run("a_stack_bigger_than_the_buffer")
    before, stall, after = part.of("stall")
    assert (stall["stacks"], stall["omitted"], stall["samples"]) == ([], 12, 12)
    assert len(before["stacks"]) == len(after["stacks"]) == 2


def test_many_deep_stalls_before_a_flush(run: Any) -> None:
    (part,) = run("many_deep_stalls_before_a_flush")
    counts = [told_stacks(record) for record in part.of("stall")]
    assert len(counts) == 10
    assert counts[0] > 5


def test_phases_that_begin_anew(run: Any) -> None:
    (part,) = run("phases_that_begin_anew")
    assert [(one["phase"], one["at"]) for one in part.of("phase")] == [
        ("startup", 10), ("serving", 20), ("shutdown", 25), ("startup", 30), ("serving", 45)
    ]  # fmt: skip


def test_names_that_are_taken(run: Any, tmp_path: Path) -> None:
    (part,) = run("names_that_are_taken")
    assert len(list(tmp_path.glob("*.jsonl"))) == 501
    assert part.of("summary")


def test_a_full_disk(run: Any) -> None:
    (part,) = run("a_full_disk")
    assert part.torn <= 3, "one torn line for each time that the disk was full"
    total, *later = part.of("dropped")
    counts = [dropped["records"] for dropped in later]
    assert len(counts) == 3 and counts == sorted(set(counts))
    assert part.of("end")[0]["dropped"] == counts[-1] == total["records"]
    for dropped in later:
        following = part.records[part.records.index(dropped) + 1 :]
        assert any(record["t"] == "stall" for record in following), "what comes after is kept again"


def test_nothing_is_lost_without_a_word(run: Any) -> None:
    queue = run("records_nobody_takes")[-1]
    iterations = [stall["iteration"] for stall in queue.of("stall")]
    missing = iterations[-1] - iterations[0] + 1 - len(iterations)
    assert missing > 0
    assert queue.of("dropped")[-1]["records"] >= missing
