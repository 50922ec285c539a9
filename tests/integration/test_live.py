"""`loopwatch live` in a terminal: it follows a process that is completely stuck, and ends as it is told to."""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path

import pytest
from rich.text import Text

from loopwatch.analysis.follow import Follower
from loopwatch.recording import find_recordings
from loopwatch.report import Options
from loopwatch.report.live import Pulse, live_view
from tests.integration.project import Project
from tests.integration.terminals import CTRL_C, terminal
from tests.unit.project import make_service

STUCK = """
import asyncio, time

async def main():
    for _ in range(3):
        time.sleep(0.05)
        await asyncio.sleep(0.01)
    print("stuck", flush=True)
    hang()

def hang():
    time.sleep(600)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pty")
def test_it_shows_a_stuck_process_and_ctrl_c_ends_it(project: Project) -> None:
    (project.folder / "app.py").write_text(STUCK)
    watched = project.start("run", "-q", sys.executable, "app.py")
    assert watched.stdout
    assert watched.stdout.readline().strip() == "stuck"
    command = [sys.executable, "-m", "loopwatch", "live", "--every", "100ms"]
    with terminal(command, project.folder, {**project.environment, "TERM": "xterm-256color"}) as screen:
        screen.resize(24, 80)
        screen.read_until("STALLED")
        shown = screen.read_until("Ctrl-C ends")
        assert "answered nobody" in shown
        assert "time.sleep(600)" in shown
        assert "hang" in shown
        screen.type(CTRL_C)
        assert screen.wait() == 0
        assert "\x1b[?1049l" in screen.seen  # the screen from before is back
        assert "\x1b[?25h" in screen.seen.split("\x1b[?1049h")[1]  # and so is the cursor
        assert "Traceback" not in screen.seen


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pty")
def test_no_name_of_a_file_steers_the_terminal(project: Project) -> None:
    folder = project.folder / "red\x1b[41m"
    folder.mkdir()
    (folder / "notes.jsonl").touch()
    command = [sys.executable, "-m", "loopwatch", "live", folder.name]
    with terminal(command, project.folder, {**project.environment, "TERM": "xterm-256color"}) as screen:
        screen.resize(24, 200)
        screen.read_until(r"red\x1b[41m")
        screen.type(CTRL_C)
        assert screen.wait() == 0
        assert "\x1b[41m" not in screen.seen


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pty")
def test_by_pid_and_without_a_terminal(project: Project) -> None:
    (project.folder / "app.py").write_text(STUCK)
    watched = project.start("run", "-q", sys.executable, "app.py")
    assert watched.stdout
    watched.stdout.readline()
    (file,) = project.wait_for(lambda: list(project.folder.glob(".loopwatch/*/*.jsonl")))
    pid = file.name.split("-")[0]
    deadline = time.monotonic() + 20
    while True:
        done = project.loopwatch("live", pid)
        assert (done.returncode, done.stderr) == (0, "")
        if "STALLED" in done.stdout or time.monotonic() > deadline:
            break
    assert f"pid {pid} has answered nobody for" in done.stdout
    assert "\x1b" not in done.stdout
    missing = project.loopwatch("live", "1")
    assert missing.returncode == 2
    assert missing.stderr.count("\n") == 1
    assert "no recording in .loopwatch/ here is of process 1" in missing.stderr


def view(folder: Path, width: int, height: int) -> list[Text]:
    follower = Follower(find_recordings([folder]), alive=lambda _: True)
    follower.update()
    return live_view(follower.run(), follower.running(), Pulse(), Options(), width, height)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (40, 10), (20, 5), (200, 60)])
def test_it_fits_the_window(tmp_path: Path, width: int, height: int) -> None:
    builder = make_service(tmp_path)
    builder.lines = [line for line in builder.lines if '"t": "end"' not in line]
    stack = builder.stack(*[(f"/srv/app/{'x' * 70}.py", f"deep_{n}", n) for n in range(40)])
    builder.stall(9900, 50_000, (stack, 400), t="open")
    builder.write(tmp_path / ".loopwatch/20261122T140000Z-4711")
    lines = view(tmp_path, width, height)
    assert len(lines) <= height
    assert all(line.cell_len <= width for line in lines)
    text = "\n".join(line.plain for line in lines)
    if width >= 80:
        assert "■ STALLED pid 4711 has answered nobody for" in text
        assert "▶" in text
        assert re.search(r"main\.py:12 predict +906 ms +3 +303 ms", text)
        assert re.search(r"GET /predict/\{id\} +906 ms +3", text)
