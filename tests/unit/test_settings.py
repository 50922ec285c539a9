"""Settings: what each place may say, which place counts, and what an error tells."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loopwatch.errors import ConfigError
from loopwatch.settings import Settings, nearest, settings_for


def project(folder: Path, text: str) -> Path:
    path = folder / "pyproject.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_later_places_count(tmp_path: Path) -> None:
    project(tmp_path, '[tool.loopwatch]\nthreshold = "20ms"\ninterval = "2ms"\ndir = "there"\n')
    inside = tmp_path / "a" / "b"
    inside.mkdir(parents=True)
    environment = {"LOOPWATCH_INTERVAL": "3ms", "LOOPWATCH_DIR": "elsewhere", "LOOPWATCH": "1", "LOOPWATCH_LOG": ""}
    found = settings_for(str(inside), environment, {"dir": "here", "headers": None})
    assert found == Settings(threshold=0.020, interval=0.003, dir="here")


def test_nearest_project_only(tmp_path: Path) -> None:
    project(tmp_path, '[tool.loopwatch]\nthreshold = "20ms"\n')
    (tmp_path / "a").mkdir()
    project(tmp_path / "a", "[tool.other]\nthreshold = 5\n")
    assert settings_for(str(tmp_path / "a"), {}, {}) == Settings()


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("threshold = 25", {"threshold": 0.025}),
        ("threshold = 0.5", {"threshold": 0.0005}),
        ("headers = true", {"headers": True}),
        ('app = ["one", "two.three"]', {"app": ("one", "two.three")}),
        ("log = false", {"log": False}),
        ('recording_size = "1.5GB"', {"recording_size": 3 << 29}),
        ("recording_size = 2000000", {"recording_size": 2_000_000}),
        ("log_rate = 3\nrecordings = 1", {"log_rate": 3, "recordings": 1}),
    ],
)
def test_toml(tmp_path: Path, toml: str, expected: dict[str, Any]) -> None:
    project(tmp_path, f"[tool.loopwatch]\n{toml}\n")
    assert settings_for(str(tmp_path), {}, {}) == dataclasses.replace(Settings(), **expected)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"APP": "one, two"}, {"app": ("one", "two")}),
        ({"HEADERS": "1", "QUIET": "off", "LOG": "yes"}, {"headers": True, "log": True}),
        ({"STACK_DEPTH": "16"}, {"stack_depth": 16}),
        ({"RECORDING_SIZE": "64mb", "STACKS": "9"}, {"recording_size": 64 << 20, "stacks": 9}),
        ({"RECORD": "/x", "VERSION": "0", "POLL": "uv", "SELFTEST": "fail"}, {}),  # our own
    ],
)
def test_variables(variables: dict[str, str], expected: dict[str, Any]) -> None:
    environment = {f"LOOPWATCH_{name}": value for name, value in variables.items()}
    assert Settings().with_environment(environment) == dataclasses.replace(Settings(), **expected)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("treshold = 5", "did you mean threshold"),
        ("max-size = 5", "did you mean recording_size"),
        ("zzz = 5", "there is no such setting; did you mean "),
        ("threshold = true", "threshold: "),
        ('threshold = "soon"', "threshold: 'soon' is not a duration"),
        ("threshold = 0", "threshold: a threshold of 0 s means nothing"),
        ("headers = 1", "headers: 1 is neither true nor false"),
        ("app = 5", "app: 5 is no list of packages"),
        ('app = ["a b"]', "app: 'a b' is no name of a package"),
        ("log_rate = 0", "log_rate: 0 is no number from 1 on"),
        ("log_rate = true", "log_rate: true is no number"),
        ("threshold = -3", "threshold: -3 is not a duration; write 10ms"),
        ("threshold = -2.5", "threshold: -2.5 is not a duration"),
        ("threshold = inf", "threshold: inf is not a duration"),
        ("threshold = nan", "threshold: nan is not a duration"),
        (f"threshold = 1{'0' * 400}", " is not a duration"),
        ("threshold = true", "threshold: true is not a duration"),
        ("threshold = {a = 1}", "threshold: {a = 1} is not a duration"),
        ('threshold = {"a b" = [true, "x"]}', "threshold: {'a b' = [true, 'x']} is not a duration"),
        ("threshold = 2026-01-01", "threshold: 2026-01-01 is not a duration"),
        ("dir = {a.b = false}", "dir: {a = {b = false}} is no path"),
        ("app = [[1, 2]]", "app: [1, 2] is no name of a package"),
        ("recording_size = true", "recording_size: true is no size"),
        (f"recording_size = '{'9' * 400}'", "recording_size: "),
        ('recording_size = "5 apples"', "recording_size: '5 apples' is no size"),
        ('recording_size = "1k"', "recording_size: a recording of 1k holds nothing"),
        ("dir = 5", "dir: 5 is no path"),
        ("requests = 20000", "requests: 20000 requests are too many; write 16384 or less"),
        ("stack_depth = 15", "stack_depth: a stack of 15 frames is none to keep; write 16 to 8192"),
        ("stack_depth = 8193", "stack_depth: a stack of 8193 frames is none to keep"),
        ("[tool.loopwatch.more]\nx = 1", "more: there is no such setting"),
    ],
)
def test_errors(tmp_path: Path, toml: str, message: str) -> None:
    path = project(tmp_path, f"[tool.loopwatch]\n{toml}\n")
    with pytest.raises(ConfigError) as caught:
        settings_for(str(tmp_path), {}, {})
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[tool", '[tool]\nloopwatch = "x"\n', "tool = 5", "tool = []"])
def test_files_that_make_no_sense(tmp_path: Path, text: str) -> None:
    path = project(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        settings_for(str(tmp_path), {}, {})
    assert str(path) in str(caught.value)


def test_unknown_variable() -> None:
    with pytest.raises(ConfigError, match="LOOPWATCH_TRESHOLD: there is no such setting; did you mean LOOPWATCH_THRE"):
        Settings().with_environment({"LOOPWATCH_TRESHOLD": "5"})


@given(st.text(max_size=20))
def test_any_name_has_a_nearest(name: str) -> None:
    assert nearest(name) in {field.name for field in dataclasses.fields(Settings)}


def test_what_the_watched_process_is_told() -> None:
    settings = Settings(threshold=0.02, app=("one", "two"), log=False, headers=True, log_every=0.5, stacks=7, dir="x")
    before = {"PATH": "/bin", "LOOPWATCH_LOG": "1", "LOOPWATCH_RECORDINGS": "3", "LOOPWATCH_POLL": "uv"}
    environment = settings.into(before)
    assert {"LOOPWATCH_DIR", "LOOPWATCH_RECORDINGS", "LOOPWATCH_LOG_RATE"}.isdisjoint(environment)
    assert (environment["PATH"], environment["LOOPWATCH_POLL"]) == ("/bin", "uv")
    assert Settings().with_environment(environment) == dataclasses.replace(settings, dir=Settings().dir)
