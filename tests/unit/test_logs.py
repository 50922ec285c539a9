"""The log line: what it says, and how often."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwatch.logs import StallLog
from loopwatch.model import Stall
from loopwatch.stack import Frame, Stack


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def stall(line: int = 7, duration: float = 0.05, **others: Any) -> Stall:
    stack = Stack(Frame("/srv/app.py", "handler", line))
    return replace(Stall(1.0, duration, 1, 9, ((stack, 9),), phase="serving"), **others)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def log(clock: Clock, caplog: pytest.LogCaptureFixture) -> StallLog:
    caplog.set_level(logging.INFO, "loopwatch")
    return StallLog(every=10, rate=3, clock=clock)


def test_line_and_attributes(log: StallLog, caplog: pytest.LogCaptureFixture) -> None:
    log(stall(endpoint="GET /items/{id}", requests_delayed=3))
    [record] = caplog.records
    assert (record.name, record.levelname) == ("loopwatch", "WARNING")
    assert record.getMessage() == (
        "event loop blocked for 50.0 ms in /srv/app.py:7 handler by GET /items/{id}; 3 requests waited"
    )
    said = vars(record)
    assert (said["stall_ms"], said["stall_file"], said["stall_line"]) == (50.0, "/srv/app.py", 7)
    assert (said["stall_endpoint"], said["stall_requests_delayed"]) == ("GET /items/{id}", 3)
    assert (said["stall_phase"], said["stall_suppressed"]) == ("serving", 0)


@pytest.mark.parametrize(
    ("others", "level", "said"),
    [
        ({"phase": "startup"}, "INFO", "at startup"),
        ({"allowed": True}, "INFO", "as allowed"),
        ({"phase": "shutdown"}, "WARNING", "at shutdown"),
        ({"stacks": ()}, "WARNING", "a place that was not sampled"),
        ({"requests_delayed": 1}, "WARNING", "1 request waited"),
    ],
)
def test_kinds(log: StallLog, caplog: pytest.LogCaptureFixture, others: dict[str, Any], level: str, said: str) -> None:
    log(stall(**others))
    [record] = caplog.records
    assert record.levelname == level
    assert said in record.getMessage()


def test_one_line_per_site_in_a_while(log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for second in (0, 1, 2, 9.9, 10, 11):
        clock.now = 100 + second
        log(stall())
    assert len(caplog.records) == 2
    assert "3 times more here since the last line, 150.0 ms" in caplog.records[1].getMessage()
    assert vars(caplog.records[1])["stall_suppressed"] == 3


def test_sites_are_apart(log: StallLog, caplog: pytest.LogCaptureFixture) -> None:
    log(stall(1))
    log(stall(2))
    log(stall(1))
    assert [vars(record)["stall_line"] for record in caplog.records] == [1, 2]


def test_all_sites_together(log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for line in range(5000):
        log(stall(line))
    assert len(caplog.records) == 3
    clock.now += 1
    log(stall(4999))
    assert "once more here" in caplog.records[-1].getMessage()


def told(caplog: pytest.LogCaptureFixture) -> int:
    """How many stalls the lines tell of."""
    return sum(1 + vars(record)["stall_suppressed"] for record in caplog.records)


class TestUntold:
    """Stalls without a line are told without a further one."""

    def test_after_a_while(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        assert log.later(False) == math.inf
        log(stall())
        assert log.later(False) == math.inf
        for second in (1, 2):
            clock.now = 100 + second
            log(stall(duration=0.05 + second))
        assert log.later(False) == 8
        clock.now = 109.9
        assert log.later(False) == pytest.approx(0.1)
        assert len(caplog.records) == 1
        clock.now = 110
        assert log.later(False) == math.inf
        said = caplog.records[1]
        assert "blocked for 2050.0 ms" in said.getMessage()
        assert "once more here since the last line, 1050.0 ms" in said.getMessage()
        assert (vars(said)["stall_suppressed"], vars(said)["stall_suppressed_ms"]) == (1, 1050.0)
        clock.now = 111
        log(stall())  # that was its line
        assert (len(caplog.records), log.later(False)) == (2, 9)

    def test_a_further_one_tells_first(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        log(stall())
        log(stall())
        clock.now = 110
        log(stall())
        assert log.later(False) == math.inf
        assert told(caplog) == 3
        assert len(caplog.records) == 2

    def test_no_room(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """Then `log_every` passes too, and the limit of all sites holds for these lines."""
        for line in range(8):
            log(stall(line))
        assert log.later(False) == 10
        for second, lines, later in ((10, 6, 1), (10.5, 6, 0.5), (11, 8, math.inf)):
            clock.now = 100 + second
            assert (log.later(False), len(caplog.records)) == (later, lines)
        assert told(caplog) == 8

    def test_end(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        for _ in range(3):
            log(stall())
        log.later(True)
        assert "once more here" in caplog.records[1].getMessage()
        assert told(caplog) == 3
        log.later(True)
        assert told(caplog) == 3

    @pytest.mark.parametrize(("sites", "lines"), [(5000, 4), (100, 4)])
    def test_end_of_many(
        self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture, sites: int, lines: int
    ) -> None:
        """One line for all that there is no room for, so that the limit is passed by no more than that."""
        for line in range(sites):
            log(stall(line))
        log.later(True)
        assert told(caplog) == sites
        assert len(caplog.records) == lines
        assert f"{sites - 4} times more in places without a line" in caplog.records[-1].getMessage()

    def test_more_sites_than_are_remembered(
        self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture
    ) -> None:
        for line in range(5000):
            log(stall(line))
        while (seconds := log.later(False)) != math.inf:
            clock.now += seconds
        assert told(caplog) == 5000
        [rest] = [record for record in caplog.records if "in places without" in record.getMessage()]
        assert vars(rest)["stall_suppressed"] == 5000 - 256 - 3 - 1  # the three have had their lines

    def test_the_line_is_of_the_worst_kind(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        for phase in ("serving", "serving", "startup"):
            log(stall(phase=phase))
        log.later(True)
        assert [record.levelname for record in caplog.records] == ["WARNING", "WARNING"]

    def test_handler_that_fails(self, log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
        """Its line is not tried again."""
        log(stall())
        log(stall())
        handler = logging.Handler()
        handler.emit = lambda record: 1 / 0  # type: ignore[assignment, method-assign]
        logging.getLogger("loopwatch").addHandler(handler)
        try:
            with pytest.raises(ZeroDivisionError):
                log.later(True)
            assert log.later(True) == math.inf
        finally:
            logging.getLogger("loopwatch").removeHandler(handler)

    def test_forked_child(
        self, log: StallLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """What its parent has not told is not its own."""
        log(stall())
        log(stall())
        monkeypatch.setattr("os.getpid", lambda: -1)
        assert log.later(True) == math.inf
        assert len(caplog.records) == 1


@given(st.lists(st.tuples(st.floats(0, 0.5), st.integers(0, 4)), max_size=60), st.integers(1, 4))
def test_no_second_has_more_lines(steps: list[tuple[float, int]], rate: int) -> None:
    """Wherever it begins; and each stall is told of once, in its own line or in that of another."""
    clock, lines = Clock(), list[tuple[float, int]]()
    handler = logging.Handler()
    handler.emit = lambda record: lines.append((clock.now, vars(record)["stall_suppressed"]))  # type: ignore[method-assign]
    logger = logging.getLogger("loopwatch")
    logger.addHandler(handler)
    try:
        log = StallLog(every=0.3, rate=rate, clock=clock)
        for seconds, line in steps:
            clock.now += seconds
            log(stall(line))
            log.later(False)
        while (wait := log.later(False)) != math.inf:
            clock.now += wait
    finally:
        logger.removeHandler(handler)
    for number, (at, _) in enumerate(lines[rate:]):
        assert at - lines[number][0] >= 1
    assert sum(1 + suppressed for _, suppressed in lines) == len(steps)


def test_switched_off_by_the_program(log: StallLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "loopwatch")
    log(stall())
    assert not caplog.records
    assert log.later(True) == math.inf
