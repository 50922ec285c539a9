"""`loopwatch doctor` on this machine, and on machines that lack something."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import sysconfig
from pathlib import Path

import pytest

from loopwatch import _core
from loopwatch.cli import checks, main
from tests.integration.project import LOOPWATCH, Project


def doctor(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str], str]:
    """The status, the lines by their subjects, and what stands on stderr."""
    with pytest.raises(SystemExit) as ended:
        main.main(["doctor"])
    out, err = capsys.readouterr()
    subjects = {}
    for line in out.splitlines():
        verdict, subject, text = line[:6].strip(), *line[8:].split("  ", 1)
        subjects[subject.strip()] = f"{verdict}: {text.strip()}"
    status = ended.value.code
    assert isinstance(status, int)
    return status, subjects, err


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LOOPWATCH", raising=False)


def test_here(project: Project) -> None:
    done = project.loopwatch("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "broken" not in done.stdout
    assert f"CPython {'.'.join(map(str, sys.version_info[:3]))}" in lines[0]
    assert any(line.startswith("ok      self-test: stacks") for line in lines)
    assert not (project.folder / ".loopwatch").exists()


def test_self_test_fails(project: Project) -> None:
    done = project.loopwatch("doctor", LOOPWATCH_SELFTEST="fail")
    assert done.returncode == 2
    assert "broken  self-test: stacks" in done.stdout
    assert "no stacks, so no lines" in done.stdout
    assert done.stderr.startswith("loopwatch: this Python cannot be watched (self-test: stacks: ")
    assert "; " in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_terminal(project: Project) -> None:
    from tests.integration.terminals import terminal

    environment = {**project.environment, "TERM": "xterm", "COLUMNS": "60"}
    environment.pop("NO_COLOR", None)
    with terminal([*LOOPWATCH, "doctor"], project.folder, environment) as screen:
        assert screen.wait() == 0
        assert "\x1b[32mok\x1b[0m" in screen.seen
    with terminal([*LOOPWATCH, "doctor"], project.folder, {**environment, "NO_COLOR": "1"}) as screen:
        assert screen.wait() == 0
        assert "\x1b[32m" not in screen.seen


def test_extension_is_missing(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "loopwatch._core", None)
    status, lines, err = doctor(capsys)
    assert status == 2
    assert lines["extension"].startswith("broken: cannot be imported: ")
    assert lines["extension"].endswith("→ nothing can be watched")
    assert "asyncio" not in lines
    assert err.startswith("loopwatch: this Python cannot be watched (extension: ")


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("slot", "ok: its poll is seen at its system call, through the import slot"),
        ("select", "less: its poll is seen at its selector → 0.2 µs more an iteration, and the wait for the GIL"),
        ("uv", "less: its poll is seen at libuv's own handles → up to 50 ns more an iteration"),
        ("context", "less: its poll is seen at its contexts alone → durations are only as exact as the samples"),
    ],
)
def test_ways_to_see_a_poll(
    way: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_core, "poll_support", lambda: {"asyncio": way})
    status, lines, err = doctor(capsys)
    assert (status, err) == (0, "")
    assert lines["asyncio"].startswith(expected)


def test_callbacks_cannot_be_counted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(_core, "self_test", lambda: {"stacks": "", "callbacks": "it moved by 3"})
    status, lines, _ = doctor(capsys)
    assert status == 2
    assert lines["self-test: stacks"] == "ok: passed"
    assert lines["self-test: callbacks"] == "broken: it moved by 3 → callbacks cannot be counted"


def test_other_interpreter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(platform, "python_implementation", lambda: "PyPy")
    status, lines, _ = doctor(capsys)
    assert status == 2
    assert lines["Python"].startswith("broken: PyPy ")


def test_free_threaded(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = sysconfig.get_config_var
    monkeypatch.setattr(sysconfig, "get_config_var", lambda name: name == "Py_GIL_DISABLED" or real(name))
    status, lines, _ = doctor(capsys)
    assert status == 2
    assert lines["Python"].endswith("free-threaded → loopwatch needs a Python that has the GIL")


def test_no_uvloop(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "uvloop", None)
    monkeypatch.setitem(sys.modules, "uvloop.loop", None)
    _, lines, _ = doctor(capsys)
    assert lines["uvloop"] == "ok: not installed"


def test_children_are_not_reached(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checks, "watched_environment", lambda base, *_: dict(base))
    status, lines, _ = doctor(capsys)
    assert status == 0
    assert lines["loopwatch run"].startswith("less: a child of this Python does not import the bootstrap → ")


def test_nowhere_to_write(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1 << 20))
    status, lines, _ = doctor(capsys)
    assert status == 0
    assert lines["recordings"].startswith("less: ")
    assert (
        lines["disk"] == "less: 0.0 GiB free → a process may record 256 MiB; what does not fit is dropped and counted"
    )


@pytest.mark.parametrize(
    ("variables", "toml", "message", "hint"),
    [
        ({"LOOPWATCH_THRESHOLD": "abc"}, "", "LOOPWATCH_THRESHOLD: 'abc' is not a duration", "write 10ms, "),
        ({"LOOPWATCH": "maybe"}, "", "LOOPWATCH: 'maybe' is neither on nor off", "write 0, "),
        ({}, "[tool.loopwatch]\nthreshhold = 5", "threshhold: there is no such setting", "did you mean threshold"),
        ({}, "tool = 5", "pyproject.toml: tool is no table", "write [tool.loopwatch]"),
    ],
)
def test_configuration(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    variables: dict[str, str],
    toml: str,
    message: str,
    hint: str,
) -> None:
    status, lines, _ = doctor(capsys)
    assert (status, lines["configuration"]) == (0, "ok: every setting has a meaning")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    Path("pyproject.toml").write_text(toml, encoding="utf-8")
    status, lines, err = doctor(capsys)
    assert status == 2
    assert lines["configuration"].startswith("broken: ")
    assert f"{message} → {hint}" in lines["configuration"]
    assert lines["recordings"].startswith("ok")
    assert f"{message}; {hint}" in err
    assert "this Python" not in err
    assert err.count("\n") == 1


def test_the_folder_and_the_size_that_are_set(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path.cwd() / "file").touch()
    for folder, place, verdict in (
        ("new/deep", Path.cwd(), "ok"),
        ("file/deep", Path.cwd() / "file", "less"),
        ("/", Path("/"), "ok" if os.access("/", os.W_OK) else "less"),
    ):
        monkeypatch.setenv("LOOPWATCH_DIR", folder)
        _, lines, _ = doctor(capsys)
        assert lines["recordings"].startswith(f"{verdict}: {place} can")
    assert lines["disk"].startswith("ok: ")
    monkeypatch.setenv("LOOPWATCH_RECORDING_SIZE", "900000GB")
    _, lines, _ = doctor(capsys)
    assert " → a process may record 921600000 MiB; " in lines["disk"]


@pytest.mark.parametrize("word", ["0", "off"])
def test_switched_off(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str) -> None:
    monkeypatch.setenv("LOOPWATCH", word)
    status, lines, _ = doctor(capsys)
    assert status == 0
    assert lines["LOOPWATCH"] == f"less: is {word} → everything is switched off"
    assert lines["loopwatch run"].startswith("ok")
