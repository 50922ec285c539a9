"""Which stalls of a recording a report is about."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from loopwatch.model import Cause, Stall


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stalls count: at least `least` seconds long, at any moment between two Unix times, and caused by an
    endpoint that a pattern such as ``GET /items/*`` fits, in which ``*`` stands for slashes too, and in which the
    loop's thread was mostly doing what `cause` says."""

    least: float = 0.0
    since: float | None = None
    until: float | None = None
    endpoint: str | None = None
    cause: Cause | None = None

    def takes(self, stall: Stall) -> bool:
        """Whether this stall counts."""
        return (
            stall.duration >= self.least
            and (self.since is None or stall.end >= self.since)
            and (self.until is None or stall.start <= self.until)
            and (self.endpoint is None or self.fits(stall.endpoint))
            and (self.cause is None or stall.cause == self.cause)
        )

    def fits(self, endpoint: str) -> bool:
        """Whether the pattern fits this endpoint; none fits one that is not known."""
        return bool(endpoint) and fnmatchcase(endpoint, self.endpoint or "*")

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self == Selection()
