"""Steps of requests that ride are noticed while it matters who takes them, and by nobody else."""

from __future__ import annotations

import asyncio
import sys
import textwrap
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from loopwatch import LoopwatchMiddleware, Stall
from loopwatch._core import Request
from loopwatch.asgi import App, Receive, Scope, Send
from tests.integration.exchange import http, websocket
from tests.integration.riding import Cycle, rides, riding
from tests.integration.test_culprits import THRESHOLD, block, blocking
from tests.integration.watched_program import LOOPS, run_program

Test = Callable[..., Coroutine[Any, Any, None]]


def awaited(app: App) -> Callable[..., Any]:
    """One whose requests do not ride."""
    tracking = LoopwatchMiddleware(app).tracking

    def called(scope: Scope, receive: Receive, send: Send) -> Any:
        awaitable: Any = tracking(scope, receive, send)
        assert type(awaitable) is Request
        return awaitable

    return called


def factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop]:
    """What makes loops of this kind."""
    if kind == "asyncio":
        return asyncio.new_event_loop
    made: Callable[[], asyncio.AbstractEventLoop] = pytest.importorskip(kind).new_event_loop
    return made


@pytest.fixture(params=LOOPS)
def run(request: pytest.FixtureRequest) -> Callable[[Test], list[Stall]]:
    """Run a test on each kind of loop; the stalls of `block`."""

    def running(test: Test) -> list[Stall]:
        async def main() -> list[Stall]:
            async with riding(THRESHOLD) as watch:
                await asyncio.sleep(0.005)
                await test()
                await asyncio.sleep(0.05)
            return blocking(watch.stalls)

        with asyncio.Runner(loop_factory=factory(request.param)) as runner:
            return runner.run(main())

    return running


Run = Callable[[Test], list[Stall]]


again = pytest.mark.flaky(reruns=5, reruns_delay=0.1)
"""Once without a disturbance is enough, where milliseconds are compared."""


async def serve(way: Callable[[App], App], app: App, *scopes: Scope) -> None:
    """All at once, each in a task of its own."""
    await asyncio.gather(*(asyncio.create_task(Cycle(each).let_out(way(app))) for each in scopes))


async def serve_at(ready: asyncio.Event, way: Callable[[App], App], app: App, *scopes: Scope) -> None:
    """The same; then let all that wait for an event go on, in one iteration."""
    served = asyncio.create_task(serve(way, app, *scopes))
    await asyncio.sleep(0.01)
    ready.set()
    await served


@pytest.mark.parametrize("way", [rides, awaited])
class TestDelayed:
    """How many had to wait for a stall, whichever way a request is known: those that step while the loop catches up."""

    @again
    def test_one_blocks_twenty_wait(self, run: Run, way: Callable[[App], App]) -> None:
        async def test() -> None:
            begin = asyncio.get_running_loop().time() + 0.05

            async def app(scope: Scope, *_: Any) -> None:
                await asyncio.sleep(begin + scope["due"] - asyncio.get_running_loop().time())
                if scope["path"] == "/block":
                    block()
                    await asyncio.sleep(0)  # it goes on, and has not waited itself
                    await asyncio.sleep(0)

            dues = (0.010 + number / 1000 for number in range(20))
            await serve(
                way, app, http("/block", due=0), *(http("/wait", due=due) for due in dues), http("/sleep", due=0.3)
            )

        [stall] = run(test)
        assert stall.requests_delayed == 20
        assert stall.endpoint == "GET <unmatched>"

    @again
    def test_nobody_waits(self, run: Run, way: Callable[[App], App]) -> None:
        """One blocks and goes on, another is not ready."""

        async def test() -> None:
            async def app(scope: Scope, *_: Any) -> None:
                if scope["path"] == "/sleep":
                    await asyncio.sleep(0.3)
                    return
                await asyncio.sleep(0.01)
                block()
                for _turn in range(3):
                    await asyncio.sleep(0)

            await serve(way, app, http("/block"), http("/sleep"))

        [stall] = run(test)
        assert stall.requests_delayed == 0

    @again
    def test_child_task_blocks(self, run: Run, way: Callable[[App], App]) -> None:
        """Its own child is nobody else; it keeps another one waiting."""

        async def test() -> None:
            async def child() -> None:
                await asyncio.sleep(0.01)
                block()

            async def app(scope: Scope, *_: Any) -> None:
                if scope["path"] == "/wait":
                    await asyncio.sleep(0.03)
                    return
                await asyncio.create_task(child())
                await asyncio.sleep(0)

            await serve(way, app, http("/child"), http("/wait"))

        [stall] = run(test)
        assert stall.requests_delayed == 1

    @again
    def test_two_share_a_stall(self, run: Run, way: Callable[[App], App]) -> None:
        """Each has waited for the other's part."""

        async def test() -> None:
            ready = asyncio.Event()

            async def app(scope: Scope, *_: Any) -> None:
                await ready.wait()
                block()
                await asyncio.sleep(0)

            await serve_at(ready, way, app, http("/first"), http("/second"))

        [stall] = run(test)
        assert stall.requests_delayed == 2

    @again
    def test_another_runs_in_between(self, run: Run, way: Callable[[App], App]) -> None:
        """A request's own part is that before and that after, which its child has."""

        async def test() -> None:
            ready = asyncio.Event()

            async def blocks(seconds: float) -> None:
                await ready.wait()
                block(seconds)

            async def app(scope: Scope, *_: Any) -> None:
                if scope["path"] == "/quick":
                    await blocks(0.005)
                else:
                    child = asyncio.create_task(blocks(0.04))
                    await blocks(0.04)
                    await child
                await asyncio.sleep(0)

            await serve_at(ready, way, app, http("/slow"), http("/quick"))

        [stall] = run(test)
        assert stall.requests_delayed == 1

    @again
    def test_begins_late(self, run: Run, way: Callable[[App], App]) -> None:
        """One that had come in when the stall began."""

        async def test() -> None:
            loop = asyncio.get_running_loop()
            late: list[asyncio.Task[None]] = []

            async def app(scope: Scope, *_: Any) -> None:
                if scope["path"] == "/block":
                    await asyncio.sleep(0.01)
                    block()

            def arrive() -> None:
                late.append(asyncio.create_task(Cycle(http("/late")).let_out(way(app))))

            loop.call_later(0.03, arrive)
            await serve(way, app, http("/block"))
            await asyncio.sleep(0.01)
            await late[0]

        [stall] = run(test)
        assert stall.requests_delayed == 1

    @pytest.mark.parametrize("ends", [True, False], ids=["ends", "goes on"])
    @again
    def test_cancelled_after_it(self, run: Run, way: Callable[[App], App], ends: bool) -> None:
        """A client that went meanwhile."""

        async def test() -> None:
            loop = asyncio.get_running_loop()

            async def app(scope: Scope, *_: Any) -> None:
                if scope["path"] == "/block":
                    await asyncio.sleep(0.01)
                    block()
                    return
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    if ends:
                        raise
                    await asyncio.sleep(0)

            task = asyncio.create_task(Cycle(http("/client")).let_out(way(app)))
            loop.call_later(0.03, task.cancel)
            await serve(way, app, http("/block"))
            await asyncio.wait([task])

        [stall] = run(test)
        assert stall.requests_delayed == 1

    @again
    def test_websocket(self, run: Run, way: Callable[[App], App]) -> None:
        """It waits for what its client says, which comes during the stall."""

        async def test() -> None:
            said: asyncio.Future[None] = asyncio.get_running_loop().create_future()

            async def app(scope: Scope, *_: Any) -> None:
                if scope["type"] == "websocket":
                    await said
                    await asyncio.sleep(0.2)
                else:
                    await asyncio.sleep(0.01)
                    block()

            asyncio.get_running_loop().call_later(0.03, said.set_result, None)
            await serve(way, app, websocket("/feed"), http("/block"))

        [stall] = run(test)
        assert stall.requests_delayed == 1


@again
def test_child_of_a_request_takes_a_step(run: Run) -> None:
    """That is not the request's own."""

    async def test() -> None:
        async def child() -> None:
            await asyncio.sleep(0.03)
            await asyncio.sleep(0.2)

        async def app(scope: Scope, *_: Any) -> None:
            if scope["path"] == "/block":
                await asyncio.sleep(0.01)
                block()
            else:
                await asyncio.create_task(child())

        await serve(rides, app, http("/parent"), http("/block"))

    [stall] = run(test)
    assert stall.requests_delayed == 0


class TestNames:
    @pytest.mark.parametrize("loop", LOOPS)
    def test_of_one_that_goes_on(self, loop: str) -> None:
        """It is named at its next step, long before it ends."""

        async def main() -> None:
            over = asyncio.Event()

            async def app(scope: Scope, *_: Any) -> None:
                await asyncio.sleep(0.01)
                block()
                scope["loopwatch.template"] = "/feed"
                await asyncio.sleep(0.001)
                await over.wait()

            async with riding(THRESHOLD) as watch:
                task = asyncio.create_task(Cycle(websocket("/feed")).let_out(rides(app)))
                names: list[str] = []
                for _turn in range(50):
                    await asyncio.sleep(0.05)
                    names = [stall.endpoint for stall in blocking(watch.stalls)]
                    if names == ["WS /feed"]:
                        break
                assert not task.done()
                over.set()
                await task
            assert names == ["WS /feed"]

        with asyncio.Runner(loop_factory=factory(loop)) as runner:
            runner.run(main())

    def test_at_a_later_step(self, tmp_path: Path) -> None:
        """While it has none to say, it is asked again."""
        output, [stalls] = run_program(
            tmp_path,
            SLOT
            + """
async def app(scope, *_):
    block()
    for turn in range(4):
        await asyncio.sleep(0.03)
        if turn == 2:
            scope["loopwatch.template"] = "/late"
    await asyncio.sleep(0.3)
    print(quiet())

loopwatch.start(record="rec", threshold=0.02)
run(main(app))
""",
        )
        assert output.split() == ["coroutine", "True"]
        assert "GET /late" in [stall.endpoint for stall in stalls]


INNER = """
import asyncio, gc, time, warnings
warnings.simplefilter("ignore")

async def value(number):
    await asyncio.sleep(0)
    return number

async def main():
    end = time.monotonic() + 0.5
    while time.monotonic() < end:
        found = await asyncio.gather(*(asyncio.create_task(value(number)) for number in range(50)))
        assert found == list(range(50))
        value(0)
        gc.collect()
    assert value(0).cr_origin is None

asyncio.run(main())
"""

SLOT = r"""
import ctypes, types
from loopwatch import LoopwatchMiddleware, _core

def slot():
    "PyCoro_Type.tp_as_async->am_send"
    word = ctypes.sizeof(ctypes.c_void_p)
    methods = ctypes.c_void_p.from_address(id(types.CoroutineType) + 10 * word).value
    return ctypes.c_void_p.from_address(methods + 3 * word).value

original = slot()

def quiet():
    return slot() == original

def scope(**more):
    return {"type": "http", "method": "GET", "path": "/", **more}

async def nothing(*_): ...

async def steps(count=20):
    for _ in range(count):
        await asyncio.sleep(0)

async def serve(app, **more):
    coroutine = LoopwatchMiddleware(app, headers=False).tracking(scope(**more), None, None)
    sys.stdout.write(f"{type(coroutine).__name__}\n")
    sys.stdout.flush()
    await coroutine

async def main(*apps):
    await LoopwatchMiddleware(nothing, headers=False).tracking(scope(), None, None)
    await asyncio.gather(*(asyncio.create_task(serve(app)) for app in apps))
"""


class TestSlot:
    """Whoever sends to coroutines pays for it while somebody looks."""

    @pytest.mark.parametrize("loop", LOOPS)
    def test_is_the_original_when_all_is_quiet(self, loop: str, tmp_path: Path) -> None:
        pytest.importorskip(loop)
        program = """
            seen = []

            async def app(scope, *_):
                await steps()
                seen.append(quiet())
                block()
                scope["loopwatch.template"] = "/"
                await asyncio.sleep(0)
                seen.append(quiet())
                await asyncio.sleep(0.3)
                await steps()
                seen.append(quiet())

            async def twice():
                for _ in range(2):
                    await main(app)
                await asyncio.sleep(0.3)
                await steps()

            loopwatch.start(threshold=0.02, log=False)
            run(twice())
            print(seen, quiet())
            loopwatch.stop()
            """
        output, _ = run_program(tmp_path, SLOT + textwrap.dedent(program), loop)
        assert output.splitlines() == ["coroutine", "coroutine", f"{[True, False, True] * 2} True"]

    @pytest.mark.parametrize("loop", LOOPS)
    def test_request_that_never_knows_its_name(self, loop: str, tmp_path: Path) -> None:
        """A websocket without a template, say: its steps are not looked for for ever."""
        pytest.importorskip(loop)
        program = """
            seen = []

            async def app(scope, *_):
                block()
                await asyncio.sleep(0)
                seen.append(quiet())
                for _ in range(40):
                    await asyncio.sleep(0.1)
                await steps()
                seen.append(quiet())

            loopwatch.start(threshold=0.02, log=False)
            run(main(app))
            print(seen)
            loopwatch.stop()
            """
        output, _ = run_program(tmp_path, SLOT + textwrap.dedent(program), loop)
        assert output.splitlines() == ["coroutine", "[False, True]"]

    @pytest.mark.parametrize("loop", LOOPS)
    @pytest.mark.parametrize("threads", [1, 2])
    def test_watch_that_ends_while_somebody_looks(self, loop: str, threads: int, tmp_path: Path) -> None:
        """Within a stall, and right after one: no reason is left over."""
        pytest.importorskip(loop)
        program = """
            async def app(*_):
                for _ in range(3):
                    with loopwatch.watching(0.02):
                        await asyncio.sleep(0.01)
                        block()
                    with loopwatch.watching(0.02):
                        await asyncio.sleep(0.01)
                        block()
                        await asyncio.sleep(0)
                    with loopwatch.watching(0.02):
                        await asyncio.sleep(0.01)
                        block()
                        await asyncio.sleep(0.05)

            async def ends_within():
                asyncio.get_running_loop().call_later(0.01, asyncio.get_running_loop().stop)
                asyncio.get_running_loop().call_later(0.01, block)
                await asyncio.sleep(60)

            def ends():
                loop = new_loop()
                task = loop.create_task(ends_within())
                loop.run_forever()
                task.cancel()
                loop.run_until_complete(asyncio.wait([task]))
                loop.close()

            def work():
                with loopwatch.watching(0.02):
                    run(main(app))
                with loopwatch.watching(0.02):
                    ends()
                ends()

            threads = [threading.Thread(target=work) for _ in range(THREADS)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
            run(steps())
            print(quiet())
            """.replace("THREADS", str(threads))
        output, _ = run_program(tmp_path, SLOT + textwrap.dedent(program), loop)
        assert output.split() == ["coroutine"] * threads + ["True"]

    @pytest.mark.parametrize("loop", LOOPS)
    def test_other_threads_go_on(self, loop: str, tmp_path: Path) -> None:
        """Loops that nobody watches send a lot, while others begin and end to look."""
        pytest.importorskip(loop)
        program = """
            async def app(*_):
                for _ in range(20):
                    block(0.012)
                    await asyncio.sleep(0.003)
                over.set()

            async def value(number):
                await asyncio.sleep(0)
                return number

            async def sends():
                total = 0
                while not over.is_set():
                    found = await asyncio.gather(*(asyncio.create_task(value(number)) for number in range(50)))
                    total += found != list(range(50))
                failures.append(total)

            over, failures = threading.Event(), []
            # Loops that run already are not watched.
            others = [threading.Thread(target=run, args=(sends(),)) for _ in range(2)]
            for each in others:
                each.start()
            time.sleep(0.1)
            with loopwatch.watching(0.010):
                run(main(app))
            for each in others:
                each.join()
            run(steps())
            print(failures, quiet())
            """
        output, _ = run_program(tmp_path, SLOT + textwrap.dedent(program), loop)
        assert output.splitlines() == ["coroutine", "[0, 0] True"]

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
    @pytest.mark.parametrize("loop", LOOPS)
    def test_child_of_fork(self, loop: str, tmp_path: Path) -> None:
        """The reasons were the parent's; the slot that was left as it was is given back at the next step."""
        pytest.importorskip(loop)
        program = """
            import warnings
            warnings.simplefilter("ignore", DeprecationWarning)

            async def app(scope, *_):
                block()
                scope["loopwatch.template"] = "/"
                await asyncio.sleep(0)
                print("looks", not quiet(), flush=True)
                if os.fork() == 0:
                    child = threading.Thread(target=lambda: run(steps()))
                    child.start()
                    child.join()
                    print("child", quiet(), flush=True)
                    os._exit(0)
                os.wait()
                await asyncio.sleep(0.3)
                await steps()
                print("parent", quiet())

            loopwatch.start(record="rec", threshold=0.02)
            run(main(app))
            """
        output, _ = run_program(tmp_path, SLOT + textwrap.dedent(program), loop)
        assert output.splitlines() == ["coroutine", "looks True", "child True", "parent True"]

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="3.12 crashes without us, and before they share the GIL")
    def test_subinterpreters(self, tmp_path: Path) -> None:
        """They have the slots of the type too, and a GIL of their own."""
        program = """
            import _interpreters as interpreters

            async def app(*_):
                while not over.is_set():
                    block(0.012)
                    await asyncio.sleep(0.003)

            def work():
                inner = interpreters.create()
                failures.append(interpreters.exec(inner, INNER))
                interpreters.destroy(inner)
                over.set()

            over, failures = threading.Event(), []
            other = threading.Thread(target=work)
            other.start()
            with loopwatch.watching(0.010):
                run(main(app))
            other.join()
            run(steps())
            print(failures, quiet())
            """
        output, _ = run_program(tmp_path, f"{SLOT}INNER = {INNER!r}\n{textwrap.dedent(program)}")
        assert output.splitlines() == ["coroutine", "[None] True"]
