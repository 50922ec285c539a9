"""Which stalls a report is about, as a sentence."""

from __future__ import annotations

from datetime import datetime

from loopwatch.analysis.selection import Selection
from loopwatch.report.words import duration, plain


def selected(selection: Selection) -> str:
    """``Only stalls of at least 50 ms are counted.``; empty where all are."""
    parts = []
    if selection.least:
        parts.append(f"of at least {duration(selection.least)}")
    if selection.endpoint is not None:
        parts.append(f"caused by {plain(selection.endpoint)}")
    if selection.cause is not None:
        parts.append(f"of cause {selection.cause}")
    if selection.since is not None:
        parts.append(f"since {_moment(selection.since)}")
    if selection.until is not None:
        parts.append(f"until {_moment(selection.until)}")
    return f"Only stalls {' '.join(parts)} are counted." if parts else ""


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix).astimezone().isoformat(" ", "seconds")
