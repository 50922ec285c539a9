"""The log line: what it says, and how often."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest

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
    assert log.suppressed == 4


def test_sites_are_apart(log: StallLog, caplog: pytest.LogCaptureFixture) -> None:
    log(stall(1))
    log(stall(2))
    log(stall(1))
    assert [vars(record)["stall_line"] for record in caplog.records] == [1, 2]


def test_all_sites_together(log: StallLog, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    for line in range(5000):
        log(stall(line))
    assert len(caplog.records) == 3
    assert log.suppressed == 4997
    clock.now += 1
    log(stall(4999))
    assert "once more here" in caplog.records[-1].getMessage()


def test_switched_off_by_the_program(log: StallLog, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "loopwatch")
    log(stall())
    assert not caplog.records
    assert not log.suppressed
