"""The command line: what it prints where, with which status, and how it ends on bad input."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import loopwatch
from loopwatch.cli import COMMANDS, main
from loopwatch.cli.group import Commands
from tests.unit.project import make_causes, make_project, make_service
from tests.unit.recordings import RecordingBuilder

SOURCE = Path(loopwatch.__file__).parents[1]
# click before 8.2 has to be asked to keep standard error apart, later ones cannot be.
APART: dict[str, Any] = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    make_project(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*args: str) -> Result:
    result = CliRunner(**APART).invoke(main, args)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def error(*args: str) -> str:
    """The one line that a command ends with when it is told nonsense."""
    result = run(*args)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("loopwatch: ")
    return line.removeprefix("loopwatch: ")


def test_report_is_text_on_standard_output(project: Path) -> None:
    result = run("report")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("loopwatch · uvicorn app:app · 10.0 s · threshold 10 ms\n")
    assert "▶ 6 │     result = heavy_model.predict" in result.stdout


def test_formats_and_files(project: Path) -> None:
    assert json.loads(run("report", "-f", "json").stdout)["schema"] == "loopwatch-report/1"
    assert json.loads(run("report", "-f", "json", "-o", "-").stdout)["schema"] == "loopwatch-report/1"
    for name in ("a.json", "A.JSON"):
        assert run("report", "-o", name).stdout == ""
        assert json.loads((project / name).read_text())["schema"] == "loopwatch-report/1"
    assert run("report", "-o", "a.txt").exit_code == 0
    assert "▶ 6 │" in (project / "a.txt").read_text(encoding="utf-8")
    assert run("report", "-o", "odd.name", "-f", "text").exit_code == 0
    assert sorted(path.name for path in project.iterdir() if "a.json" in path.name.lower()) == ["A.JSON", "a.json"]
    assert (project / "a.json").stat().st_mode & 0o777 == 0o666 & ~umask()


def test_a_file_that_is_there_keeps_its_mode(project: Path) -> None:
    (project / "a.json").write_text("old")
    (project / "a.json").chmod(0o640)
    assert run("report", "-o", "a.json").exit_code == 0
    assert (project / "a.json").read_text().startswith("{")
    assert (project / "a.json").stat().st_mode & 0o777 == 0o640


@pytest.mark.skipif(os.name != "posix", reason="POSIX")
def test_a_link_stays_one(project: Path) -> None:
    (project / "runs").mkdir()
    (project / "latest.html").symlink_to("runs/7.html")
    for _ in range(2):  # what it points to is made, then written over
        assert run("report", "-o", "latest.html").exit_code == 0
        assert (project / "latest.html").readlink() == Path("runs/7.html")
        assert "</html>" in (project / "runs/7.html").read_text(encoding="utf-8")
    assert [path.name for path in (project / "runs").iterdir()] == ["7.html"]


@pytest.mark.skipif(not Path("/proc/self/fd/1").exists(), reason="needs /proc")
def test_standard_output_by_name_is_left_where_it_is(project: Path) -> None:
    """By a link like /dev/stdout, which itself shall not be at stake here: root may replace it."""
    (project / "stdout").symlink_to("/proc/self/fd/1")
    with (project / "out").open("wb") as out:
        before = os.fstat(out.fileno()).st_ino
        command = [sys.executable, "-m", "loopwatch", "report", "-f", "json", "-o", "stdout"]
        child = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(SOURCE)}, stdout=out)
    assert child.returncode == 0
    assert (project / "stdout").is_symlink()
    assert (project / "out").stat().st_ino == before
    assert json.loads((project / "out").read_text())["schema"] == "loopwatch-report/1"


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_runs_by_name(project: Path) -> None:
    (recording,) = (project / ".loopwatch").iterdir()
    (file,) = recording.glob("*.jsonl")
    whole = run("report", "-f", "json").stdout
    for name in (recording.name, str(recording), ".loopwatch"):
        assert run("report", "-f", "json", name).stdout == whole
    assert json.loads(run("report", "-f", "json", str(file)).stdout)["sites"] == json.loads(whole)["sites"]


def test_selections(project: Path) -> None:
    def stalls(*args: str) -> int:
        return int(json.loads(run("report", "-f", "json", *args).stdout)["totals"]["stalls"])

    assert stalls() == 57
    assert stalls("--min", "45ms") == 20
    assert stalls("--min", "45") == 20
    assert stalls("--since", "2026-11-22T14:00:05Z") == 12
    assert stalls("--until", "2026-11-22T15:00:05+01:00") == 46
    assert stalls("--since", "2026-11-22T14:00:05Z", "--until", "2026-11-22T14:00:06Z") == 10
    assert stalls("--until", "100d") in (0, 57)
    assert "│" not in run("report", "--no-source").stdout
    assert "asyncio/events.py:88 Handle._run" in run("report", "--all-frames").stdout


def test_max_stall_decides_the_status(project: Path) -> None:
    assert run("report", "--max-stall", "48ms").exit_code == 0
    result = run("report", "--max-stall", "47")
    assert result.exit_code == 1
    assert result.stderr == "loopwatch: the longest stall took 48 ms, more than 47 ms\n"
    assert "predict" in result.stdout
    # Those that are allowed do not count.
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(0, 900, allowed=True)
    builder.write(project / "allowed")
    assert run("report", "--max-stall", "10ms", "allowed").exit_code == 0


def test_max_stall_is_about_serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_service(tmp_path)  # 840 ms at start, 303 ms while serving, 700 ms at shutdown
    monkeypatch.chdir(tmp_path)
    assert run("report", "--max-stall", "303ms").exit_code == 0
    result = run("report", "--max-stall", "300ms")
    assert (result.exit_code, result.stderr) == (1, "loopwatch: the longest stall took 303 ms, more than 300 ms\n")
    assert run("report", "--max-stall", "300ms", "--endpoint", "POST /*").exit_code == 0


def test_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_service(tmp_path)
    monkeypatch.chdir(tmp_path)

    def stalls(*args: str) -> int:
        result = run("report", "-f", "json", *args)
        assert (result.exit_code, result.stderr) == (0, "")
        return int(json.loads(result.stdout)["totals"]["stalls"])

    assert stalls("--endpoint", "GET /predict/*") == 3
    assert stalls("--endpoint", "*") == 7  # those whose endpoint is known
    assert stalls("--endpoint", "POST /a") == 2
    assert stalls("--endpoint", "POST /a", "--min", "25ms") == 1
    assert stalls("--endpoint", "* /[bc]") == 2
    result = run("report", "--endpoint", "get /predict/*")
    assert result.exit_code == 0
    assert "No stall was found in what was asked for" in result.stdout
    assert result.stderr == (
        "loopwatch: no endpoint like 'get /predict/*' caused a stall; "
        "those that did are GET /predict/{id}, POST /a, POST /b, POST /c\n"
    )


def test_endpoint_where_none_is_known(project: Path) -> None:
    result = run("report", "--endpoint", "GET /x")
    assert result.exit_code == 0
    assert result.stderr == "loopwatch: no endpoint like 'GET /x' caused a stall; nor is any other known to have\n"


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["reprot"], "there is no command 'reprot'; did you mean: loopwatch report"),
        (["frobnicate"], "there is no command 'frobnicate'; there are: run, attach, report,"),
        (["--wat"], "there is no option --wat; see: loopwatch --help"),
        (["report", "--formt", "json"], "there is no option --formt; did you mean --format"),
        (["report", "-f", "pdf"], "see: loopwatch report --help"),
        (["report", "nope"], "there is no recording at nope; the newest one here is: loopwatch report .loopwatch/2026"),
        (["report", "main.py"], "main.py is not a loopwatch recording; name the folder of a run"),
        (["report", "--min", "abc"], "--min: 'abc' is not a duration; write 10ms, 1.5s"),
        (["report", "--max-stall", "-1"], "--max-stall: '-1' is not a duration"),
        (["report", "--since", "then"], "--since: 'then' is not a time; write 2026-11-22T14:00"),
        (["report", "--since", "9999999d"], "--since: '9999999d' is not a time; write 2026-11-22T14:00"),
        (["report", "--until", f"{'9' * 400}h"], "is not a time; write 2026-11-22T14:00"),
        (["report", "-o", "x.doc"], "no format belongs to the suffix of x.doc; name it .txt, .json"),
        (["report", "-o", "no/where.json"], "no/where.json cannot be written: No such file or directory"),
        (["report", "-o", "."], "no format belongs to the suffix of ."),
        (["report", "-f", "json", "-o", "."], ". cannot be written: Is a directory"),
        (["report", "--min"], "option '--min' requires an argument; see: loopwatch report --help"),
        (["report", "--endpoint"], "option '--endpoint' requires an argument; see: loopwatch report --help"),
        (["report", "--no-source=1"], "option '--no-source' does not take a value; see: loopwatch report --help"),
        (["run", "--threshold"], "option '--threshold' requires an argument; see: loopwatch run --help"),
        (["attach"], "missing argument 'PID'; see: loopwatch attach --help"),
        (["report", "x\ny"], "there is no recording at x y"),
        (["report", "\x1b[31m\udcff"], r"there is no recording at \x1b[31m\xdcff; "),
    ],
)
def test_bad_input_ends_as_one_line_that_says_what_to_type_next(project: Path, args: list[str], expected: str) -> None:
    assert expected in error(*args)


def test_no_recording_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert error("report") == "there is no recording in .loopwatch/ here; record one first: loopwatch run COMMAND"


def test_help_and_version() -> None:
    assert run("--version").stdout == f"loopwatch {loopwatch.__version__}\n"
    for args in ([], ["--help"], ["-h"]):
        result = run(*args)
        assert result.exit_code == 0
        assert all(name in result.stdout for name in COMMANDS)
    assert "--max-stall" in run("report", "--help").stdout


def test_commands_are_loaded_when_they_are_asked_for() -> None:
    group = Commands({"gone": ("loopwatch.cli.no_such_module", "Is not there.")}, name="loopwatch")
    assert "Is not there." in CliRunner(**APART).invoke(group, ["--help"]).stdout
    result = CliRunner(**APART).invoke(group, ["gone"])
    assert result.exit_code == 2
    assert result.stderr == "loopwatch: loopwatch.cli.no_such_module is not installed here; pip install -U loopwatch\n"


@pytest.mark.parametrize(
    ("raised", "status", "stderr"),
    [
        (KeyboardInterrupt(), 130, "\n"),
        (click.Abort(), 130, ""),
        (click.exceptions.Exit(7), 7, ""),
        (SystemExit(137), 137, ""),
        (
            OSError(28, "No space left on device", "x"),
            2,
            "loopwatch: x: No space left on device; see: loopwatch --help\n",
        ),
    ],
)
def test_ends_of_commands(raised: BaseException, status: int, stderr: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @click.command()
    def command() -> None:
        raise raised

    monkeypatch.setattr("loopwatch.cli.report.command", command)
    result = run("report")
    assert (result.exit_code, result.stderr) == (status, stderr)


def process(*args: str, **options: object) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "80"}
    environment.update(options.pop("env", {}))  # type: ignore[call-overload]
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [sys.executable, "-m", "loopwatch", *args],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **options,
    )


def test_as_a_process(project: Path) -> None:
    out, err = process("report").communicate()
    assert b"predict" in out
    assert b"\x1b" not in out  # no colours where there is no terminal
    assert err == b""
    child = process("report", "nope")
    out, err = child.communicate()
    assert (child.returncode, out, err.count(b"\n")) == (2, b"", 1)


def test_whoever_has_seen_enough_may_close_the_pipe(project: Path) -> None:
    for name in ("text", "json"):
        child = process("report", "-f", name, "--max-stall", "1")
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.stderr.read() == b"loopwatch: the longest stall took 48 ms, more than 1 ms\n"
        assert child.wait() == 1


def test_a_terminal_that_knows_ascii_only(project: Path) -> None:
    out, err = process("report", env={"PYTHONIOENCODING": "ascii"}).communicate()
    assert err == b""
    assert b'> 6 |     result = heavy_model.predict(features, tag="??")' in out


def test_a_report_needs_no_extension(project: Path) -> None:
    code = (
        "import sys; sys.modules['loopwatch._core'] = None\n"
        "from loopwatch.cli import main\n"
        "main(['report'], standalone_mode=False)\n"
        "assert 'loopwatch.watch' not in sys.modules and 'asyncio' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(SOURCE)}, check=False)
    assert done.returncode == 0


def test_causes_by_name(project: Path) -> None:
    make_causes(project / "why")
    result = run("report", "-f", "json", "--cause", "gil", "why")
    found = json.loads(result.stdout)
    assert {stall["cause"] for stall in found["stalls"]} == {"gil"}
    assert error("report", "--cause", "magic").startswith("invalid value for '--cause'")


def test_diff(project: Path) -> None:
    result = run("diff", ".", ".")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "4 sites stayed much the same." in result.stdout
    assert json.loads(run("diff", ".", ".", "-f", "json").stdout)["schema"] == "loopwatch-diff/1"
    assert run("diff", ".", ".", "-o", "a.txt").stdout == ""
    assert "stayed" in (project / "a.txt").read_text(encoding="utf-8")


def test_diff_of_nonsense(project: Path) -> None:
    assert error("diff", ".", "nowhere").startswith("there is no recording at nowhere; ")
    assert error("diff", ".").startswith("missing argument 'AFTER'")
    (project / "empty").mkdir()
    assert error("diff", "empty", ".").startswith("there is no recording in empty; ")
    (project / "text.jsonl").write_text("hello\n")
    assert "text.jsonl is not a loopwatch recording; " in error("diff", "text.jsonl", ".")


def test_diff_heeds_the_settings(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / ".loopwatch").rename(project / "kept")
    (folder,) = (project / "kept").iterdir()
    assert error("diff", ".", folder.name).startswith("there is no recording in .")
    monkeypatch.setenv("LOOPWATCH_DIR", "kept")
    assert run("diff", ".", folder.name).exit_code == 0
    # A change of what is own code is a change of the places, in both runs.
    monkeypatch.setenv("LOOPWATCH_APP", "sk")
    run("diff", ".", ".", "-f", "json", "-o", "a.json")
    found = json.loads((project / "a.json").read_text())
    assert "self.tree_.predict(X)" in {site["expression"] for site in found["sites"]}
