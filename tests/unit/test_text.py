"""The text report, as a person sees it."""

from __future__ import annotations

import io
import itertools
import os
from pathlib import Path

import pytest
from rich.cells import cell_len

from loopwatch.analysis.run import load
from loopwatch.analysis.selection import Selection
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter
from loopwatch.report.summary import summary
from tests.unit.project import PREDICT, START, make_causes, make_project, make_service
from tests.unit.recordings import MS, RUNNER, SECOND, UNIX, RecordingBuilder


def render(
    folder: Path,
    *,
    width: int = 80,
    alive: bool = False,
    options: Options | None = None,
    selection: Selection | None = None,
) -> str:
    run = load(find_recordings([folder]), selection, clock=lambda: START + 60, alive=lambda _: alive)
    out = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", str(width))
        reporter("text").write(run, out, options or Options())
    lines = out.getvalue().splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert [line.rstrip() for line in lines] == lines
    return "\n".join(lines) + "\n"


WHOLE = """\
loopwatch · uvicorn app:app · 10.0 s · threshold 10 ms

The loop was blocked for 2.23 s (22 %) in 57 stalls; the worst took 48 ms.

 1  main.py:6 predict        1.98 s (20 %) · 45 stalls · p50 44 ms · worst 48 ms
      5 │     features = build(payload)
    ▶ 6 │     result = heavy_model.predict(features, tag="日本")
        │              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      7 │     return {"result": result}
    └ 1 library frame → sk/tree.py:530 self.tree_.predict(X)

 2  main.py:13 crunch       200 ms (2.0 %) · 10 stalls · p50 20 ms · worst 20 ms
      12 │     for number in numbers:
    ▶ 13 │         total += number * number
         │         ^^^^^^^^^^^^^^^^^^^^^^^^
      14 │     return total

 3  uvicorn/http.py:100 H.data_received                  30 ms (0.3 %) · 1 stall
    a pile of short callbacks, 20 per stall
    none of your own code was on the stack: this is the outermost library call

 4  (no sample: the watchdog got no CPU in time, or stacks are off)
    15 ms (0.1 %) · 1 stall

Allowed (not counted above): 16 ms in main.py:13 crunch → total += number *
number

3 samples beside 2,011 good ones caught the stack changing: not used.

Next: loopwatch report -o stalls.html
"""


def test_the_whole_report(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert render(tmp_path) == WHOLE


@pytest.mark.parametrize("width", [40, 60, 200])
def test_any_width(tmp_path: Path, width: int) -> None:
    make_project(tmp_path, hung=True)
    text = render(tmp_path, width=width)
    assert "predict" in text
    assert "^^^^" in text


SILENT = " (as of its newest record, 49.0 s ago)"  # the watchdog would write every ten seconds


def test_what_hangs_right_now_comes_first(tmp_path: Path) -> None:
    make_project(tmp_path, hung=True)
    text = render(tmp_path, alive=True)
    assert text.splitlines()[0] == "loopwatch · uvicorn app:app · 60.0 s so far · threshold 10 ms"
    banner = " ".join(text.split("\n\n")[1].split())
    assert banner == f"■ STILL RUNNING pid 4711 has answered nobody for 49.9 s, in main.py:6 predict: {PREDICT}{SILENT}"
    assert "the worst took 49.9 s" in text
    assert "    1 of them still running\n" in text


SERVICE = """\
loopwatch · uvicorn app:app · 10.0 s · threshold 10 ms

The loop was blocked for 1.75 s (17 %) in 9 stalls; the worst took 700 ms,
others held up 53 requests.

 1  main.py:12 predict     906 ms (9.1 %) · 3 stalls · p50 302 ms · worst 303 ms
    GET /predict/{id} · 49 requests delayed
      11 │ async def predict(id):
    ▶ 12 │     time.sleep(0.3)
         │     ^^^^^^^^^^^^^^^

 2  main.py:8 lifespan                                  700 ms (7.0 %) · 1 stall
    while shutting down
      7 │     yield
    ▶ 8 │     app.model.close(wait=True)
        │     ^^^^^^^^^^^^^^^^^^^^^^^^^^

 3  main.py:16 audit         142 ms (1.4 %) · 5 stalls · p50 26 ms · worst 40 ms
    POST /a, POST /c + 1 more · 4 requests delayed
      15 │ def audit(user):
    ▶ 16 │     return user.check()
         │            ^^^^^^^^^^^^

Start-up (not counted above): 840 ms in main.py:6 lifespan →
joblib.load("model.bin")

Next: loopwatch report -o stalls.html
"""


def test_whose_stalls_they_were_and_who_had_to_wait(tmp_path: Path) -> None:
    make_service(tmp_path)
    assert render(tmp_path) == SERVICE


WHY = """\
The loop was blocked for 1.98 s (20 %) in 11 stalls; the worst took 400 ms.
By cause: native 1.56 s, python 226 ms, gil 116 ms, gc 60 ms and starved 18 ms.

 1  main.py:8 predict                                     1.60 s (16 %) · 4 stalls · p50 400 ms · worst 400 ms
    native, GIL held 2.1 % of the time
      7 │     features = build(payload)
    ▶ 8 │     result = heavy_model.predict(features)
        │              ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      9 │     return {"result": result}
    └ sklearn/tree/_classes.py:530 in DecisionTree.predict
    → computing belongs in a thread, since it does not need the GIL:
        result = await asyncio.to_thread(heavy_model.predict, features)

 2  work.py:3 score                                        260 ms (2.6 %) · 5 stalls · p50 70 ms · worst 70 ms
    python 70 %, garbage collection 23 %
    → Python code kept the loop busy, and no thread helps since it needs the GIL: send it to a process pool,
      or await asyncio.sleep(0) now and then; in main.py:21 score:
        return await asyncio.get_running_loop().run_in_executor(pool, work.score, item)

 3  selectors.py:468 EpollSelector.select                  120 ms (1.2 %) · 2 stalls · p50 60 ms · worst 60 ms
    waiting for the GIL
    nothing but the event loop itself was on the stack
    └ the GIL was held by thread asyncio_0 → main.py:17 dump  return "".join(str(row) for row in rows)
    → another thread held the GIL, and a thread for it is no mend: give that work to a process pool
      (ProcessPoolExecutor, or InterpreterPoolExecutor on 3.14 and later)

"""


def test_why_and_what_to_do(tmp_path: Path) -> None:
    make_causes(tmp_path)
    assert WHY in render(tmp_path, width=110)
    for width in (40, 60, 80):
        assert "to_thread" in render(tmp_path, width=width)


def test_one_cause(tmp_path: Path) -> None:
    make_causes(tmp_path)
    text = render(tmp_path, width=110, selection=Selection(cause="starved"))
    assert "blocked for 20 ms (0.2 %) in 1 stall" in text
    assert "Only stalls of cause starved are counted." in text
    assert "starved of CPU, CPU quota held it up for 16 ms" in text
    assert "raise the CPU limit" in text
    text = render(tmp_path, width=110, selection=Selection(cause="python"))
    assert "a pile" not in text  # most of the site is not
    assert "in 4 stalls" in text


def test_one_endpoint(tmp_path: Path) -> None:
    make_service(tmp_path)
    text = render(tmp_path, width=100, selection=Selection(endpoint="POST /?"))
    assert "in 4 stalls; the worst held up 1 request for up to 27 ms.\n" in text
    assert "Only stalls caused by POST /? are counted.\n" in text
    assert "Start-up" not in text
    text = render(tmp_path, width=100, selection=Selection(0.024, endpoint="POST /b"))
    assert "in 1 stall; it held up 1 request for up to 25 ms.\n" in text
    assert "Only stalls of at least 24 ms caused by POST /b are counted.\n" in text


def test_only_start_up_stalled_the_loop(tmp_path: Path) -> None:
    for pid in (1, 2):
        builder = RecordingBuilder(pid)
        builder.loop()
        builder.stall(5, 500, (builder.stack(*RUNNER, ("/srv/app/main.py", "<module>", 3)), 400))
        builder.phase("startup", 506)
        builder.stall(510, 30, (builder.stack(*RUNNER, ("/srv/app/main.py", "lifespan", 9)), 20))
        builder.phase("serving", 540)
        builder.summary(10_000, requests=5, requests_untracked=2, stalls=2, stalled_ns=530 * MS)
        builder.write(tmp_path)
    text = render(tmp_path, width=120)
    assert "No iteration reached the threshold of 10 ms but those at start-up:" in text
    assert (
        "Start-up (not counted above): 4 stalls, 1.06 s\n"
        "    main.py:3 <module> · 1.00 s · 2 stalls · worst 500 ms\n"
        "    main.py:9 lifespan · 60 ms · 2 stalls · worst 30 ms\n" in text
    )
    assert "4 requests of 10 came while too many were in flight" in text


def test_a_request_that_hangs(tmp_path: Path) -> None:
    builder = make_service(tmp_path)
    builder.request(99, "GET /loop\x1b")
    builder.stall(9900, 100, (builder.stack(*RUNNER, (str(tmp_path / "main.py"), "audit", 16)), 9), t="open")
    builder.lines[-1] = builder.lines[-1].replace('"requests": []', '"requests": [[99, 9]]')
    builder.lines = [line for line in builder.lines if '"t": "end"' not in line and '"shutdown"' not in line]
    builder.write(tmp_path / ".loopwatch/20261122T140000Z-4711")
    banner = " ".join(render(tmp_path, alive=True, width=100).split("\n\n")[1].split())
    assert "in main.py:16 audit: user.check(), for GET /loop\\x1b" in banner


def test_long_endpoints_leave_room_for_those_who_waited(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    stack = builder.stack(*RUNNER, ("/srv/app/main.py", "f", 3))
    for number in (1, 2, 3):
        builder.stall(100 * number, 20, (stack, 9), requests=[[number, 9]])
        builder.request(number, f"GET /{'very-' * 20}long/{number}")
        builder.delayed(3)
    builder.write(tmp_path)
    line = render(tmp_path).splitlines()[6]
    assert line.startswith("    GET /very-very-")
    assert line.endswith("very-… + 1 more · 9 requests delayed")


def test_what_hung_until_the_end_comes_first(tmp_path: Path) -> None:
    make_project(tmp_path, hung=True)
    banner = " ".join(render(tmp_path).split("\n\n")[1].split())
    assert banner.startswith(
        "■ NEVER ENDED pid 4711 was stuck for at least 900 ms until the process was gone, in main.py:6"
    )


def test_many_short_processes_take_few_lines(tmp_path: Path) -> None:
    """As where a program forks thousands, of which each ends in the middle of a stall."""
    for pid in range(100, 150):
        builder = RecordingBuilder(pid)
        builder.loop()
        stack = builder.stack(*RUNNER, ("/srv/app/main.py", "f", 3 if pid % 2 else 4))
        builder.stall(10, 2 * pid, (stack, 9), t="open")
        builder.write(tmp_path)
    text = render(tmp_path)
    assert "■ NEVER ENDED 25 processes were stuck, pid 149 for at least 298 ms" in text
    assert "■ NEVER ENDED 25 processes were stuck, pid 148 for at least 296 ms" in text
    assert text.count("NEVER ENDED") == 2
    shown = [line for line in text.splitlines() if line.startswith("pid 1")]
    assert [line.split()[1] for line in shown] == [str(pid) for pid in range(130, 150)]  # the worst, in their order
    assert "… and 30 more loops with 30 stalls, 6.87 s" in text


def test_all_frames(tmp_path: Path) -> None:
    make_project(tmp_path)
    text = render(tmp_path, options=Options(all_frames=True))
    assert "      asyncio/events.py:88 Handle._run\n    ▶ main.py:6 predict  heavy_model.predict(features" in text
    assert "      sk/tree.py:530 Tree.predict  self.tree_.predict(X)\n" in text


def test_no_source(tmp_path: Path) -> None:
    make_project(tmp_path)
    text = render(tmp_path, options=Options(source=False))
    assert "│" not in text
    assert "└ 1 library frame → sk/tree.py:530 in Tree.predict" in text


def test_source_that_was_changed_since(tmp_path: Path) -> None:
    make_project(tmp_path)
    os.utime(tmp_path / "main.py", (START + 1, START + 1))
    assert "this file was changed after the process had started" in render(tmp_path)


def test_only_what_was_asked_for(tmp_path: Path) -> None:
    make_project(tmp_path)
    text = render(tmp_path, selection=Selection(least=0.045))
    assert "in 20 stalls" in text
    assert "Only stalls of at least 45 ms are counted." in text
    assert "No stall was found in what was asked for" in render(tmp_path, selection=Selection(least=9))


def test_nothing_found(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.summary(10_000, iterations=48_211, busy_ns=1_170 * MS)
    builder.write(tmp_path)
    text = render(tmp_path, width=120)
    assert "No iteration reached the threshold of 10 ms: 48,211 iterations in 10.0 s, busy 12 % of the time.\n" in text


def test_processes_and_what_is_worth_knowing_about_them(tmp_path: Path) -> None:
    for pid in (11, 12):
        worker = RecordingBuilder(pid, parent_pid=10)
        worker.loop(kind="uvloop")
        worker.stall(100, 40)
        worker.summary(1000, stalls=1, stalled_ns=40 * MS)
        worker.record("dropped", records=7, at=worker.at(900))
        worker.write(tmp_path)
    RecordingBuilder(10, command=["gunicorn", "app:app"], notes=["uvloop: cannot be seen"]).write(tmp_path)
    newer = RecordingBuilder(13, schema="loopwatch-recording/2", parent_pid=10)
    newer.lines.append("garbage")
    newer.write(tmp_path)
    (tmp_path / "9-1.unwatched").write_text('{"pid": 9, "command": ["/usr/bin/python2", "x.py"], "reason": "too old"}')
    (tmp_path / f"14-{UNIX // MS}.jsonl").touch()
    (tmp_path / "log.jsonl").write_text("{}\n")
    text = render(tmp_path, width=150)
    assert "loopwatch · gunicorn app:app · 1.00 s · 5 processes · threshold 10 ms" in text
    assert "The loops were blocked for 80 ms (4.0 % of their time) in 2 stalls; the worst took 40 ms." in text
    assert "pid 11 · child · uvloop in MainThread · 1.00 s · busy 10 % · 1 stall, 40 ms\n" in text
    assert "No event loop ran in pid 10 (gunicorn app:app), pid 14 and pid 13 (uvicorn app:app)." in text
    assert "Not watched: pid 9 (x.py): too old\n" in text
    assert "Note on pid 11 and 12: 7 records could not be written (disk full or gone)." in text
    assert "Note on pid 10: uvloop: cannot be seen." in text
    assert "recorded by a newer loopwatch (loopwatch-recording/2)" in text
    assert "Note on pid 13: 1 line of its recording made no sense." in text
    assert "Note on pid 14: its recording has no header" in text
    assert "log.jsonl is not a loopwatch recording." in " ".join(text.split())


def test_no_loop_at_all(tmp_path: Path) -> None:
    RecordingBuilder(10).write(tmp_path)
    assert "No event loop ran in any of the watched processes." in render(tmp_path)


def test_nothing_in_a_recording_steers_the_terminal(tmp_path: Path) -> None:
    evil = tmp_path / "evil\x1b[2J.py"
    evil.write_text("x = '\x1b[31m'; [bold]call()[/bold]\n")
    builder = RecordingBuilder(cwd=str(tmp_path), command=["a\x1b]0;title\x07", "\u202eb", "[red]"])
    builder.loop(thread="\x1b[1m")
    builder.stall(5, 20, (builder.stack(*RUNNER, (str(evil), "f\x9b1m", 1, 1, 4, 12)), 3))
    builder.write(tmp_path)
    text = render(tmp_path)
    assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
    assert "[red]" in text
    assert "[bold]call()" in text


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(5, 20, (builder.stack(*RUNNER, ("/srv/app/caf\udce9.py", "f", 3)), 1))
    builder.write(tmp_path)
    assert "caf\\xdce9.py:3 f" in render(tmp_path)


def test_very_long_lines_show_the_expression(tmp_path: Path) -> None:
    file = tmp_path / "long.py"
    line = "x = [" + "1, " * 500 + "time.sleep(1)" + ", 2" * 500 + "]"
    file.write_text(line + "\n")
    column = line.index("time")
    builder = RecordingBuilder(cwd=str(tmp_path))
    builder.loop()
    builder.stall(5, 20, (builder.stack(*RUNNER, (str(file), "f", 1, 1, column, column + 13)), 1))
    builder.write(tmp_path)
    lines = render(tmp_path).splitlines()
    marked, underline = next((a, b) for a, b in itertools.pairwise(lines) if "▶" in a)
    begin = marked.index("time.sleep(1)")
    assert underline[begin:].rstrip() == "^" * 13
    assert underline[:begin].strip() == "│"


def test_the_rest_of_a_stall_that_is_cut(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.stall(0, 10, t="open")
    builder.stall(500, 10)
    builder.summary(1000, stalls=2, stalled_ns=60 * MS, longest_ns=50 * MS, watched_ns=SECOND)
    builder.write(tmp_path)
    text = render(tmp_path)
    assert "blocked for 60 ms (6.0 %) in 2 stalls; the worst took 50 ms." in text
    assert "40 ms (4.0 %) · the rest of other stalls" in text


def test_a_lost_stall_is_not_dropped(tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.summary(1000, stalls=2, stalled_ns=60 * MS, longest_ns=40 * MS, watched_ns=SECOND)
    builder.write(tmp_path)
    text = render(tmp_path)
    assert "blocked for 60 ms (6.0 %) in 2 stalls; the worst took 40 ms." in text
    assert "(the records of these are not in the recording)" in text
    assert "Of 2 stalls only the time is known, not the line." in text


def test_the_summary_of_a_run(tmp_path: Path) -> None:
    make_service(tmp_path)
    run = load(find_recordings([tmp_path]), clock=lambda: START + 60, alive=lambda _: False)
    assert [line.plain for line in summary(run, "uvicorn app:app", 1, 80)] == [
        "loopwatch · 10.0 s · 9 stalls · blocked for 1.75 s (17 %) · worst 700 ms · 53 requests delayed"
        " · 840 ms more at start-up",
        " 1  main.py:12 predict · GET /predict/{id}   906 ms · 3 stalls",
        " 2  main.py:8 lifespan                       700 ms · 1 stall",
        " 3  main.py:16 audit · POST /a               142 ms · 5 stalls",
    ]
    assert "GET" not in "".join(line.plain for line in summary(run, "uvicorn app:app", 1, 50))
