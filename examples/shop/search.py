"""Search by pattern: one C call that keeps the GIL, so that a thread would not help."""

from __future__ import annotations

import re

# Nested quantifiers: time doubles with every further letter that almost matches.
_WORDS = re.compile(r"^(\w+\s?)*$")


def is_clean(query: str) -> bool:
    return _WORDS.match(query) is not None
