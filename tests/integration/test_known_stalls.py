"""Stalls of known length and line, end to end: `loopwatch run`, then `loopwatch report -f json`."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

import pytest

from benchmarks.accuracy import Match, watch
from benchmarks.known_stalls import SCENARIOS
from tests.integration.watched_program import run_program

LOOPS = ["asyncio", pytest.param("uvloop", marks=pytest.mark.skipif(sys.platform == "win32", reason="no uvloop"))]
CLOCK_MS = 0.1
# Around what a scenario measures lies the loop's own work; on a busy machine some have other programs there too.
USUAL_MS = 5.0


@pytest.fixture(scope="module", params=LOOPS)
def matches(request: pytest.FixtureRequest) -> list[Match]:
    return watch(request.param, repeat=2)


def test_all_of_them_happened(matches: list[Match]) -> None:
    assert [match.known.name for match in matches] == [name.strip("_") for name in SCENARIOS] * 2
    assert min(match.known.duration_ms for match in matches) >= 12


def test_every_stall_is_recorded(matches: list[Match]) -> None:
    assert [match.known for match in matches if match.duration_ms is None] == []


def test_durations(matches: list[Match]) -> None:
    """The iteration contains what the program measured, so it is never shorter."""
    errors = [match.error_ms for match in matches if match.error_ms is not None]
    assert min(errors) >= -CLOCK_MS
    assert statistics.median(errors) <= USUAL_MS


def test_own_lines(matches: list[Match]) -> None:
    """At least 97 % of those with a sample: a machine that gives the watchdog no CPU leaves some without."""
    placed = [match for match in matches if match.place is not None]
    wrong = [match for match in placed if not match.right_line]
    assert len(wrong) <= 0.03 * len(placed), wrong
    assert len(placed) >= 0.8 * len(matches)


def test_each_kind_has_its_line(matches: list[Match]) -> None:
    """Once at least, so that no kind of code hides among the few that a busy machine leaves without a sample."""
    lined = {match.known.name for match in matches if match.right_line}
    assert {match.known.name for match in matches} - lined == set()


@pytest.mark.parametrize("loop", LOOPS)
def test_short_callbacks_are_no_stall(tmp_path: Path, loop: str) -> None:
    """Two seconds of callbacks of a millisecond, each in an iteration of its own. Where the machine made one last, the
    program has seen that, too."""
    output, recordings = run_program(
        tmp_path,
        """
        def spin():
            global last, most, turns
            end = time.perf_counter() + 0.001
            while time.perf_counter() < end:
                pass
            now = time.perf_counter()
            long.append(now - last) if now - last >= 0.009 else None
            last, turns = now, turns + 1
            if turns < 2000:
                loop.call_soon(spin)
            else:
                loop.stop()

        long, turns = [], 0
        loopwatch.start(record="rec")
        loop = new_loop()
        loop.call_soon(spin)
        last = time.perf_counter()
        loop.run_forever()
        loop.close()
        loopwatch.stop()
        print(turns, len(long))
        """,
        loop,
    )
    turns, long = map(int, output.split())
    assert turns == 2000
    assert sum(map(len, recordings)) <= long
