"""Those who are told of stalls: several at once, slow ones, failing ones, and ones that stop it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.integration.watched_program import LOOPS, blocked, run_program


def test_waiting_costs_nothing(tmp_path: Path) -> None:
    """Before the first loop, between loops, and after the last."""
    output, _ = run_program(
        tmp_path,
        """
        def used():
            before = time.process_time()
            time.sleep(0.5)
            return time.process_time() - before

        loopwatch.start(on_stall=print)
        first = used()
        run(asyncio.sleep(0.01))
        second = used()
        with loopwatch.watching():
            third = used()
        loopwatch.stop()
        print(first, second, third, used())
        """,
    )
    assert max(map(float, output.split())) < 0.1, output


@pytest.mark.parametrize("loop", LOOPS)
def test_stopping_from_within(tmp_path: Path, loop: str) -> None:
    """`on_stall` may end the watching, and begin it anew."""
    output, _ = run_program(
        tmp_path,
        """
        def first(stall):
            told.append("first")
            loopwatch.stop()
            loopwatch.start(on_stall=lambda stall: told.append("second"))
            begun.set()

        async def main():
            await blocking()
            while not begun.is_set():
                await asyncio.sleep(0.001)

        told, begun = [], threading.Event()
        loopwatch.start(on_stall=first, threshold=0.04)
        run(main())
        run(blocking())
        loopwatch.stop()
        loopwatch.stop()
        print(*told)
        """,
        loop,
    )
    assert output.split()[0] == "first"
    assert output.split()[-1] == "second"


def test_a_slow_one_under_a_flood(tmp_path: Path) -> None:
    """The loop does not wait for it. What it is too late for is dropped, the rest is told in order."""
    output, _ = run_program(
        tmp_path,
        """
        def slow(stall):
            told.append(stall.iteration)
            time.sleep(0.001)

        async def flood():
            end = time.monotonic() + 0.2
            count = 0
            while time.monotonic() < end:
                sum(range(3000))
                await asyncio.sleep(0)
                count += 1
            return count

        told = []
        loopwatch.start(on_stall=slow, threshold=0.00001, interval=0)
        count = run(flood())
        before = len(told)
        begin = time.monotonic()
        loopwatch.stop()
        print(count, before, len(told), told == sorted(told))
        """,
    )
    count, before, told, in_order = output.split()
    assert int(count) > 100
    assert int(before) <= int(told)
    assert int(told) > 0
    assert in_order == "True"


@pytest.mark.parametrize("error", ["SystemExit", "asyncio.CancelledError", "KeyboardInterrupt"])
def test_one_that_wants_to_end_it_all(tmp_path: Path, error: str) -> None:
    """What it raises is printed, whatever it is; it is told of the next, and `stop` does not wait for ever."""
    output, _ = run_program(
        tmp_path,
        f"""
        def raising(stall):
            told.append(stall)
            raise {error}("enough")

        told = []
        loopwatch.start(on_stall=raising, threshold=0.04)
        run(blocking())
        run(blocking())
        loopwatch.stop()
        print(len(told) >= 2)
        """,
    )
    assert output.split()[0] == "True"


def test_one_that_never_returns(tmp_path: Path) -> None:
    """It holds up neither the loop nor other watchers, nor the end of the program."""
    output, _ = run_program(
        tmp_path,
        """
        def stuck(stall):
            entered.set()
            time.sleep(3600)

        from loopwatch import wants
        wants.PATIENCE = 0.5
        entered = threading.Event()
        loopwatch.start(on_stall=stuck)
        run(blocking())
        assert entered.wait(10)
        with loopwatch.watching() as watch:
            run(blocking())
        print(sum(stall.duration >= 0.05 for stall in watch.stalls))
        """,
    )
    assert output.split() == ["1"]


def test_watchers_within_one_another(tmp_path: Path) -> None:
    """Each hears of what it asked for, while all is recorded."""
    output, recordings = run_program(
        tmp_path,
        """
        def long(watch):
            return sum(stall.duration >= 0.05 for stall in watch.stalls)

        told = []
        loopwatch.start(record="rec", threshold=0.04, on_stall=told.append)
        run(blocking())
        with loopwatch.watching(threshold=0.001) as outer:
            run(blocking())
            with loopwatch.watching(threshold=10) as inner:
                run(blocking())
            with loopwatch.watching(threshold=0.02) as other:
                run(blocking())
        run(blocking())
        try:
            loopwatch.start()
        except loopwatch.LoopwatchError:
            pass
        loopwatch.stop()
        print(long(outer), long(inner), long(other), sum(stall.duration >= 0.05 for stall in told))
        """,
    )
    assert output.split() == ["3", "0", "1", "5"]
    assert sum(map(blocked, recordings)) == 5


def test_stop_does_not_wait_for_others(tmp_path: Path) -> None:
    """Also when nothing happens any more, and somebody else still watches."""
    output, _ = run_program(
        tmp_path,
        """
        async def main():
            with loopwatch.watching():
                loopwatch.start(on_stall=print)
                await asyncio.sleep(0.01)
                begin = time.monotonic()
                loopwatch.stop()
                print(time.monotonic() - begin)

        run(main())
        """,
    )
    assert float(output.split()[-1]) < 2


@pytest.mark.parametrize("loop", LOOPS)
def test_allowed_blocks(tmp_path: Path, loop: str) -> None:
    """Nested, left by an exception, across an await, in a thread without a loop; what is left counts."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        async def main():
            await asyncio.sleep(0.005)
            with loopwatch.allowed():
                with loopwatch.allowed():
                    block(0.06)
                block(0.06)
            await asyncio.sleep(0.005)
            try:
                with loopwatch.allowed():
                    block(0.07)
                    raise ValueError
            except ValueError:
                pass
            await asyncio.sleep(0.005)
            with loopwatch.allowed():
                await asyncio.sleep(0.005)
                block(0.08)
            await asyncio.sleep(0.005)
            with loopwatch.allowed():
                block(0.05)
            block(0.09)
            await asyncio.sleep(0.005)
            await asyncio.to_thread(accept)
            block(0.2)

        def accept():
            with loopwatch.allowed():
                block()

        with loopwatch.allowed():
            loopwatch.start(record="rec")
        run(main())
        """,
        loop,
    )
    long = [(round(stall.duration, 1), stall.allowed) for stall in stalls if stall.duration >= 0.05]
    assert [allowed for _, allowed in long] == [True, True, True, False, False], long


@pytest.mark.parametrize("loop", LOOPS)
def test_descriptors_closed_under_us(tmp_path: Path, loop: str) -> None:
    """A program that closes every number that it did not open itself, over and over: no byte of ours in its files."""
    _, (stalls,) = run_program(
        tmp_path,
        """
        CONTENT = b"mine" * 100

        def close_others():
            end = time.monotonic() + 0.05
            while time.monotonic() < end:
                for low, high in zip([2, *mine], [*mine, 4096]):
                    os.closerange(low + 1, high)
                victims = [os.open(f"victim{n}", os.O_RDWR | os.O_CREAT | os.O_TRUNC) for n in range(4)]
                for victim in victims: os.write(victim, CONTENT)
                sum(range(2000))
                for victim in victims:
                    assert os.fstat(victim).st_size == len(CONTENT)
                    assert os.pread(victim, 1000, 0) == CONTENT
                    os.close(victim)

        async def main():
            global mine
            mine = sorted({int(name) for name in os.listdir("/proc/self/fd")} - {0, 1, 2})
            for _ in range(10):
                await asyncio.sleep(0.001)
                close_others()

        loopwatch.start(record="rec", interval=0)
        run(main())
        """,
        loop,
    )
    assert blocked(stalls) >= 10  # a busy machine may make one of its own
    assert sum(stall.samples > 0 for stall in stalls if stall.duration >= 0.05) >= 5
