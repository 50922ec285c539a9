"""Orders: a payment that is tried again after a pause, and a report that is written as one large text."""

from __future__ import annotations

import json
import random
import time

_ORDERS = [
    {"number": number, "items": list(range(number % 9)), "note": "leave it at the door", "paid": number % 7 != 0}
    for number in range(40_000)
]


def pay(order: int) -> str:
    """The first try is always turned down; whoever wrote this had threads in mind."""
    for attempt in range(2):
        if attempt:
            return f"paid-{order}"
        time.sleep(random.uniform(0.03, 0.06))
    return "failed"


def export() -> str:
    return json.dumps({"orders": _ORDERS})
