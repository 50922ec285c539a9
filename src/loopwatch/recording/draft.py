"""A stall in the making.

A frozen dataclass sets each of its fields through `object.__setattr__`, which for the 18 of a `Stall` takes longer
than to parse its record. So a stall is filled in as an object of the same layout that is not frozen, and told in the
end what it is: nobody else has it yet.
"""

from __future__ import annotations

from dataclasses import fields, make_dataclass
from typing import Any

from loopwatch.model import Stall

Draft: Any = make_dataclass("Draft", [(each.name, each.type, each) for each in fields(Stall)], slots=True)


def seal(draft: Any) -> Stall:
    """The draft itself, as the stall that it describes."""
    draft.__class__ = Stall
    return draft  # type: ignore[no-any-return]
