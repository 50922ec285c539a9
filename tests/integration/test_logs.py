"""Log lines of real programs: under `loopwatch run`, after `start()`, in forked children, and with bad handlers."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.integration.project import STALL, Project
from tests.integration.watched_program import run_program

LINE = "event loop blocked for "
LOGGED: dict[str, Any] = {"LOOPWATCH_LOG": "1", "LOOPWATCH_LOG_EVERY": "0"}


def run_logged(folder: Path, body: str, **variables: str) -> list[str]:
    """The lines of a program with `body`, its own and those of the log."""
    output, _ = run_program(folder, textwrap.dedent(body), **{**LOGGED, **variables})
    return output.splitlines()


def logged(lines: list[str]) -> list[str]:
    return [line for line in lines if LINE in line]


@pytest.mark.parametrize(("option", "lines"), [("--log", 1), ("--threshold=10ms", 0)])
def test_run(project: Project, option: str, lines: int) -> None:
    project.write("app.py", STALL + "asyncio.run(stall())\n")
    done = project.loopwatch("run", option, "app.py")
    found = logged(done.stderr.splitlines())
    assert sum("app.py:4 block" in line for line in found) == lines
    assert bool(found) == bool(lines)  # a busy machine may make a stall of its own
    assert not done.stdout


def test_configured(project: Project) -> None:
    project.write("pyproject.toml", "[tool.loopwatch]\nlog = true\nquiet = true\n")
    project.write("app.py", STALL + "asyncio.run(stall())\n")
    done = project.loopwatch("run", "app.py")
    assert LINE in done.stderr
    assert "Next:" not in done.stderr


def test_misspelt(project: Project) -> None:
    project.write("pyproject.toml", "[tool.loopwatch]\nlogs = true\n")
    done = project.loopwatch("run", "app.py")
    assert done.returncode == 2
    assert "did you mean log" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_start_logs(tmp_path: Path) -> None:
    """Without any other way to hear of stalls, and on a thread of its own."""
    output, _ = run_program(
        tmp_path,
        """
        import logging
        logging.basicConfig(format="%(threadName)s %(levelname)s %(stall_line)s %(stall_cause)s %(message)s")
        loopwatch.start()
        run(blocking())
        loopwatch.stop()
        """,
        LOOPWATCH_LOG="",
    )
    [line] = logged(output.splitlines())
    assert line.startswith("loopwatch WARNING 11 ")


def test_start_without(tmp_path: Path) -> None:
    body = "loopwatch.start(log=False)\nrun(blocking())\nloopwatch.stop()\nprint(threading.active_count())"
    assert run_logged(tmp_path, body) == ["1"]


def test_switched_off(tmp_path: Path) -> None:
    output, _ = run_program(
        tmp_path,
        """
        loopwatch.start(record="rec", on_stall=print)
        with loopwatch.watching() as watch:
            run(blocking())
        loopwatch.stop()
        print(watch.stalls, os.path.exists("rec"))
        """,
        LOOPWATCH="0",
        **LOGGED,
    )
    assert output == "[] False\n"


def test_misspelt_variable(tmp_path: Path) -> None:
    output, _ = run_program(tmp_path, "loopwatch.start()", status=1, LOOPWATCH_LOK="1")
    assert "did you mean LOOPWATCH_LOG" in output


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_forked_children(tmp_path: Path) -> None:
    """Such as the workers of a server, whose master was the one that began; not the children that run no loop."""
    lines = run_logged(
        tmp_path,
        """
        loopwatch.start(on_stall=lambda stall: told.append(os.getpid()))
        told = []
        run(blocking())
        while not told:
            time.sleep(0.001)
        for number in range(3):
            if not os.fork():
                before = len(told)
                if number < 2:
                    run(blocking())
                    time.sleep(0.5)
                print("threads", threading.active_count(), len(told) - before, flush=True)
                os._exit(0)
            os.wait()
        loopwatch.stop()
        """,
    )
    assert sum(bool(re.search(r"program\.py:\d+ block\b", line)) for line in logged(lines)) == 3
    assert [line for line in lines if "threads" in line] == ["threads 2 0", "threads 2 0", "threads 1 0"]


@pytest.mark.parametrize("failing", ["raise ValueError(record.stall_line)", "over.wait(20)"])
def test_bad_handlers(tmp_path: Path, failing: str) -> None:
    """They cost neither the loop, nor who else is told, nor the end of the program."""
    lines = run_logged(
        tmp_path,
        f"""
        import logging
        class Bad(logging.Handler):
            def emit(self, record):
                entered.set()
                {failing}

        entered, over = threading.Event(), threading.Event()
        logging.getLogger("loopwatch").addHandler(Bad())
        loopwatch.start()
        with loopwatch.watching() as watch:
            run(blocking())
            assert entered.wait(10)
            begin = time.monotonic()
            run(blocking())
            took = time.monotonic() - begin
            over.set()
        print(sum(stall.duration >= 0.05 for stall in watch.stalls) >= 2, took < 5)
        """,
    )
    assert "True True" in lines


def test_handler_with_a_loop(tmp_path: Path) -> None:
    """A stall of a loop that a handler itself runs is not told: it would never end."""
    lines = run_logged(
        tmp_path,
        """
        import logging
        class Posting(logging.Handler):
            def emit(self, record):
                posted.append(record)
                asyncio.run(blocking())

        posted = []
        logging.getLogger("loopwatch").addHandler(Posting())
        logging.getLogger("loopwatch").propagate = False
        loopwatch.start()
        run(blocking())
        time.sleep(1)
        loopwatch.stop()
        print(len(posted))
        """,
    )
    assert lines == ["1"]


def test_structured(project: Project) -> None:
    """What a program's own JSON formatter gets, of a request."""
    project.write(
        "app.py",
        """
        import asyncio, json, logging, time
        from loopwatch import LoopwatchMiddleware

        class Json(logging.Formatter):
            def format(self, record):
                return json.dumps({key: value for key, value in vars(record).items() if key.startswith("stall")})

        handler = logging.StreamHandler()
        handler.setFormatter(Json())
        logging.getLogger("loopwatch").addHandler(handler)

        class Route:
            path_format, endpoint = "/items/{item}", print

        async def app(scope, receive, send):
            scope["route"], scope["endpoint"] = Route, Route.endpoint
            time.sleep(0.03)
            await send({"type": "http.response.start", "status": 200, "headers": []})

        async def send(message): ...
        async def main():
            scope = {"type": "http", "method": "GET", "path": "/items/s3cr3t", "headers": []}
            await asyncio.create_task(LoopwatchMiddleware(app)(scope, None, send))
            await asyncio.sleep(0.01)
        asyncio.run(main())
        """,
    )
    done = project.loopwatch("run", "-q", "--log", "app.py")
    [said] = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert said["stall_endpoint"] == "GET /items/{item}"
    assert said["stall_ms"] >= 29
    assert (said["stall_file"], said["stall_requests_delayed"]) == ("app.py", 0)
    assert "s3cr3t" not in done.stderr


def test_nothing_more_is_imported(project: Project) -> None:
    project.write("app.py", "import asyncio, sys\nasyncio.run(asyncio.sleep(0))\nprint(*sys.modules)\n")
    without = set(project.run([sys.executable, "app.py"]).stdout.split())
    for option in ("--threshold=10ms", "--log"):
        more = set(project.loopwatch("run", "-q", option, "app.py").stdout.split()) - without
        foreign = {name.split(".")[0] for name in more} - sys.stdlib_module_names
        assert {name for name in foreign if "cython" not in name} <= {"loopwatch", "sitecustomize"}


SHOWN = """
    import logging
    logging.basicConfig(format="%(stall_function)s %(stall_suppressed)s %(message)s", stream=sys.stdout)
    loopwatch.start()
    async def many():
        for _ in range(5):
            await blocking()
"""


def test_untold_are_told_later(tmp_path: Path) -> None:
    """With no further stall, while the program does nothing; and that wakes it no more afterwards."""
    lines = run_logged(
        tmp_path,
        SHOWN
        + """
    run(many())
    time.sleep(2.5)
    print("idle", flush=True)
    from loopwatch import _core
    wait, waits = _core.wait, []
    _core.wait = lambda seconds: waits.append(seconds) or wait(seconds)
    run(blocking())
    time.sleep(0.3)
    print("waited", [seconds > 100 for seconds in waits][-1:], flush=True)
    os._exit(0)
    """,
        LOOPWATCH_LOG_EVERY="1s",
    )
    told = [line for line in lines[: lines.index("idle")] if line.startswith("block")]
    assert [line.split()[1] for line in told] == ["0", "3"]
    assert "3 times more here since the last line" in told[1]
    assert lines[-1] == "waited [True]"


@pytest.mark.parametrize("end", ["loopwatch.stop(); print('end')", "sys.stdout.flush()"])
def test_untold_are_told_at_the_end(tmp_path: Path, end: str) -> None:
    """Of `stop()`, and of the program."""
    lines = run_logged(tmp_path, SHOWN + f"    run(many())\n    {end}\n", LOOPWATCH_LOG_EVERY="1min")
    told = [line.split()[1] for line in lines if line.startswith("block")]
    assert told == ["0", "3"]
