"""Durations as people write them."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwatch.config import check_switch, parse_duration, switched_off
from loopwatch.errors import ConfigError, LoopwatchError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10ms", 0.010),
        ("1.5s", 1.5),
        ("250us", 250e-6),
        ("250µs", 250e-6),
        ("250μs", 250e-6),
        ("7ns", 7e-9),
        ("2", 0.002),
        ("0.5", 0.0005),
        (".5 s", 0.5),
        ("2min", 120),
        (" 10 MS ", 0.010),
        ("0", 0),
    ],
)
def test_good(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "abc", "10 parsecs", "-1ms", "1e3", "ms", "1.2.3s", "inf", "nan", "١ms", "1h", "1\n2"]
)
def test_bad_ones_name_what_is_accepted_in_one_line(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_duration(text)
    assert "10ms" in caught.value.hint
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, LoopwatchError)


def test_too_long() -> None:
    with pytest.raises(ConfigError, match="too long"):
        parse_duration("9" * 400 + "s")


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_an_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert parse_duration(text) >= 0


@pytest.mark.parametrize(
    ("text", "off"),
    [
        *((text, True) for text in ("0", "false", "False", "NO", "off", "Off")),
        *((text, False) for text in ("", "1", "true", "YES", "on")),
    ],
)
def test_switch(monkeypatch: pytest.MonkeyPatch, text: str, off: bool) -> None:
    monkeypatch.setenv("LOOPWATCH", text)
    assert switched_off() is off
    check_switch()


@pytest.mark.parametrize("text", ["maybe", "00", " 0", "2", "-1"])
def test_switch_that_is_none(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LOOPWATCH", text)
    assert not switched_off()
    with pytest.raises(ConfigError) as caught:
        check_switch()
    assert str(caught.value).startswith(f"LOOPWATCH: {text!r} is neither on nor off; write 0, ")
