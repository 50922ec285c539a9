"""What is recorded after a stall finds its way to it, and if it does not come, the stall is not held for ever."""

from __future__ import annotations

import json
import math
import time
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loopwatch.model import Stall
from loopwatch.recording import Decoder
from loopwatch.recording.aftermath import culprit
from tests.unit.recordings import CWD, RUNNER, RecordingBuilder


class Told:
    """A decoder that is fed record by record."""

    def __init__(self, *, prompt: bool = True) -> None:
        self.builder = RecordingBuilder()
        self.decoder = Decoder(prompt=prompt)
        self.builder.loop()
        self.stack = self.builder.stack(*RUNNER, (f"{CWD}/main.py", "handler", 42))
        self._fed = 0

    def stall(self, start: float, duration: float = 20, *requests: tuple[int, int], loop: int = 1) -> int:
        return self.builder.stall(
            start, duration, (self.stack, 10), requests=[list(each) for each in requests], loop=loop
        )

    def now(self) -> list[Stall]:
        """The stalls that come out since the last time."""
        data = self.builder.data
        new, self._fed = data[self._fed :], len(data)
        return self.decoder.feed(new)

    def iterations(self) -> list[int]:
        return [stall.iteration for stall in self.now()]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def patient() -> Told:
    return Told(prompt=False)


@pytest.mark.parametrize(
    ("requests", "samples", "expected"),
    [
        ([[3, 10], [7, 20]], 30, 7),
        ([[7, 10], [3, 10]], 20, 3),  # a tie
        ([[3, 4], [7, 3], [3, 2]], 9, 3),
        ([[7, 1]], 10, 0),  # nine samples of something else
        ([[7, 2], [8, 3]], 10, 8),
        ([], 10, 0),
        (None, 10, 0),
        ([[0, 10], [-1, 10], [7], "7", [7, 0], [7, True], [None, 3]], 0, 0),
    ],
)
def test_culprit(requests: object, samples: int, expected: int) -> None:
    assert culprit({"requests": requests}, samples) == expected


def test_a_loop_that_serves_nothing_does_not_wait(told: Told) -> None:
    told.stall(0)
    (stall,) = told.now()
    assert (stall.request, stall.endpoint, stall.requests_delayed, stall.phase) == (0, "", 0, "other")
    assert told.decoder.due == math.inf


def test_a_stall_is_told_when_all_is_known(told: Told) -> None:
    told.stall(0, 20, (7, 10))
    assert told.now() == []
    told.builder.delayed(5)
    assert told.now() == []
    assert told.decoder.due < math.inf
    told.builder.request(7, "GET /a")
    (stall,) = told.now()
    assert (stall.request, stall.endpoint, stall.requests_delayed) == (7, "GET /a", 5)
    told.stall(100, 20, (7, 10))  # named before: not again
    told.builder.delayed(0)
    assert [stall.endpoint for stall in told.now()] == ["GET /a"]


def test_an_endpoint_that_was_never_known(told: Told) -> None:
    told.stall(0, 20, (7, 10))
    told.builder.delayed(5)
    told.builder.request(7, None)
    (stall,) = told.now()
    assert (stall.request, stall.endpoint) == (7, "")
    told.builder.request(8, "GET /b")
    told.builder.request(8, None)
    told.stall(100, 20, (8, 10))
    told.builder.delayed(0)
    assert [stall.endpoint for stall in told.now()] == ["GET /b"]


def test_what_does_not_come_is_awaited_for_a_second(told: Told) -> None:
    told.stall(0, 20, (7, 10))
    told.builder.summary(1019)
    assert told.now() == []
    told.builder.summary(1021)
    (stall,) = told.now()
    assert (stall.request, stall.endpoint, stall.requests_delayed) == (7, "", 0)
    told.builder.delayed(3, 1)
    told.builder.request(7, "GET /a")
    assert told.now() == []


def test_no_longer_by_the_clock_either(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing happens, no record says that time passes. What has come a moment ago is held on."""
    clock = 500.0
    monkeypatch.setattr(time, "monotonic", lambda: clock)
    told.stall(0, 20, (7, 10))
    assert (told.now(), told.decoder.due) == ([], 501)
    clock = 500.9
    told.stall(100, 20, (7, 10))
    assert (told.now(), told.decoder.overdue()) == ([], [])
    clock = 501.0
    assert [stall.iteration for stall in told.decoder.overdue()] == [1]
    assert told.decoder.due == 501.9
    told.builder.delayed(3, 2)
    told.builder.request(7, "GET /a")
    assert [(stall.endpoint, stall.requests_delayed) for stall in told.now()] == [("GET /a", 3)]
    assert told.decoder.due == math.inf


def test_flush_tells_what_is_known(told: Told) -> None:
    told.stall(0, 20, (7, 10))
    told.builder.request(7, "GET /a")
    assert told.now() == []
    assert [stall.endpoint for stall in told.decoder.flush()] == ["GET /a"]
    assert told.decoder.flush() == []
    assert told.decoder.due == math.inf


@pytest.mark.parametrize("sign", ["phase", "delayed", "summary", "request"])
def test_any_sign_of_requests_is_enough_to_wait(told: Told, sign: str) -> None:
    match sign:
        case "phase":
            told.builder.phase("serving", 1)
        case "delayed":
            told.builder.delayed(1)
        case "summary":
            told.builder.summary(1, requests=1)
        case "request":
            told.stall(0, 20, (7, 10))
            told.builder.summary(2000)
            assert told.iterations() == [1]
    told.stall(3000)
    assert told.now() == []
    told.builder.delayed(1)
    assert [stall.requests_delayed for stall in told.now()] == [1]


def test_the_order_is_kept(told: Told) -> None:
    told.builder.phase("serving", 0)
    first, second = told.stall(10, 20, (7, 10)), told.stall(40)
    other = told.stall(50, loop=2)
    told.builder.delayed(2, first)
    told.builder.delayed(4, second)
    assert told.now() == []
    told.builder.request(7, "GET /a")
    assert [(stall.iteration, stall.requests_delayed) for stall in told.now()] == [(first, 2), (second, 4), (other, 0)]


def test_a_count_that_was_left_out_is_not_awaited(told: Told) -> None:
    told.builder.phase("serving", 0)
    first, second = told.stall(10), told.stall(40)
    assert told.now() == []
    told.builder.delayed(4, second)
    assert [(stall.iteration, stall.requests_delayed) for stall in told.now()] == [(first, 0), (second, 4)]


def test_records_that_never_come_do_not_fill_the_memory() -> None:
    for prompt in (True, False):
        told = Told(prompt=prompt)
        told.builder.phase("serving", 0)
        given_out = []
        for number in range(5000):
            told.stall(number * 1e-4, 0.01, (number + 1, 10))
            given_out += told.iterations()
            told.builder.lines.clear()
            told._fed = 0
        assert len(told.decoder.held_stalls()) <= 2048
        assert given_out + [stall.iteration for stall in told.decoder.flush()] == list(range(1, 5001))


def test_names_of_requests_long_gone_do_not_fill_the_memory(told: Told) -> None:
    for number in range(1, 20_001):
        told.builder.request(number, f"GET /{number}")
    told.now()
    told.stall(0, 20, (1, 10))
    told.stall(30, 20, (20_000, 10))
    told.now()
    assert [stall.endpoint for stall in told.decoder.flush()] == ["", "GET /20000"]
    assert len(told.decoder._aftermath._endpoints) <= 16384


def test_files_are_read_with_patience(patient: Told) -> None:
    patient.stall(0, 500)  # the server imports the app: nothing is known of phases yet
    assert patient.now() == []
    patient.builder.phase("startup", 501)
    patient.builder.delayed(0, 1)
    assert [stall.phase for stall in patient.now()] == ["startup"]
    patient.stall(1000, 20, (7, 10))
    patient.builder.delayed(2)
    patient.builder.summary(50_000)
    assert patient.now() == []
    patient.builder.request(7, "GET /slow")  # it was named when it ended
    assert [stall.endpoint for stall in patient.now()] == ["GET /slow"]
    patient.stall(60_000, 20, (8, 10))
    patient.builder.summary(120_021)
    assert [stall.endpoint for stall in patient.now()] == [""]


def phases(told: Told) -> list[str]:
    return [stall.phase for stall in told.now() + told.decoder.flush()]


def test_phases(patient: Told) -> None:
    for start in (0, 100):
        patient.stall(start)
    patient.builder.phase("startup", 90)
    patient.stall(200, 300)
    patient.builder.phase("serving", 499)
    patient.stall(600)
    patient.builder.phase("shutdown", 701)
    patient.stall(700, 50)
    patient.stall(800, loop=2)
    assert phases(patient) == ["startup", "startup", "startup", "serving", "shutdown", "other"]


def test_a_second_server_on_the_same_loop(patient: Told) -> None:
    for at, phase in enumerate(["startup", "serving", "shutdown"] * 2):
        patient.builder.phase(phase, 100 * at)
        patient.stall(100 * at + 10)
    assert phases(patient) == ["startup", "serving", "shutdown"] * 2


def test_only_the_newest_part_is_left(patient: Told) -> None:
    patient.stall(0)
    patient.builder.phase("shutdown", 100)
    patient.stall(110)
    assert phases(patient) == ["serving", "shutdown"]


def test_each_part_may_repeat_the_phase(patient: Told) -> None:
    for part in range(200):
        patient.builder.phase("serving", 10)
        patient.stall(100 * part + 11)
    patient.stall(0, 9)
    assert phases(patient) == ["serving"] * 200 + ["startup"]


def test_phases_do_not_fill_the_memory(patient: Told) -> None:
    for number in range(1000):
        patient.builder.phase(("serving", "shutdown")[number % 2], number)
    patient.now()
    assert len(patient.decoder._aftermath._phases[1]) <= 32


def test_a_stall_that_lasts_knows_whose_it_is(told: Told) -> None:
    told.builder.phase("serving", 0)
    told.builder.stall(10, 30, (told.stack, 9), t="open", requests=[[7, 9]])
    told.now()
    (stall,) = told.decoder.open_stalls()
    assert (stall.request, stall.endpoint, stall.phase, stall.state) == (7, "", "serving", "running")
    told.builder.request(7, "GET /a")
    told.builder.delayed(6)  # of its end, whose record was lost
    told.stall(100)
    told.now()
    (stall,) = told.decoder.open_stalls()
    assert (stall.endpoint, stall.requests_delayed, stall.state) == ("GET /a", 6, "cut")


def service() -> bytes:
    told = Told()
    told.stall(0, 50)
    told.builder.phase("startup", 51)
    told.builder.phase("serving", 60)
    for number in range(1, 6):
        iteration = told.builder.stall(100 * number, 12, (told.stack, 2), t="open", requests=[[number, 2]])
        told.builder.stall(
            100 * number, 20, (told.stack, 10), iteration=iteration, requests=[[number, 6], [number - 1, 4]]
        )
        if number > 1:
            told.builder.delayed(number, iteration - 1)
        told.builder.request(number, f"GET /{number}")
    told.builder.phase("shutdown", 700)
    told.stall(800)
    told.builder.summary(3000, requests=5)
    told.builder.end(3000)
    return told.builder.data


SERVICE = service()


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, len(SERVICE))), st.booleans())
def test_portions_make_no_difference(cuts: list[int], prompt: bool) -> None:
    def stalls(*portions: bytes) -> list[Stall]:
        decoder = Decoder(prompt=prompt)
        found = [stall for portion in portions for stall in decoder.feed(portion)]
        return found + decoder.end_part() + decoder.flush() + decoder.open_stalls()

    bounds = [0, *sorted(cuts), len(SERVICE)]
    assert stalls(*(SERVICE[a:b] for a, b in pairwise(bounds))) == stalls(SERVICE)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(SERVICE)), st.booleans(), st.randoms())
def test_a_recording_cut_anywhere_and_out_of_order_loses_no_stall(cut: int, prompt: bool, random: Random) -> None:
    lines = SERVICE[: SERVICE.rfind(b"\n", 0, cut) + 1].splitlines(keepends=True)
    random.shuffle(lines)
    decoder = Decoder(prompt=prompt)
    stalls = decoder.feed(b"".join(lines)) + decoder.end_part() + decoder.flush() + decoder.open_stalls()
    there = {json.loads(line)["iteration"] for line in lines if b'"t": "stall"' in line}
    assert there <= {stall.iteration for stall in stalls}
