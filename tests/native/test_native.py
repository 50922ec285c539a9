"""The C units, each case of each program on its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.native.native import HERE, Toolchain, cases

pytestmark = pytest.mark.once

PROGRAMS = [
    *("test_intern", "test_json", "test_loop", "test_requests", "test_stall", "test_memory", "test_import_slot"),
    *("test_alarm", "test_chain", "test_outer", "test_thread", "test_file", "test_cause", "test_task"),
    "test_attention",
]
OTHERS = ["test_recorder", "test_recorder_disk", "test_recorder_queue"]  # run by test_recorder.py


def test_all_programs_are_run() -> None:
    assert sorted(path.stem for path in HERE.glob("test_*.c")) == sorted(PROGRAMS + OTHERS)


@pytest.mark.parametrize(
    ("program", "case"), [pytest.param(p, c, id=f"{p.removeprefix('test_')}-{c}") for p in PROGRAMS for c in cases(p)]
)
def test_case(toolchain: Toolchain, program: str, case: str, tmp_path: Path) -> None:
    toolchain.run(program, case, tmp_path)


@pytest.mark.parametrize("case", cases("test_memory"))
def test_memory_through_pipes(toolchain: Toolchain, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where there are no files in memory."""
    monkeypatch.setenv("LW_PIPES_ONLY", "1")
    toolchain.run("test_memory", case, tmp_path)


def test_any_bytes_give_valid_json(toolchain: Toolchain, tmp_path: Path) -> None:
    toolchain.run("test_json", "every_pair_and_triple_of_bytes", tmp_path)
    lines = (tmp_path / "lines").read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert len(lines) == 255 * 256 * 12
    for line in lines:
        assert isinstance(json.loads(line.decode("utf-8")), str)
