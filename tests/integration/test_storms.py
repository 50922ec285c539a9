"""What loops, threads, forks and interpreters can do to a watchdog at once: it takes none of it amiss, and leaves
nothing behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import memory
from benchmarks.watched import records
from tests.integration.project import LOOPWATCH
from tests.integration.watched_program import LOOPS, blocked, run_program


@pytest.mark.parametrize("loop", LOOPS)
def test_memory_does_not_grow(tmp_path: Path, loop: str) -> None:
    """Neither with loops nor with starts."""
    output, _ = run_program(
        tmp_path,
        """
        def resident():
            for line in open("/proc/self/status"):
                if line.startswith("VmRSS"):
                    return int(line.split()[1])

        def go(count):
            for _ in range(count):
                run(asyncio.sleep(0))
            for _ in range(count // 10):
                with loopwatch.watching(interval=0):
                    run(asyncio.sleep(0))
            thread = threading.Thread(target=run, args=(asyncio.sleep(0),))
            thread.start()
            thread.join()

        loopwatch.start(record="rec", interval=0)
        go(300)
        before = resident()
        go(1000)
        print(resident() - before, "KiB more")
        """,
        loop,
    )
    assert int(output.split()[0]) < 3000, output


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux")
def test_memory_of_ten_thousand_sites(tmp_path: Path) -> None:
    """Each once, for long enough to be sampled, and told of in Python. benchmarks/memory.py has a million stalls."""
    options = [*LOOPWATCH, "run", "-q", "--log", f"--dir={tmp_path}", "--threshold=0.1ms", "--interval=0.1ms"]
    watched = memory.measure(memory.SITES, options, busy_us=600)
    bare = memory.measure(memory.SITES, [], busy_us=1)
    sampled = {code["name"] for code in records(tmp_path, "code") if str(code["name"]).startswith("site_")}
    assert len(sampled) > memory.SITES / 2
    assert watched[-1][0] - bare[-1][0] < 8e6


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("first", ["asyncio", "uvloop", "loopwatch"])
def test_whichever_is_imported_first(tmp_path: Path, loop: str, first: str) -> None:
    _, (stalls,) = run_program(
        tmp_path,
        f"""
        import {first}
        loopwatch.start(record="rec")
        import uvloop
        run = {loop}.run
        run(blocking())
        """,
    )
    assert blocked(stalls) == 1


@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_in_a_greenlet(tmp_path: Path, loop: str) -> None:
    """Its stack has nothing below it; one that switches away in a callback shows the other one's."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        import greenlet

        async def switching():
            await asyncio.sleep(0.002)
            main.switch()
            await asyncio.sleep(0.002)
            greenlet.greenlet(block).switch()
            await blocking()

        loopwatch.start(record="rec")
        main = greenlet.getcurrent()
        child = greenlet.greenlet(lambda: run(switching()))
        child.switch()
        block()
        child.switch()
        assert child.dead
        """,
        loop,
    )
    assert blocked(stalls) == 3
    assert [stall.function for stall in stalls if stall.duration >= 0.05] == ["block"] * 3


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_from_another_thread(tmp_path: Path, loop: str) -> None:
    """The loop runs on unwatched; what starts after the next start is watched."""
    _, (first, second) = run_program(
        tmp_path,
        """
        def other():
            time.sleep(0.1)
            loopwatch.stop()
            stopped.set()

        async def main():
            block()
            while not stopped.is_set():
                await asyncio.sleep(0.001)
            await blocking()
            loopwatch.start(record="rec")
            await blocking()

        stopped = threading.Event()
        loopwatch.start(record="rec", interval=0)
        thread = threading.Thread(target=other)
        thread.start()
        run(main())
        run(blocking())
        thread.join()
        """,
        loop,
    )
    assert (blocked(first), blocked(second)) == (1, 2)


def test_everything_at_once(tmp_path: Path) -> None:
    """Loops come and go in eight threads while the watch is started and stopped, sampling flat out."""
    output, _ = run_program(
        tmp_path,
        """
        import uvloop
        ends = time.monotonic() + 4

        def loops(runner):
            while time.monotonic() < ends:
                runner(busy())

        async def busy():
            for _ in range(3):
                sum(range(20000))
                await asyncio.sleep(0)

        def starts():
            while time.monotonic() < ends:
                loopwatch.start(threshold=0.0001, interval=0, record="rec", on_stall=told.append)
                time.sleep(0.002)
                loopwatch.stop()

        told = []
        threads = [threading.Thread(target=loops, args=(runner,)) for runner in (asyncio.run, uvloop.run) * 4]
        threads.append(threading.Thread(target=starts))
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        with loopwatch.watching() as watch:
            run(blocking())
        print(len(told) > 0, sum(stall.duration >= 0.05 for stall in watch.stalls))
        """,
    )
    assert output.split() == ["True", "1"]


@pytest.mark.parametrize("loop", LOOPS)
def test_children_of_every_kind(tmp_path: Path, loop: str) -> None:
    """Each child that runs a loop of its own has its own recording; the parent's is not touched by any."""
    _, processes = run_program(
        tmp_path,
        """
        async def blocking_for_long():
            "Until the recording says once more what is going on; a busy machine may keep it from beginning at first."
            block(0.2)

        def own_loop():
            nested = new_loop()
            nested.run_until_complete(blocking_for_long())
            nested.close()

        def leave_at_once(): pass
        def exit_the_polite_way(): own_loop(); sys.exit(0)
        def start_anew(): loopwatch.stop(); loopwatch.start(record="rec"); own_loop(); loopwatch.stop()
        def fork_again():
            child = os.fork()
            if not child:
                own_loop()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0

        async def main():
            for _ in range(3):
                children = {}
                for act in (own_loop, leave_at_once, exit_the_polite_way, start_anew, fork_again):
                    child = os.fork()
                    if not child:
                        try: act()
                        except SystemExit: pass
                        finally: os._exit(0)
                    children[child] = act
                    await asyncio.sleep(0.001)
                for child, act in children.items():
                    assert os.waitpid(child, 0)[1] == 0, act
                await asyncio.sleep(0.001)
            block()

        loopwatch.start(record="rec", interval=0)
        run(main())
        """,
        loop,
    )
    parent, *children = processes
    assert blocked(parent) >= 1
    assert len(children) == 12
    assert all("block" in {stall.function for stall in stalls} for stalls in children)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_child_goes_on_in_the_loop_of_its_parent(tmp_path: Path, loop: str) -> None:
    """As a daemon does that forks late: it runs to its end, and its next loop is watched."""
    _, (parent, *children) = run_program(
        tmp_path,
        """
        def part_ways():
            global child
            child = os.fork()
            block()
            if child:
                loop.stop()
            else:
                loop.call_later(0.001, go_on, 3)

        def go_on(times):
            block()
            if times:
                loop.call_later(0.001, go_on, times - 1)
            else:
                loop.stop()

        loopwatch.start(record="rec", interval=0)
        loop = new_loop()
        loop.call_later(0.001, part_ways)
        loop.run_forever()
        if child:
            assert os.waitpid(child, 0)[1] == 0
        else:
            run(blocking())
            loopwatch.stop()
        """,
        loop,
    )
    assert blocked(parent) == 1
    assert [blocked(stalls) for stalls in children] == [1]


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(tmp_path: Path, method: str) -> None:
    """Children get on undisturbed; those that are copies of the parent are watched like it."""
    _, (parent, *children) = run_program(
        tmp_path,
        f"""
        import multiprocessing
        from concurrent.futures import ProcessPoolExecutor

        def work(number):
            asyncio.run(blocking())
            return number

        async def main(context):
            with ProcessPoolExecutor(2, mp_context=context) as pool:
                running = asyncio.get_running_loop()
                done = await asyncio.gather(*(running.run_in_executor(pool, work, n) for n in range(4)))
            assert done == [0, 1, 2, 3]
            block()

        if __name__ == "__main__":
            loopwatch.start(record="rec")
            run(main(multiprocessing.get_context("{method}")))
        """,
    )
    assert blocked(parent) >= 1
    assert sum(map(blocked, children)) == (4 if method == "fork" else 0)


@pytest.mark.parametrize("loop", LOOPS)
def test_subprocesses(tmp_path: Path, loop: str) -> None:
    run_program(
        tmp_path,
        """
        async def main():
            for _ in range(20):
                process = await asyncio.create_subprocess_exec(
                    sys.executable, "-S", "-c", "print(1)", stdout=asyncio.subprocess.PIPE)
                output, _ = await process.communicate()
                assert (process.returncode, output) == (0, b"1\\n")

        loopwatch.start(record="rec", threshold=0.0001, interval=0)
        run(main())
        """,
        loop,
    )


def test_other_interpreters(tmp_path: Path) -> None:
    """Loops of a subinterpreter run unwatched, beside watched ones."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        try:
            import _interpreters
        except ImportError:
            import _xxsubinterpreters as _interpreters

        def inside():
            interpreter = _interpreters.create()
            program = '''if True:
                import asyncio, time
                async def main():
                    await asyncio.sleep(0.001)
                    time.sleep(0.05)
                    await asyncio.sleep(0.001)
                for _ in range(3):
                    asyncio.run(main())
            '''
            failure = _interpreters.run_string(interpreter, program)
            assert failure is None, failure
            _interpreters.destroy(interpreter)

        loopwatch.start(record="rec", interval=0)
        run(blocking())
        threads = [threading.Thread(target=inside) for _ in range(3)]
        for thread in threads: thread.start()
        run(blocking())
        for thread in threads: thread.join()
        """,
    )
    assert blocked(stalls) >= 2
    assert {stall.thread for stall in stalls} == {"MainThread"}


@pytest.mark.parametrize("limit", ["unlimited", "64 MB"])
def test_the_size_of_stacks(tmp_path: Path, limit: str) -> None:
    program = """
        import resource
        if len(sys.argv) == 1:
            size = resource.RLIM_INFINITY if "{limit}" == "unlimited" else 64 << 20
            resource.setrlimit(resource.RLIMIT_STACK, (size, resource.getrlimit(resource.RLIMIT_STACK)[1]))
            os.execv(sys.executable, [sys.executable, __file__, "again"])

        def deep(depth):
            return deep(depth - 1) if depth else block()

        loopwatch.start(record="rec", interval=0)
        loop = new_loop()
        loop.call_soon(deep, 900)
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        """
    _, (stalls,) = run_program(tmp_path, program.replace("{limit}", limit))
    assert blocked(stalls) == 1
    assert max(stack.depth for stall in stalls for stack, _ in stall.stacks) > 900


def test_exceptions_leave_as_they_came(tmp_path: Path) -> None:
    output, (stalls,) = run_program(
        tmp_path,
        """
        async def fail(error):
            block()
            raise error

        def attempt(act):
            try: act()
            except BaseException as error: print(type(error).__name__)

        loopwatch.start(record="rec")
        attempt(lambda: run(fail(ValueError())))
        attempt(lambda: run(fail(SystemExit())))
        attempt(lambda: run(fail(KeyboardInterrupt())))
        loop = new_loop()
        loop.call_soon(lambda: attempt(loop.run_forever))
        loop.call_soon(loop.stop)
        loop.run_forever()
        attempt(lambda: loop.run_until_complete(blocking()))
        loop.close()
        attempt(lambda: loop.run_until_complete(asyncio.sleep(0)))
        """,
    )
    words = [line for line in output.split() if line.endswith(("Error", "Exit", "Interrupt"))]
    assert words[:4] == ["ValueError", "SystemExit", "KeyboardInterrupt", "RuntimeError"]
    assert blocked(stalls) == 4


def test_loops_of_other_kinds(tmp_path: Path) -> None:
    """One that nobody knows, one that says that it runs and never stops, and one whose thread ends before it."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        class Unknown:
            def run(self, callback):
                asyncio._set_running_loop(self)
                import contextvars
                contextvars.copy_context().run(callback)
                time.sleep(0.01)
                asyncio._set_running_loop(None)

        def careless():
            asyncio._set_running_loop(Unknown())
            sum(range(1000))

        loopwatch.start(record="rec", interval=0)
        for _ in range(50):
            thread = threading.Thread(target=careless)
            thread.start()
            thread.join()
        Unknown().run(block)
        run(blocking())
        """,
    )
    # Others may be as long on a machine that gives the program no CPU.
    long = [stall.function for stall in stalls if stall.thread == "MainThread" and stall.duration >= 0.04]
    assert long.count("block") == 2


def test_tables_that_fill_up(tmp_path: Path) -> None:
    """More code than there is room for: it is forgotten and learnt anew, and stalls are told as before."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        def generated(number):
            names = {"block": block}
            source = f"def function_{number}():\\n    block(0.0002)"
            exec(compile(source, f"<{number}>" + "x" * 3000, "exec"), names)
            return names[f"function_{number}"]

        def many():
            for number in range(6000):
                generated(number)()

        loopwatch.start(record="rec", interval=0)
        loop = new_loop()
        loop.call_soon(many)
        loop.call_later(0.1, loop.stop)
        loop.run_forever()
        run(blocking())
        """,
    )
    assert "block" in [stall.function for stall in stalls[1:]]
    assert blocked(stalls) >= 2  # a busy machine may make one of its own


def test_deep_stacks_of_which_no_two_are_alike(tmp_path: Path) -> None:
    """They are more than is written at once: of some only the number is recorded, but the stall has its end."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        import random

        def descend(depth, turns):
            if not depth:
                ends = time.perf_counter() + 0.001
                while time.perf_counter() < ends:
                    pass
            elif turns & 1:
                descend(depth - 1, turns >> 1)
            else:
                descend(depth - 1, turns >> 1)

        async def deep():
            await asyncio.sleep(0.002)
            ends = time.perf_counter() + 0.3
            while time.perf_counter() < ends:
                descend(900, random.getrandbits(900))
            await asyncio.sleep(0.002)

        loopwatch.start(record="rec")
        run(deep())
        loopwatch.stop()
        """,
    )
    (stall,) = (stall for stall in stalls if stall.duration >= 0.3)
    assert stall.state == "ended"
    assert stall.function in ("deep", "descend")
    kept = sum(samples for _, samples in stall.stacks)
    assert kept > 0 < stall.omitted
    assert kept + stall.omitted == stall.samples
    (recording,) = tmp_path.glob("rec/*.jsonl")
    assert '"t":"dropped","records":0 ' in recording.read_text("utf-8")


def test_a_deep_stack_fits_into_small_tables(tmp_path: Path) -> None:
    """Those of a process that is told of its own stalls."""
    output, _ = run_program(
        tmp_path,
        """
        sys.setrecursionlimit(20_000)

        def descend(left):
            return descend(left - 1) if left else block(1)

        async def deep():
            descend(9000)

        loopwatch.start(on_stall=lambda stall: print(stall.function, stall.samples > 0, stall.omitted))
        run(deep())
        loopwatch.stop()
        """,
        LOOPWATCH_STACK_DEPTH="8192",
    )
    assert output.split() == ["block", "True", "0"]
