"""Loops, threads, forks and ends of every kind, each in a program of its own: it must behave as if nobody watched, and
what it did must be in the recording."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from loopwatch.model import Stall
from tests.integration.watched_program import LOOPS, PRELUDE, blocked, recorded, run_program


@pytest.mark.parametrize("loop", LOOPS)
def test_loops_in_threads(tmp_path: Path, loop: str) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        """
        loopwatch.start(record="rec")
        threads = [threading.Thread(target=run, args=(blocking(),), name=f"loop {i}") for i in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        """,
        loop,
    )
    assert {stall.thread for stall in stalls if stall.duration >= 0.05} == {f"loop {i}" for i in range(8)}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_thousand_loops_leave_nothing_behind(tmp_path: Path, loop: str) -> None:
    run_program(
        tmp_path,
        """
        def counts():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        loopwatch.start(record="rec")
        run(asyncio.sleep(0))
        before = counts()
        for _ in range(1000):
            run(asyncio.sleep(0))
        assert counts() == before, (counts(), before)
        loopwatch.stop()
        end = time.monotonic() + 10
        while counts()[1] > 1 and time.monotonic() < end:
            pass  # a thread that was joined is listed for a moment more
        assert counts()[1] == 1
        """,
        loop,
    )


@pytest.mark.parametrize("loop", LOOPS)
def test_the_first_step_and_the_last(tmp_path: Path, loop: str) -> None:
    """No poll comes before the one nor after the other."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        async def first():
            block()

        def last(loop):
            loop.stop()
            block()

        loopwatch.start(record="rec")
        run(first())
        loop = new_loop()
        loop.call_later(0.01, last, loop)
        loop.run_forever()
        loop.close()
        """,
        loop,
    )
    assert blocked(stalls) == 2


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("ending", ["sys.exit(7)", "os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_ends_in_the_middle_of_a_callback(tmp_path: Path, loop: str, ending: str) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        f"""
        def end():
            block()
            {ending}

        loopwatch.start(record="rec")
        loop = new_loop()
        loop.call_later(0.01, end)
        loop.run_forever()
        """,
        loop,
        status=-9 if "SIGKILL" in ending else 7,
    )
    assert len(stalls) == 1  # at its full length, or as long as it had been recorded
    assert stalls[0].function == "block"


def test_keyboard_interrupt(tmp_path: Path) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        """
        loopwatch.start(record="rec")
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        async def main():
            time.sleep(5)
        try:
            new_loop().run_until_complete(main())
        except KeyboardInterrupt:
            run(blocking())
        """,
    )
    assert blocked(stalls) == 2
    assert max(stall.duration for stall in stalls) < 5


def test_a_loop_inside_a_callback(tmp_path: Path) -> None:
    """The outer iteration goes on while the inner loop runs, polls included."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        async def inner():
            await asyncio.sleep(0.1)
            block()

        def outer(loop):
            asyncio._set_running_loop(None)
            nested = new_loop()
            nested.run_until_complete(inner())
            nested.close()
            asyncio._set_running_loop(loop)
            loop.call_later(0.01, last, loop)

        def last(loop):
            block()
            loop.stop()

        loopwatch.start(record="rec")
        loop = new_loop()
        loop.call_soon(outer, loop)
        loop.run_forever()
        """,
    )
    assert max(stall.duration for stall in stalls) >= 0.15
    assert blocked(stalls) == 3


@pytest.mark.parametrize("loop", LOOPS)
def test_starting_in_a_running_loop(tmp_path: Path, loop: str) -> None:
    """Also where the loop's module was imported first."""
    output, _ = run_program(
        tmp_path,
        """
        async def main():
            await asyncio.sleep(0.01)
            with loopwatch.watching() as watch:
                block()
                await asyncio.sleep(0.01)
                block()
                with loopwatch.watching(threshold=0.2) as strict:
                    await asyncio.sleep(0.01)
                    block(0.25)
            await asyncio.sleep(0.01)
            print(len([s for s in watch.stalls if s.duration >= 0.05]), len(strict.stalls))

        run(main())
        """,
        loop,
    )
    assert output.split() == ["3", "1"]


@pytest.mark.parametrize(
    ("loop", "way"), [("asyncio", "slot"), ("asyncio", "select"), ("uvloop", "slot"), ("uvloop", "uv")]
)
def test_watching_begun_and_ended_on_another_thread(tmp_path: Path, loop: str, way: str) -> None:
    """The loop goes on being watched, whoever comes and goes."""
    output, recordings = run_program(
        tmp_path,
        """
        async def main():
            outer, inner = loopwatch.watching(0.04), loopwatch.watching(0.02)
            await blocking()
            one = await asyncio.to_thread(outer.__enter__)
            await blocking()
            other = await asyncio.to_thread(inner.__enter__)
            await blocking()
            await asyncio.to_thread(inner.__exit__, None, None, None)
            await blocking()
            await asyncio.to_thread(outer.__exit__, None, None, None)
            await blocking()
            return one.stalls, other.stalls

        told = []
        loopwatch.start(record="rec", on_stall=told.append)
        found = run(main())
        loopwatch.stop()
        print(*[sum(stall.duration >= 0.05 for stall in stalls) for stalls in (told, *found)])
        """,
        loop,
        LOOPWATCH_POLL=way,
    )
    told, one, other = map(int, output.split())  # a busy machine makes stalls of its own
    assert told >= 5
    assert one >= 3
    assert other >= 1
    assert len(recordings) == 5
    assert all(map(blocked, recordings))


@pytest.mark.parametrize("loop", LOOPS)
def test_starting_in_a_running_loop_without_a_hook(tmp_path: Path, loop: str) -> None:
    """Waiting is no stall, on whichever thread somebody began."""
    output, _ = run_program(
        tmp_path,
        """
        async def work():
            await asyncio.sleep(0.2)
            block(0.1)
            await asyncio.sleep(0.2)

        async def main():
            await asyncio.sleep(0.01)
            with loopwatch.watching(threshold=0.04) as watch:
                await work()
                other = loopwatch.watching(threshold=0.03)
                await asyncio.to_thread(other.__enter__)
                await work()
                await asyncio.to_thread(other.__exit__, None, None, None)
                await work()
            print(len(watch.stalls) >= 3, all(stall.duration < 0.19 for stall in watch.stalls))

        run(main())
        """,
        loop,
        LOOPWATCH_POLL="context",
    )
    assert output.split() == ["True", "True"]


def test_a_start_that_fails(tmp_path: Path) -> None:
    """It leaves nothing behind: who watched before goes on, and the next start is as the first."""
    output, _ = run_program(
        tmp_path,
        """
        from loopwatch import wants

        def fail_once(owner, name):
            def fail(*_):
                setattr(owner, name, original)
                raise OSError

            original = getattr(owner, name)
            setattr(owner, name, fail)

        with loopwatch.watching() as watch:
            for owner, name in (wants._core, "hook"), (wants, "header_members"), (wants, "Caller"):
                fail_once(owner, name)
                try:
                    loopwatch.start(on_stall=print)
                except OSError:
                    print("failed")
                run(blocking())
                loopwatch.start()
                run(blocking())
                loopwatch.stop()
        print(sum(stall.duration >= 0.05 for stall in watch.stalls))
        """,
    )
    *failed, stalls = output.split()
    assert failed == ["failed"] * 3
    assert int(stalls) >= 6


def test_storms_of_start_and_stop(tmp_path: Path) -> None:
    output, _ = run_program(
        tmp_path,
        """
        def storm():
            for _ in range(40):
                with loopwatch.watching():
                    run(asyncio.sleep(0.0005))
                try:
                    loopwatch.start()
                    loopwatch.stop()
                except loopwatch.LoopwatchError:
                    pass

        threads = [threading.Thread(target=storm) for _ in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        with loopwatch.watching() as watch:
            run(blocking())
        print(sum(s.duration >= 0.05 for s in watch.stalls))
        """,
    )
    assert output.split() == ["1"]


@pytest.mark.parametrize("loop", LOOPS)
def test_forks_inside_callbacks(tmp_path: Path, loop: str) -> None:
    """A child with a loop of its own is recorded by itself; one that goes on in its parent's loop just runs."""
    _, processes = run_program(
        tmp_path,
        """
        async def main():
            for number in range(3):
                child = os.fork()
                if not child:
                    if number == 0:
                        os._exit(0)
                    if number == 1:
                        loop = new_loop()
                        loop.run_until_complete(blocking())
                        sys.stdout.flush()
                        loopwatch.stop()
                        os._exit(0)
                    block()
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0
                await asyncio.sleep(0.01)
            process = await asyncio.create_subprocess_exec("true")
            assert await process.wait() == 0
            block()

        loopwatch.start(record="rec")
        run(main())
        """,
        loop,
    )
    parent, *children = processes
    assert blocked(parent) >= 1
    assert [blocked(stalls) for stalls in children] == [1]


@pytest.mark.parametrize(("log", "queued"), [("0", "False"), ("1", "True")])
def test_records_wait_only_for_somebody(tmp_path: Path, log: str, queued: str) -> None:
    """A forked child keeps none in memory for an `on_stall` that is its parent's."""
    output, (child,) = run_program(
        tmp_path,
        """
        from loopwatch import _core, wants

        loopwatch.start(record="rec", on_stall=print)
        with loopwatch.watching():
            if os.fork():
                os.wait()
            else:
                with wants.state.lock:  # nobody reads them now
                    run(blocking())
                    _core.stop()
                    print(bool(_core.take()), flush=True)
                os._exit(0)
        """,
        LOOPWATCH_LOG=log,
    )
    assert output.split()[0] == queued
    assert blocked(child) >= 1


def test_three_hundred_forks(tmp_path: Path) -> None:
    run_program(
        tmp_path,
        """
        async def main():
            for _ in range(300):
                child = os.fork()
                if not child:
                    os._exit(0)
                assert os.waitpid(child, 0)[1] == 0

        loopwatch.start(record="rec", threshold=0.001, interval=0)
        run(main())
        """,
    )


def test_sampled_while_the_interpreter_ends(tmp_path: Path) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        """
        def forever():
            loop = new_loop()
            loop.call_soon(spin)
            loop.run_forever()

        def spin():
            while True:
                sum(range(100))

        loopwatch.start(record="rec", interval=0)
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.2)
        """,
    )
    assert [stall.function for stall in stalls] == ["spin"]


def test_on_stall_may_do_what_it_likes(tmp_path: Path) -> None:
    output, _ = run_program(
        tmp_path,
        """
        told = []
        def on_stall(stall):
            assert threading.current_thread() is not threading.main_thread()
            told.append(stall)
            if len(told) == 1:
                raise RuntimeError("mine")
            time.sleep(0.1)

        async def main():
            for _ in range(4):
                await blocking()

        loopwatch.start(on_stall=on_stall)
        run(main())
        loopwatch.stop()
        print(sum(stall.duration >= 0.05 for stall in told))
        """,
    )
    assert output.split()[0] == "4"
    assert "RuntimeError: mine" in output


def test_allowed_stalls_are_told_apart(tmp_path: Path) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        """
        async def main():
            await asyncio.sleep(0.01)
            with loopwatch.allowed(), loopwatch.allowed():
                block()
            await asyncio.sleep(0.01)
            block()

        with loopwatch.allowed():
            pass
        loopwatch.start(record="rec")
        run(main())
        """,
    )
    assert [stall.allowed for stall in stalls if stall.duration >= 0.05] == [True, False]


def test_a_program_that_closes_every_descriptor(tmp_path: Path) -> None:
    """Its own files stay its own, and the recording goes on."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        def close_all():
            for number in range(3, 256):
                if number not in mine:
                    try: os.close(number)
                    except OSError: pass

        async def main():
            for number in range(20):
                close_all()
                victims = [os.open(f"victim{i}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for i in range(8)]
                block()
                assert [os.fstat(victim).st_size for victim in victims] == [0] * 8
                for victim in victims: os.close(victim)
                await asyncio.sleep(0)

        loopwatch.start(record="rec", interval=0)
        loop = new_loop()
        mine = {int(name) for name in os.listdir("/proc/self/fd")}  # the loop's own must stay
        loop.run_until_complete(main())
        """,
    )
    assert blocked(stalls) == 20
    assert sum(stall.samples > 0 for stall in stalls if stall.duration >= 0.05) >= 10  # a busy machine misses some


def test_without_descriptors_durations_remain(tmp_path: Path) -> None:
    """No pipe, no recording file: the program runs on, and what is told has no lines."""
    output, _ = run_program(
        tmp_path,
        """
        import resource
        from loopwatch import watching  # needs descriptors, to be imported
        async def main():
            await asyncio.sleep(0.01)
            with watching() as watch:
                block()
                await asyncio.sleep(0.01)
            print(sum(s.duration >= 0.05 for s in watch.stalls))
        loop = new_loop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1,) * 2)
        loop.run_until_complete(main())
        """,
    )
    assert output.split() == ["1"]


def test_a_loop_that_a_toolkit_drives(tmp_path: Path) -> None:
    """As qasync's on the loop of Qt: one of asyncio's, with a selector that nobody asks. Its waiting is no stall."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        class Toolkit(asyncio.SelectorEventLoop):
            def run_forever(self):
                asyncio._set_running_loop(self)
                while not self._stopping:
                    while self._ready:
                        self._ready.popleft()._run()
                    time.sleep(0.3)
                asyncio._set_running_loop(None)

        async def main():
            for _ in range(3):
                await asyncio.sleep(0)
                block(0.1)
                future = loop.create_future()
                threading.Timer(0.05, lambda: loop.call_soon_threadsafe(future.set_result, None)).start()
                await future

        loopwatch.start(record="rec")
        loop = Toolkit()
        loop.run_until_complete(main())
        """,
    )
    assert len(stalls) >= 3
    assert {stall.function for stall in stalls if stall.duration > 0.05} == {"block"}
    assert max(stall.duration for stall in stalls) < 0.25


@pytest.mark.parametrize(("loop", "way"), [("asyncio", "select"), ("uvloop", "uv"), ("asyncio", "context")])
def test_the_other_ways_to_see_a_poll(tmp_path: Path, loop: str, way: str) -> None:
    output, (stalls,) = run_program(
        tmp_path,
        """
        class Protocol(asyncio.Protocol):
            def __init__(self, done): self.done = done
            def data_received(self, data):
                block()
                self.done.set_result(None)

        async def main():
            import socket
            loop = asyncio.get_running_loop()
            await blocking()
            await asyncio.sleep(0.02)
            done = loop.create_future()
            ours, theirs = socket.socketpair()
            transport, _ = await loop.create_connection(lambda: Protocol(done), sock=ours)
            theirs.send(b"x")
            await done
            transport.close()
            await asyncio.sleep(0.02)
            return getattr(loop, "_selector", None)

        loopwatch.start(record="rec")
        selector = run(main())
        loopwatch.stop()
        assert "select" not in getattr(selector, "__dict__", {})
        """,
        loop,
        LOOPWATCH_POLL=way,
    )
    # Without a hook a stall is known to a patrol or two.
    assert sum(stall.duration >= (0.03 if way == "context" else 0.05) for stall in stalls) == 2, output


@pytest.mark.parametrize("loop", LOOPS)
def test_polls_of_others_are_work(tmp_path: Path, loop: str) -> None:
    """Only the loop's own poll is idle time: a synchronous client that waits by itself stalls it."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        import select, selectors, subprocess
        async def main():
            await asyncio.sleep(0.01)
            select.epoll().poll(0.06)
            await asyncio.sleep(0.01)
            selectors.DefaultSelector().select(0.06)
            await asyncio.sleep(0.01)
            subprocess.run(["sleep", "0.06"], check=True, capture_output=True)

        loopwatch.start(record="rec")
        run(main())
        """,
        loop,
    )
    assert blocked(stalls) == 3


@pytest.mark.parametrize("loop", LOOPS)
def test_waiting_for_the_gil_counts(tmp_path: Path, loop: str) -> None:
    """A thread keeps the GIL from the loop after each of its polls: the loop is busy for as long as it lags."""
    output, _ = run_program(
        tmp_path,
        """
        from loopwatch.recording import Decoder
        from loopwatch import _core

        def heavy():
            end = time.perf_counter() + 1
            while time.perf_counter() < end:
                sum(range(1000))

        async def main():
            lag = 0.0
            thread = asyncio.create_task(asyncio.to_thread(heavy))
            while not thread.done():
                begin = time.perf_counter()
                await asyncio.sleep(0.005)
                lag += time.perf_counter() - begin - 0.005
            return lag

        loopwatch.start(record="rec")
        lag = run(main())
        loopwatch.stop()
        import glob, json
        lines = [json.loads(line) for line in open(glob.glob("rec/*.jsonl")[0])]
        busy = [line for line in lines if line["t"] == "summary"][-1]["busy_ns"] / 1e9
        print(busy / lag)
        """,
        loop,
    )
    assert 0.6 < float(output) < 1.4  # within a tenth on a quiet machine


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_goes_quiet(tmp_path: Path, loop: str) -> None:
    """It is summed up once more soon, whatever becomes of the process; then the watchdog sleeps as it does."""
    output, (stalls,) = run_program(
        tmp_path,
        """
        def wakes():
            others = set(os.listdir("/proc/self/task")) - {str(os.getpid()), str(threading.get_native_id())}
            status = "".join(open(f"/proc/self/task/{each}/status").read() for each in others)
            return [line for line in status.splitlines() if line.startswith("voluntary")]

        def leave():
            time.sleep(1.5 - 0.3)
            before = wakes()
            time.sleep(1.5)
            print(before == wakes(), flush=True)
            os._exit(0)

        async def main():
            for _ in range(6):
                block()
                await asyncio.sleep(0.01)
            threading.Thread(target=leave).start()
            await asyncio.sleep(60)

        loopwatch.start(record="rec")
        run(main())
        """,
        loop,
    )
    assert output == "True\n"
    (file,) = tmp_path.glob("rec/*.jsonl")
    last = [record for record in map(json.loads, file.read_text().splitlines()) if record["t"] == "summary"][-1]
    assert last["iterations"] >= 7
    assert last["stalls"] == len(stalls) >= 6
    assert 0.3 <= last["busy_ns"] / 1e9 < 0.8 < last["watched_ns"] / 1e9 < 1.5


def test_a_process_that_hangs_for_good(tmp_path: Path) -> None:
    """The running stall stands in the recording while it lasts, and after the kill."""
    program = tmp_path / "program.py"
    program.write_text(
        PRELUDE.format(loop="asyncio")
        + textwrap.dedent("""
        def hang():
            print("hanging", flush=True)
            while True: pass

        loopwatch.start(record="rec")
        loop = new_loop()
        loop.call_later(0.01, hang)
        loop.run_forever()
        """)
    )
    with subprocess.Popen([sys.executable, str(program)], cwd=tmp_path, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"hanging\n"
        found: list[Stall] = []
        while not found and process.poll() is None:
            found = [stall for stalls in recorded(tmp_path / "rec") for stall in stalls]
        process.kill()
    assert [stall.function for stall in found] == ["hang"]
    (after,) = recorded(tmp_path / "rec")
    assert [stall.function for stall in after] == ["hang"]
