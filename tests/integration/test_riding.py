"""A request that rides on the app's own coroutine: nobody may see a difference but the watch."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import sys
import threading
import traceback
import types
import weakref
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

import loopwatch
from loopwatch import LoopwatchMiddleware, _core
from loopwatch._core import Request
from loopwatch.asgi import App, Receive, Scope, Send
from tests.integration.behaviours import BEHAVIOURS, plain
from tests.integration.exchange import described, exchange, http
from tests.integration.riding import Cycle, around, carried, is_awaited, nothing, rides, riding
from tests.integration.watched_program import LOOPS, run_program

NO_COROUTINE = {"raises_when_called", "no_awaitable", "future", "generator_based", "Awaited"}


async def waiting(*_: Any) -> None:
    """An app that waits for good."""
    await asyncio.get_running_loop().create_future()  # which nobody else has


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_same(behaviour: str) -> None:
    app = BEHAVIOURS[behaviour]
    ridden = around if behaviour in NO_COROUTINE else rides
    outcomes = []
    async with riding():
        for each in (app, ridden(app), ridden(around(app))):
            task: asyncio.Task[Any] = asyncio.create_task(Cycle(http()).run(each))
            outcomes.append(((await asyncio.wait_for(task, 20)).outcome, task.cancelled()))
    assert outcomes[1:] == outcomes[:1] * 2


async def test_same_with_another_around_it() -> None:
    """One that asks for times, made within a request that rides already."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await LoopwatchMiddleware(plain)(scope, receive, send)

    async with riding():
        found = await exchange(rides(app), http())
    assert len(found.headers) == 4
    assert found.value(b"x-blocking-time-ms") == 0  # no stall
    assert found.value(b"x-loop-delay-ms") == 0


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("message", [None, "client went"])
async def test_cancelled(turns: int, message: str | None) -> None:
    """Before its first step, too."""
    seen: list[str] = []

    async def app(*_: Any) -> None:
        try:
            await asyncio.sleep(0)
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            seen.append(f"{error.args}")
            await asyncio.sleep(0)
            raise

    ends = []
    async with riding():
        for each in (app, rides(app)):
            task: asyncio.Task[Any] = asyncio.create_task(Cycle(http()).let_out(each))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel(message)
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            ends.append((task.cancelled(), task.cancelling(), caught.value.args))
    assert ends[0] == ends[1]
    assert seen[::2] == seen[1::2]


@pytest.mark.parametrize("sets_a_variable", [False, True])
async def test_fails(sets_a_variable: bool) -> None:
    """The request goes with the exception on its way: with a context of its own that is more than two pointers."""
    variable = contextvars.ContextVar("variable", default=0)

    async def inner() -> None:
        await asyncio.sleep(0)
        raise LookupError("mine")

    async def app(*_: Any) -> None:
        if sets_a_variable:
            variable.set(1)
        try:
            await inner()
        except LookupError as error:
            raise ValueError("outer") from error

    found = []
    async with riding():
        for each in (app, rides(app)):
            with pytest.raises(ValueError, match="outer") as caught:
                await asyncio.create_task(Cycle(http()).let_out(each))
            entries = [(entry.name, entry.lineno) for entry in traceback.extract_tb(caught.value.__traceback__)]
            found.append((entries[1:], described(caught.value)))
    assert found[0] == found[1]
    assert [name for name, _ in found[1][0]] == ["let_out", "app"]


class TestIsACoroutine:
    """A plain one, for asyncio, anyio, debuggers."""

    async def test_looked_at(self) -> None:
        async with riding():
            coroutine: Any = rides(waiting)(http(), nothing, nothing)
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
            task = asyncio.create_task(coroutine)
            await asyncio.sleep(0)
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
            assert "coro=<waiting() running at" in repr(task)
            [frame] = task.get_stack()
            assert frame.f_code is waiting.__code__
            assert coroutine.cr_origin is None
            assert not coroutine.cr_running
            task.cancel()
            await asyncio.wait([task])
            assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
            assert asyncio.iscoroutine(coroutine)

    async def test_awaited_by_a_server(self) -> None:
        async with riding():
            coroutine: Any = Cycle(http()).let_out(rides(waiting))
            task = asyncio.create_task(coroutine)
            await asyncio.sleep(0)
            assert "Cycle.let_out() running at" in repr(task)
            assert coroutine.cr_await.cr_code is waiting.__code__
            assert carried(coroutine.cr_await).number == Request().number - 1
            task.cancel()
            await asyncio.wait([task])

    async def test_awaited_twice(self) -> None:
        async with riding():
            coroutine = rides(nothing)(http(), nothing, nothing)
            await coroutine
            with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
                await coroutine

    async def test_origin_of_others(self) -> None:
        """It is known in debug mode, and there is nothing else in its place."""
        attribute = vars(types.CoroutineType)["cr_origin"]
        assert isinstance(attribute, types.GetSetDescriptorType)
        before = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(1)
        try:
            told: Any = nothing()
        finally:
            sys.set_coroutine_origin_tracking_depth(before)
        assert told.cr_origin is not None
        assert told.cr_origin[0][2] == "test_origin_of_others"
        assert nothing_told() is None
        await told


def nothing_told() -> object:
    """The origin of a coroutine that has none."""
    coroutine: Any = nothing()
    try:
        return coroutine.cr_origin
    finally:
        coroutine.close()


class TestOneRequest:
    """However many of the middlewares there are."""

    @pytest.mark.parametrize(
        "dispatch",
        [
            lambda scope: scope,
            dict,
            lambda scope: {**scope, "path": "/sub"},
            lambda scope: {**scope, "headers": [*scope["headers"], (b"x-request-id", b"1")]},
        ],
    )
    async def test_within(self, dispatch: Callable[[Scope], Scope]) -> None:
        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            # As Starlette's BaseHTTPMiddleware does: a task of its own.
            await asyncio.create_task(within(dispatch(scope), receive, send))

        within = LoopwatchMiddleware(plain, headers=False)
        async with riding():
            before = Request().number
            assert (await exchange(rides(app), http())).error is None
            assert Request().number == before + 2

    async def test_one_after_another_in_the_same_context(self) -> None:
        """What goes before it is over as soon as it has returned."""
        seen: list[int] = []

        async def app(scope: Scope, *_: Any) -> None:
            seen.append(_core.whose())
            await asyncio.sleep(0)

        scope = http()
        async with riding():
            first = Request().number + 1
            for _ in range(3):
                await rides(app)(scope, nothing, nothing)
                assert _core.whose() == 0
        assert seen == [first, first + 1, first + 2]

    async def test_another_app_in_this_process(self) -> None:
        numbers = []

        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            numbers.append(_core.whose())
            await plain(scope, receive, send)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            numbers.append(_core.whose())
            assert (await exchange(rides(inner), http())).error is None
            numbers.append(_core.whose())
            await plain(scope, receive, send)

        async with riding():
            await exchange(rides(app), http())
        assert numbers == [numbers[0], numbers[0] + 1, numbers[0]]

    async def test_over(self) -> None:
        """What the task leaves behind works for none that is under way: a request from there is one of its own."""
        found: list[Any] = []

        async def later(scope: Scope) -> None:
            await asyncio.sleep(0.01)
            found.append(Request().number)
            await rides(plain)(scope, nothing, nothing)
            found.append(Request().number)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            found.append(asyncio.create_task(later(scope)))

        async with riding():
            await asyncio.create_task(Cycle(http()).let_out(rides(app)))
            await found[0]
        assert found[2] == found[1] + 2

    async def test_times_were_asked_for_once(self) -> None:
        """From then on changes of contexts are told, where the version can: who rides is over in time all the same."""
        assert len((await exchange(LoopwatchMiddleware(plain), http())).headers) == 4
        async with riding():
            for _ in range(3):
                await rides(nothing)(http(), nothing, nothing)
                assert _core.whose() == 0
                gone = weakref.ref(cycle := Cycle(http()))
                cycle.scope["cycle"] = cycle
                await asyncio.create_task(cycle.let_out(rides(nothing)))
                cycle.scope.clear()
                del cycle
                assert gone() is None


class TestRidesOnNothing:
    """Then it is awaited, and the same."""

    @pytest.mark.parametrize("behaviour", sorted(NO_COROUTINE - {"raises_when_called"}))
    async def test_no_coroutine(self, behaviour: str) -> None:
        async with riding():
            before = Request().number
            awaitable = None
            try:
                awaitable = around(BEHAVIOURS[behaviour])(http(), nothing, nothing)
            except TypeError:
                assert behaviour == "no_awaitable"
            else:
                assert is_awaited(awaitable)
                await awaitable
            assert Request().number == before + 2
            assert _core.whose() == 0

    async def test_raises(self) -> None:
        async with riding():
            before = Request().number
            with pytest.raises(TypeError, match="not even awaited"):
                around(BEHAVIOURS["raises_when_called"])(http(), nothing, nothing)
            assert Request().number == before + 2
            assert _core.whose() == 0

    async def test_carried_already(self) -> None:
        """The coroutine of another request: it has one of its own."""

        async def app(*_: Any) -> None:
            numbers.append(_core.whose())

        numbers: list[int] = []
        async with riding():
            before = Request().number
            other = rides(app)(http(), nothing, nothing)
            awaitable = around(lambda *_: other)(http("/2"), nothing, nothing)
            assert is_awaited(awaitable)
            await awaitable
        assert numbers == [before + 2]

    @pytest.mark.parametrize("way", ["debug", "tracking"])
    async def test_origin_is_known(self, way: str) -> None:
        async with riding():
            before = sys.get_coroutine_origin_tracking_depth()
            loop = asyncio.get_running_loop()
            if way == "debug":
                loop.set_debug(True)
                await asyncio.sleep(0)
            else:
                sys.set_coroutine_origin_tracking_depth(3)
            try:
                numbers: list[int] = []

                async def app(*_: Any) -> None:
                    numbers.append(_core.whose())
                    await asyncio.sleep(0)
                    numbers.append(_core.whose())

                awaitable = around(app)(http(), nothing, nothing)
                assert is_awaited(awaitable)
                assert awaitable.cr_origin is not None
                await awaitable
                assert numbers == [Request().number - 1] * 2
            finally:
                loop.set_debug(False)
                sys.set_coroutine_origin_tracking_depth(before)

    async def test_more_than_there_are_slots(self) -> None:
        """Those beyond are awaited, so that their names are known beforehand."""
        ready = asyncio.Event()

        async def app(*_: Any) -> None:
            await ready.wait()

        async with riding():
            kinds = []
            tasks = []
            for _ in range(5000):
                awaitable = contextvars.copy_context().run(around(app), http(), nothing, nothing)
                kinds.append(type(awaitable))

                async def awaits(awaitable: Any = awaitable) -> None:
                    await awaitable

                tasks.append(asyncio.create_task(awaits()))
                del awaitable
            await asyncio.sleep(0)
            ready.set()
            await asyncio.gather(*tasks)
            tasks.clear()
            del awaits
            await asyncio.sleep(0)
            assert kinds[:100] == [types.CoroutineType] * 100
            assert 5000 - 4096 <= kinds.count(Request) < 2000
            await rides(app)(http(), nothing, nothing)  # the slots are free again


async def test_calls_of_classes_change() -> None:
    """What an app's class has for a call is looked up once, and again when it is another class or was changed."""

    class First:
        async def __call__(self, *_: Any) -> Any:
            return "first"

    class Second(First):
        pass

    first: Any = First
    second: Any = Second

    async def other(*_: Any) -> str:
        return "other"

    async with riding():
        apps = [rides(first()), rides(second())]

        async def said() -> list[Any]:
            return [await app(http(), nothing, nothing) for app in [*apps, *reversed(apps)]]

        assert await said() == ["first"] * 4
        second.__call__ = other
        assert await said() == ["first", "other", "other", "first"]
        del second.__call__
        assert await said() == ["first"] * 4
        first.__call__ = staticmethod(other)
        assert await said() == ["other"] * 4
        first.__call__ = other
        assert await said() == ["other"] * 4


async def test_context() -> None:
    """What a request sets is seen in its task, and nowhere else."""
    variable = contextvars.ContextVar("variable", default=0)

    async def app(*_: Any) -> None:
        variable.set(variable.get() + 1)
        assert await asyncio.create_task(asyncio.to_thread(variable.get)) == 1

    async with riding():
        for _ in range(10):
            await asyncio.create_task(Cycle(http()).let_out(rides(app)))
        assert variable.get() == 0
        await rides(app)(http(), nothing, nothing)
        assert variable.get() == 1  # in the same context it stays, as without us
        assert _core.whose() == 0


async def test_nested_in_another_context() -> None:
    """Called in one context and awaited in another, as where a server has a context for each connection."""
    numbers: list[int] = []

    async def app(*_: Any) -> None:
        numbers.append(_core.whose())
        await asyncio.sleep(0)
        numbers.append(_core.whose())

    async with riding():
        context = contextvars.copy_context()
        coroutine: Any = context.run(rides(app), http(), nothing, nothing)
        number = carried(coroutine).number
        assert _core.whose() == 0
        await coroutine
        task: asyncio.Task[None] = asyncio.create_task(
            context.run(rides(app), http(), nothing, nothing), context=context
        )
        await task
        assert _core.whose() == 0
        assert numbers == [0, 0, number + 1, number + 1]


class TestNotAwaitedToItsEnd:
    """A loop that stops drops its tasks. Nothing is kept, `finally` runs."""

    @pytest.mark.parametrize("end", ["dropped", "closed", "cycle"])
    async def test_not_awaited_to_its_end(self, end: str) -> None:
        seen = []

        async def app(*_: Any) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append("finally")

        async with riding():
            cycle = Cycle(http())
            cycle.scope["cycle"] = cycle
            coroutine: Any = rides(app)(cycle.scope, nothing, nothing)
            request = weakref.ref(cycle)
            coroutine.send(None)
            if end == "closed":
                coroutine.close()
            if end == "cycle":
                cycle.scope["mine"] = coroutine
            del cycle, coroutine
            gc.collect()
            assert seen == ["finally"]
            assert request() is None
            assert _core.whose() == 0
            await rides(nothing)(http(), nothing, nothing)

    async def test_dropped_in_its_own_context(self) -> None:
        """What then runs in it is still within it; another request is one of its own."""
        seen: list[Any] = []

        async def app(*_: Any) -> None:
            try:
                await asyncio.sleep(60)
            finally:
                seen.append((_core.whose(), around(plain)(http(), nothing, nothing)))

        async with riding():
            context = contextvars.copy_context()
            held: list[Any] = [context.run(rides(app), http(), nothing, nothing)]
            number = carried(held[0]).number
            context.run(held[0].send, None)
            context.run(held.clear)
            [(whose, other)] = seen
            assert whose == number
            assert carried(other).number == number + 1
            other.close()

    async def test_goes_where_a_child_goes_on(self) -> None:
        """The last that holds it lets go of it in the context of a task that it has begun: a request there, even of
        the same scope, is one of its own."""
        held: list[Any] = []
        numbers: list[int] = []

        async def child(scope: Scope) -> None:
            within = around(nothing)(scope, nothing, nothing)
            numbers.append(_core.whose())
            await within
            held.clear()
            coroutine = rides(nothing)(scope, nothing, nothing)
            numbers.append(carried(coroutine).number)
            await coroutine

        async with riding():
            context = contextvars.copy_context()
            scope = http()
            held.append(context.run(rides(waiting), scope, nothing, nothing))
            number = carried(held[0]).number
            context.run(held[0].send, None)
            await asyncio.create_task(child(scope), context=context.copy())
            assert numbers == [number, number + 1]

    async def test_gone_in_another_thread(self) -> None:
        async with riding():
            held = [contextvars.copy_context().run(rides(waiting), http(), nothing, nothing)]
            held[0].send(None)
            thread = threading.Thread(target=held.clear)
            thread.start()
            thread.join()
            await rides(nothing)(http(), nothing, nothing)

    @pytest.mark.parametrize("cycle", [False, True])
    async def test_never_started(self, cycle: bool, recwarn: pytest.WarningsRecorder) -> None:
        async with riding():
            scope = http()
            coroutine = rides(waiting)(scope, nothing, nothing)
            if cycle:
                scope["mine"] = coroutine
            del coroutine, scope
            gc.collect()
            [warning] = recwarn.list
            assert str(warning.message) == "coroutine 'waiting' was never awaited"
            assert warning.category is RuntimeWarning
            del warning
            recwarn.clear()  # it has the coroutine
            gc.collect()
            assert _core.whose() == 0

    def test_stall_of_one_that_was_dropped(self, tmp_path: Path) -> None:
        """Its endpoint is asked for when it goes."""
        program = """
            import gc
            from loopwatch._core import Tracking

            async def app(*_):
                block()
                await asyncio.get_running_loop().create_future()  # which nobody else has

            async def quick(*_): ...

            def name_of(scope, over):
                return "GET /" if over else None

            async def main():
                await Tracking(quick, quick, name_of, None, None, None)({"type": "http"}, None, None)
                coroutine = Tracking(app, app, name_of, None, None, None)({"type": "http"}, None, None)
                print(type(coroutine).__name__)
                asyncio.create_task(coroutine)
                del coroutine
                await asyncio.sleep(0.01)
                gc.collect()
                await asyncio.sleep(0.01)

            loopwatch.start(record="rec", threshold=0.02)
            run(main())
            """
        output, [stalls] = run_program(tmp_path, program)
        assert output.split()[0] == "coroutine"
        assert "GET /" in [stall.endpoint for stall in stalls]

    async def test_ten_thousand_leave_nothing(self) -> None:
        async def app(*_: Any) -> None:
            await asyncio.sleep(0)

        async def burst(count: int) -> None:
            await asyncio.gather(*(asyncio.create_task(Cycle(http()).let_out(rides(app))) for _ in range(count)))
            await asyncio.sleep(0)  # the loop lets go of them

        async with riding():
            for _ in range(2):
                await burst(1000)
            gc.collect()
            before = len(gc.get_objects())
            for _ in range(10):
                await burst(1000)
            gc.collect()
            assert len(gc.get_objects()) < before + 1500  # as many tables of contexts as are kept


class TestCollector:
    """It sees what rides, and what that has."""

    @pytest.fixture
    def frozen(self) -> Iterator[None]:
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()

    async def test_who_has_what(self) -> None:
        async with riding():
            scope = http()
            coroutine = rides(waiting)(scope, nothing, nothing)
            request = carried(coroutine)
            assert gc.is_tracked(request)
            assert any(each is scope for each in gc.get_referents(request))
            assert any(each is coroutine for each in gc.get_referrers(request))
            assert any(each is request for each in gc.get_referrers(scope))
            coroutine.close()

    @pytest.mark.usefixtures("frozen")  # else it looks at all that other tests have left, a hundred times
    async def test_in_the_middle(self) -> None:
        """Whoever is under way goes on."""
        seen: list[bool] = []

        async def app(scope: Scope, *_: Any) -> None:
            number = _core.whose()
            for _turn in range(5):
                gc.collect()
                await asyncio.sleep(0)
                seen.append(_core.whose() == number)

        async with riding():
            cycles = [Cycle(http()) for _ in range(20)]
            await asyncio.gather(*(asyncio.create_task(cycle.let_out(rides(app))) for cycle in cycles))
        assert seen == [True] * 100

    @pytest.mark.usefixtures("frozen")
    async def test_frozen(self) -> None:
        async with riding():
            kept = [contextvars.copy_context().run(rides(waiting), http(), nothing, nothing) for _ in range(10)]
            for each in kept:
                each.send(None)
            gc.freeze()
            gc.collect()
            assert len({carried(each).number for each in kept}) == 10
            gone = weakref.ref(cycle := Cycle(http()))
            cycle.scope.update(mine=kept.pop(), cycle=cycle)
            del cycle
            kept.clear()
            gc.collect()
            assert gone() is None

    async def test_counts_are_stable(self) -> None:
        def count() -> int:
            gc.collect()
            return sum(type(each) in (Request, types.CoroutineType) for each in gc.get_objects())

        async with riding():
            before = count()
            for _ in range(200):
                scope = http()
                scope["mine"] = coroutine = contextvars.copy_context().run(rides(waiting), scope, nothing, nothing)
                coroutine.send(None)
            del scope, coroutine
            assert count() == before
            for _ in range(200):
                await asyncio.create_task(Cycle(http()).let_out(rides(nothing)))
            await asyncio.sleep(0)  # the loop lets go of the last one
            assert count() == before


class TestOtherThreads:
    def test_loops_at_once(self) -> None:
        """Each has its own requests, while others stall."""
        failures: list[BaseException] = []
        served: list[int] = []

        async def app(scope: Scope, *_: Any) -> None:
            number = _core.whose()
            for turn in range(5):
                await asyncio.sleep(0.001)
                if turn == 2 and scope["number"] % 20 == 0:
                    threading.Event().wait(0.015)
                assert _core.whose() == number

        async def main() -> None:
            await around(nothing)(http(), nothing, nothing)
            for _ in range(5):
                cycles = (Cycle(http(number=number)) for number in range(40))
                await asyncio.gather(*(asyncio.create_task(each.let_out(rides(app))) for each in cycles))
                served.append(40)

        def work() -> None:
            try:
                asyncio.run(main())
            except BaseException as error:
                failures.append(error)

        gc.collect()
        with loopwatch.watching(0.010) as watch:
            threads = [threading.Thread(target=work) for _ in range(4)]
            for each in threads:
                each.start()
            for each in threads:
                each.join()
        assert failures == []
        assert sum(served) == 800
        assert watch.stalls != []

    @pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
    @pytest.mark.parametrize("loop", LOOPS)
    def test_fork_within_a_request(self, loop: str, tmp_path: Path) -> None:
        """The child ends its copy, and serves requests of its own."""
        pytest.importorskip(loop)
        program = """
            import gc, warnings
            from loopwatch import LoopwatchMiddleware, _core
            warnings.simplefilter("ignore", DeprecationWarning)

            def scope():
                return {"type": "http", "method": "GET", "path": "/"}

            async def quick(*_):
                await asyncio.sleep(0)
                print(_core.whose() > 0)

            async def forks(*_):
                number = _core.whose()
                block()
                if os.fork() == 0:
                    child = threading.Thread(target=lambda: run(main(quick)))  # another loop: this one is the parent's
                    child.start()
                    child.join()
                    gc.collect()
                    print("child", _core.whose() == number, flush=True)
                    os._exit(0)
                os.wait()
                await asyncio.sleep(0.01)
                print("parent", _core.whose() == number)

            async def main(app):
                tracking = LoopwatchMiddleware(app, headers=False).tracking
                first = LoopwatchMiddleware(nothing, headers=False).tracking
                await first(scope(), None, None)
                for _ in range(2):
                    coroutine = tracking(scope(), None, None)
                    print(type(coroutine).__name__, flush=True)
                    await asyncio.create_task(coroutine)

            async def nothing(*_): ...

            loopwatch.start(record="rec", threshold=0.02)
            run(main(forks))
            """
        output, recordings = run_program(tmp_path, program, loop)
        of_child = ["coroutine", "True", "coroutine", "True", "child", "True"]
        assert output.split() == ["coroutine", *of_child, "parent", "True"] * 2
        assert len(recordings[0]) >= 2


def test_never_awaited_generator_function() -> None:
    """`types.coroutine` makes a generator of it, which nothing rides on."""

    @types.coroutine
    def app(*_: Any) -> Generator[None, None, None]:
        yield

    async def main() -> None:
        async with riding():
            awaitable = around(app)(http(), nothing, nothing)
            assert is_awaited(awaitable)

    asyncio.run(main())
    gc.collect()


def test_not_watched() -> None:
    """Then it is awaited."""

    async def main() -> None:
        for _ in range(2):
            awaitable = around(nothing)(http(), nothing, nothing)
            assert is_awaited(awaitable)
            await awaitable

    gc.collect()
    asyncio.run(main())


@pytest.mark.parametrize("app", ["middleware", "responses"])
async def test_times_are_asked_for(app: str) -> None:
    """Then it is awaited, too."""
    async with riding():
        asks: App | None = None
        if app == "middleware":
            asks = LoopwatchMiddleware(plain)
        else:
            _core.tell_responses(lambda request: None)
        try:
            awaitable = around(plain)(http(), nothing, nothing)
            assert is_awaited(awaitable)
            await awaitable
        finally:
            _core.tell_responses(None)
            del asks
        gc.collect()
        await rides(plain)(http(), nothing, nothing)
