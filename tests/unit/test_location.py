"""Where a stack belongs, for a response header and a span."""

from __future__ import annotations

import asyncio.events

from loopwatch import asgi, frameworks
from loopwatch.location import location_of, place_of

OWN = ("/srv/app/main.py", "handler", 7)
LIBRARY = ("/venv/lib/python3.12/site-packages/anyio/__init__.py", "run", 3)
LOOP = (asyncio.events.__file__, "Handle._run", 88)
MIDDLEWARE = (asgi.__file__, "LoopwatchMiddleware.__call__", 66)
STARTING = (frameworks.__file__, "_startup", 81)


def test_own_code_comes_first() -> None:
    assert place_of([LIBRARY, OWN, MIDDLEWARE, LOOP]) == OWN
    assert place_of([STARTING, LIBRARY, OWN]) == OWN


def test_else_the_innermost_that_is_not_of_loopwatch() -> None:
    assert place_of([LIBRARY, MIDDLEWARE, LOOP]) == LIBRARY
    assert place_of([STARTING, MIDDLEWARE, LOOP]) == LOOP
    assert location_of([STARTING, LIBRARY]) == f"{LIBRARY[0]}:3"


def test_there_may_be_none() -> None:
    assert place_of([]) is None
    assert place_of([MIDDLEWARE]) is None
    assert location_of([MIDDLEWARE]) == ""
