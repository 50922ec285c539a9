"""What it costs to know whose request runs: microseconds per request, and the req/s of a saturated server.

`python -m benchmarks.requests asyncio 20` prints, as JSON, that many rounds of microseconds per request: through a
middleware that does nothing, through ours without headers, and with them. All three run one right after the other in
one watched loop, in changing order.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from dataclasses import asdict

import loopwatch
from benchmarks.load import CONNECTIONS, in_turns
from benchmarks.loops import LOOPS, SERVERS, factory_of
from benchmarks.outcome import Outcome, spread
from benchmarks.watched import printed, uvicorn
from loopwatch.asgi import App, LoopwatchMiddleware, Message, Receive, Scope, Send

REQUESTS = 300  # so few that most rounds pass without being interrupted
Round = tuple[float, float, float]


class DoesNothing:
    """The least that a middleware can be."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class Route:
    """A route as Starlette leaves it in the scope."""

    path_format = "/items/{item}"

    @staticmethod
    async def endpoint() -> None: ...


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    scope["route"], scope["endpoint"] = Route, Route.endpoint
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def receive() -> Message:
    return {"type": "http.request"}


async def send(message: Message) -> None: ...


async def measure(wrapped: App) -> float:
    """Microseconds per request."""
    begin = time.perf_counter()
    for _ in range(REQUESTS):
        await wrapped({"type": "http", "method": "GET", "path": "/items/1", "headers": []}, receive, send)
    return (time.perf_counter() - begin) / REQUESTS * 1e6


async def rounds(count: int) -> list[Round]:
    apps: list[App] = [DoesNothing(app), LoopwatchMiddleware(app, headers=False), LoopwatchMiddleware(app)]
    found = []
    for number in range(-1, count):
        order = (0, 1, 2) if number % 2 else (2, 1, 0)
        taken = {}
        for each in order:
            taken[each] = await measure(apps[each])
            await asyncio.sleep(0)  # an iteration for each, shorter than a stall
        if number >= 0:
            found.append((taken[0], taken[1], taken[2]))
    return found


def main() -> None:
    kind, count = sys.argv[1], int(sys.argv[2])
    loopwatch.start(threshold=1)
    gc.disable()
    with asyncio.Runner(loop_factory=factory_of(kind)) as runner:
        json.dump(runner.run(rounds(count)), sys.stdout)
    loopwatch.stop()


def cost(quick: bool) -> Outcome:
    count = 200 if quick else 2_000
    outcome = Outcome(
        "request",
        f"One request through a middleware, µs: median [quartiles] of {count} rounds",
        ["loop", "that does nothing", "ours, more", "with headers, more"],
    )
    for loop in LOOPS:
        found: list[Round] = printed("requests", loop, str(count))
        outcome.add(
            [
                loop,
                spread([nothing for nothing, _, _ in found], 2),
                spread([ours - nothing for nothing, ours, _ in found], 2),
                spread([headers - nothing for nothing, _, headers in found], 2),
            ],
            loop=loop,
            rounds_us=found,
        )
    return outcome


def served(quick: bool) -> Outcome:
    """Without headers, with three that are constants, and with ours. The middleware is there each time, since
    `loopwatch run` puts it there."""
    rounds, turns = (2, 40) if quick else (10, 100)
    outcome = Outcome(
        "headers",
        f"uvicorn + FastAPI under loopwatch run, {CONNECTIONS} connections: median of {rounds * turns} turns",
        ["loop", "parser", "req/s without headers", "with constants", "with ours", "ours to constants"],
    )
    for loop, http in SERVERS:
        found = []
        for _ in range(rounds):
            with (
                uvicorn(loop, watched=True, http=http) as none,
                uvicorn(loop, watched=True, http=http, app="with_constants") as constant,
                uvicorn(loop, "--headers", watched=True, http=http) as ours,
            ):
                found += in_turns([none, constant, ours], turns)
        speeds = [[each.per_second for each in turn] for turn in found]
        outcome.add(
            [
                loop,
                http,
                spread([none for none, _, _ in speeds], 0),
                f"{spread([constant / none for none, constant, _ in speeds], 3)} ×",
                f"{spread([ours / none for none, _, ours in speeds], 3)} ×",
                f"{spread([ours / constant for _, constant, ours in speeds], 3)} ×",
            ],
            loop=loop,
            http=http,
            turns=[[asdict(each) for each in turn] for turn in found],
        )
    return outcome


def run(quick: bool) -> list[Outcome]:
    return [cost(quick), served(quick)]


if __name__ == "__main__":
    main()
