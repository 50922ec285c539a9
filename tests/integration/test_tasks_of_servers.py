"""A server's task that is a request itself, as uvicorn's are: nobody may see a difference but the watch."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import types
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from loopwatch import LoopwatchMiddleware, _core
from loopwatch._core import Request, Serving
from loopwatch.asgi import App, Message, Receive, Scope, Send
from tests.integration.behaviours import BEHAVIOURS, END, plain
from tests.integration.exchange import described, exchange, http
from tests.integration.watched_program import run_program


def around(app: App) -> App:
    """The app as `loopwatch run` has it."""
    return LoopwatchMiddleware(app, headers=False).tracking


class Cycle:
    """One request of a server."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope

    async def run(self, app: App) -> Any:
        incoming: list[Message] = [
            {"type": "http.request", "body": b"abc", "more_body": False},
            {"type": "http.disconnect"},
        ]
        return await exchange(app, self.scope, *incoming)

    async def let_out(self, app: App) -> Any:
        async def nothing(*_: Any) -> Any: ...

        return await app(self.scope, nothing, nothing)


class Watched(Cycle):
    run: Any = Serving(Cycle.run)
    let_out: Any = Serving(Cycle.let_out)


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_same(behaviour: str) -> None:
    app = BEHAVIOURS[behaviour]
    outcomes = []
    for kind, each in ((Cycle, app), (Watched, around(app)), (Watched, around(LoopwatchMiddleware(app)))):
        task: asyncio.Task[Any] = asyncio.create_task(kind(http()).run(each))
        outcomes.append((await asyncio.wait_for(task, 20), task.cancelled()))
        assert isinstance(task.get_coro(), Request) == (kind is Watched)
    bare, watched, twice = outcomes
    assert watched[0].outcome == bare[0].outcome
    assert twice[0].result == bare[0].result
    assert described(twice[0].error) == described(bare[0].error)


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
    for kind, each in ((Cycle, app), (Watched, around(app))):
        task: asyncio.Task[Any] = asyncio.create_task(kind(http()).let_out(each))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel(message)
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        ends.append((task.cancelled(), task.cancelling(), caught.value.args))
    assert ends[0] == ends[1]
    assert seen[::2] == seen[1::2]


async def test_fails() -> None:
    async def app(*_: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine") as caught:
        await asyncio.create_task(Watched(http()).let_out(around(app)))
    functions = [entry.name for entry in caught.traceback]
    assert functions == ["test_fails", "let_out", "app"]


async def test_is_taken_for_a_coroutine() -> None:
    """By asyncio, anyio, debuggers."""

    async def app(*_: Any) -> None:
        await asyncio.sleep(60)

    coroutine: Any = Watched(http()).let_out(around(app))
    task: asyncio.Task[Any] = asyncio.create_task(coroutine)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED
    await asyncio.sleep(0)
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_SUSPENDED
    assert "Cycle.let_out() running at" in repr(task)
    [frame] = task.get_stack()
    assert frame.f_code is Cycle.let_out.__code__
    assert coroutine.cr_await.cr_code is app.__code__
    task.cancel()
    await asyncio.wait([task])
    assert inspect.getcoroutinestate(coroutine) == inspect.CORO_CLOSED
    assert asyncio.iscoroutine(coroutine)
    assert inspect.iscoroutine(coroutine)


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

        within: Any = LoopwatchMiddleware(plain)
        before = Request().number
        found = await asyncio.create_task(Watched(http()).run(around(app)))
        assert len(found.headers) == 4
        assert Request().number == before + 2

    async def test_another_app_in_this_process(self) -> None:
        numbers = []

        async def inner(scope: Scope, receive: Receive, send: Send) -> None:
            numbers.append(_core.whose())
            await plain(scope, receive, send)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            numbers.append(_core.whose())
            assert (await exchange(LoopwatchMiddleware(inner), http())).error is None
            numbers.append(_core.whose())
            await plain(scope, receive, send)

        await asyncio.create_task(Watched(http()).run(around(app)))
        assert numbers == [numbers[0], numbers[0] + 1, numbers[0]]

    async def test_over(self) -> None:
        """What the task leaves behind works for none that is under way: a request from there is one of its own."""
        found: list[Any] = []

        async def later(scope: Scope) -> None:
            await asyncio.sleep(0.01)
            found.append(await exchange(LoopwatchMiddleware(plain), scope))

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            found.append(asyncio.create_task(later(scope)))

        await asyncio.create_task(Watched(http()).let_out(around(app)))
        await found[0]
        assert len(found[1].headers) == 4


class TestResponses:
    """What they are to say, once."""

    @pytest.mark.parametrize("app", [plain, LoopwatchMiddleware(plain), LoopwatchMiddleware(plain, headers=False)])
    async def test_headers(self, app: App) -> None:
        before = Request().number
        found = await asyncio.create_task(Watched(http()).run(LoopwatchMiddleware(app).tracking))
        assert len(found.headers) == 4
        assert Request().number == before + 2

    @pytest.mark.parametrize("headers", [False, True])
    @pytest.mark.parametrize("app", [plain, LoopwatchMiddleware(plain), LoopwatchMiddleware(plain, headers=False)])
    async def test_told(self, app: App, headers: bool) -> None:
        told: list[int] = []
        _core.tell_responses(lambda request: told.append(request.number))
        try:
            for _ in range(2):
                await asyncio.create_task(Watched(http()).run(LoopwatchMiddleware(app, headers=headers).tracking))
        finally:
            _core.tell_responses(None)
        assert told == [told[0], told[0] + 1]


class TestLeftAlone:
    """What is not just to be known goes as it went."""

    @pytest.mark.parametrize(
        "app",
        [
            plain,
            LoopwatchMiddleware(plain),
            LoopwatchMiddleware(plain, headers=False, exclude=["/health"]).tracking,
        ],
    )
    async def test_other_apps(self, app: App) -> None:
        coroutine: Any = Watched(http()).run(app)
        assert type(coroutine) is types.CoroutineType
        assert (await coroutine).sent[1] == END

    async def test_called_otherwise(self) -> None:
        coroutine: Any = Watched(http()).run(app=around(plain))
        assert type(coroutine) is types.CoroutineType
        await coroutine
        with pytest.raises(TypeError, match="missing 1 required positional argument: 'app'"):
            Watched(http()).run()

    def test_original_that_is_no_coroutine_function(self) -> None:
        def run(cycle: object, app: object) -> object:
            return app

        def fail(cycle: object, app: object) -> Awaitable[None]:
            raise LookupError

        given: Any = Serving(run)(Cycle(http()), around(plain))  # type: ignore[arg-type]
        assert given == plain
        with pytest.raises(LookupError):
            Serving(fail)(Cycle(http()), around(plain))

    async def test_cycle_without_a_scope(self) -> None:
        """Another version's."""

        class Other:
            async def original(self, app: App) -> None:
                await app({"type": "http"}, None, None)  # type: ignore[arg-type]

            run: Any = Serving(original)

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            await LoopwatchMiddleware(inner)(http(), receive, send)

        async def inner(*_: Any) -> None: ...

        await asyncio.create_task(Other().run(around(app)))


async def test_context() -> None:
    """What a request sets is seen in its task, and nowhere else."""
    variable = contextvars.ContextVar("variable", default=0)

    async def app(*_: Any) -> None:
        variable.set(variable.get() + 1)
        assert await asyncio.create_task(asyncio.to_thread(variable.get)) == 1

    for _ in range(10):
        await asyncio.create_task(Watched(http()).let_out(around(app)))
    assert variable.get() == 0


@pytest.mark.parametrize("end", ["dropped", "closed", "cycle"])
async def test_not_awaited_to_its_end(end: str) -> None:
    """A loop that stops drops its tasks. Nothing is kept, `finally` runs."""
    seen = []

    async def app(*_: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append("finally")

    cycle = Watched(http())
    coroutine: Any = cycle.let_out(around(app))
    coroutine.send(None)
    if end == "closed":
        coroutine.close()
    if end == "cycle":
        cycle.scope["mine"] = coroutine
    gone = weakref.ref(cycle)
    del cycle, coroutine
    gc.collect()
    assert seen == ["finally"]
    assert gone() is None


def test_stall_of_one_that_was_dropped(tmp_path: Path) -> None:
    """Its endpoint is asked for when it goes."""
    program = """
        import gc
        from loopwatch._core import Serving, Tracking

        async def app(*_):
            block()
            await asyncio.get_running_loop().create_future()  # which nobody else has

        class Cycle:
            scope = {"type": "http"}

            @Serving
            async def run(self, app):
                await app(self.scope, None, None)

        def name_of(scope, over):
            return "GET /" if over else None

        async def main():
            asyncio.create_task(Cycle().run(Tracking(app, app, name_of, None, None, None)))
            await asyncio.sleep(0.01)
            gc.collect()
            await asyncio.sleep(0.01)

        loopwatch.start(record="rec", threshold=0.02)
        run(main())
        """
    _, [stalls] = run_program(tmp_path, program)
    assert "GET /" in [stall.endpoint for stall in stalls]


async def test_dropped_in_its_own_context() -> None:
    """What then runs in it must not find the request that goes."""
    seen: list[Any] = []

    async def app(*_: Any) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            seen.append(around(plain)(http(), None, None))  # type: ignore[arg-type]

    held: list[Any] = [Watched(http()).let_out(around(app))]
    context = contextvars.copy_context()
    context.run(held[0].send, None)
    context.run(held.clear)
    [request] = seen
    assert isinstance(request, Request)
    request.close()  # type: ignore[attr-defined]


async def test_never_started() -> None:
    with pytest.warns(RuntimeWarning, match=r"coroutine 'Cycle\.let_out' was never awaited"):
        Watched(http()).let_out(around(plain))
        gc.collect()


async def test_ten_thousand_leave_nothing() -> None:
    async def app(*_: Any) -> None:
        await asyncio.sleep(0)

    async def burst(count: int) -> None:
        await asyncio.gather(*(asyncio.create_task(Watched(http()).let_out(around(app))) for _ in range(count)))
        await asyncio.sleep(0)  # the loop lets go of them

    await burst(1000)
    gc.collect()
    before = len(gc.get_objects())
    await burst(10000)
    gc.collect()
    assert len(gc.get_objects()) < before + 1500  # as many tables of contexts as are kept
