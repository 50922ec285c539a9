"""A program that forks from within its running loop, over and over: `python -m benchmarks.forking LOOP COUNT`.

Children end at once, or in order, with and without a loop of their own. Prints, as JSON, what the parent holds after
the first tenth and at the end.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from benchmarks.loops import factory_of
from benchmarks.sites import memory

Runner = Callable[[Coroutine[Any, Any, Any]], Any]


def runner(loop: str) -> Runner:
    factory = factory_of(loop)

    def run(main: Coroutine[Any, Any, Any]) -> Any:
        with asyncio.Runner(loop_factory=factory) as one:
            return one.run(main)

    return run


async def blocking() -> None:
    await asyncio.sleep(0)
    time.sleep(0.002)
    await asyncio.sleep(0)


def own_loop(run: Runner) -> None:
    asyncio._set_running_loop(None)  # asyncio allows one within another only so; uvloop's parent has not left its own
    run(blocking())


def leave_at_once(run: Runner) -> None:
    os._exit(0)


def leave_in_order(run: Runner) -> None:
    """As multiprocessing's children do: Python 3.14 lets no exception through a loop that is not the child's own."""
    atexit._run_exitfuncs()
    os._exit(0)


def leave_after_a_loop(run: Runner) -> None:
    own_loop(run)
    os._exit(0)


def leave_in_order_after_a_loop(run: Runner) -> None:
    own_loop(run)
    leave_in_order(run)


CHILDREN = [leave_at_once, leave_in_order, leave_after_a_loop, leave_in_order_after_a_loop]
WITH_LOOP = 2  # of them


def fork(child: Callable[[Runner], None], run: Runner) -> int:
    """Its exit status, -N for signal N. In the child it does not return."""
    pid = os.fork()
    if pid == 0:
        child(run)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def held() -> dict[str, int]:
    process = Path("/proc/self")
    counts = {name: sum(1 for _ in (process / name).iterdir()) for name in ("fd", "task")}
    return {**counts, "resident": memory()[0]}


async def main(run: Runner, count: int) -> dict[str, Any]:
    failed: dict[int, int] = {}
    begin = time.monotonic()
    for number in range(count):
        status = fork(CHILDREN[number % len(CHILDREN)], run)
        if status:
            failed[status] = failed.get(status, 0) + 1
        await asyncio.sleep(0)
        if number == count // 10:
            early = held()
    return {"failed": failed, "seconds": time.monotonic() - begin, "early": early, "late": held()}


if __name__ == "__main__":
    run = runner(sys.argv[1])
    json.dump(run(main(run, int(sys.argv[2]))), sys.stdout)
