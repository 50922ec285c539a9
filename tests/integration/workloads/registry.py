"""Which functions are workloads."""

from __future__ import annotations

from collections.abc import Callable

Workload = Callable[[], object]
WORKLOADS: dict[str, Workload] = {}


def workload(function: Workload) -> Workload:
    """Make it one of the workloads."""
    WORKLOADS[function.__name__] = function
    return function
