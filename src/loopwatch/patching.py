"""Patches to other people's functions: never twice, and no difference to be seen but the frame."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from typing import Any

_MARK = "__loopwatch__"


def replaced(owner: Any, name: str, wrapping: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `wrapping(original)` in the place of a function that the owner itself has. AttributeError if it has none."""
    original = vars(owner).get(name)
    if original is None:
        raise AttributeError(name)
    if getattr(original, _MARK, False):
        return
    wrapper = wrapping(original)
    setattr(wrapper, _MARK, True)
    setattr(owner, name, wrapper)


def after(owner: type, name: str, then: Callable[..., None]) -> None:
    """Have `then` called with the arguments of a method whenever that has returned. What it raises is ignored."""

    def wrapping(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            with contextlib.suppress(Exception):
                then(*args, **kwargs)
            return result

        return wrapper

    replaced(owner, name, wrapping)
