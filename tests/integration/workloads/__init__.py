"""Work that provokes stacks that never were.

Each function of `calls.py` and `objects.py` lets two ways of calling take turns, as fast as the interpreter goes, so
that frames of the one appear at the addresses where the other's were a moment ago: a sampler that reads frames one by
one sees callers from here and callees from there. A call of one of them takes every way it has, and always the same
ones.
"""

from __future__ import annotations

from tests.integration.workloads import calls, objects
from tests.integration.workloads.registry import WORKLOADS

FILES = {calls.__file__, objects.__file__}

__all__ = ["FILES", "WORKLOADS"]
