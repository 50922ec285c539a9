"""When stalls were, in a bounded number of spans of equal width."""

from __future__ import annotations

from dataclasses import dataclass, field

_MOST_SPANS = 1024
_FIRST_WIDTH = 1 / 64  # seconds; doubled as often as it takes, so that widths of two processes fit


@dataclass(slots=True)
class Timeline:
    """Stalls by their starts: how many, how long together, the longest. Seconds; starts are Unix time."""

    width: float = _FIRST_WIDTH
    spans: dict[int, tuple[int, float, float]] = field(default_factory=dict)
    _first: int = 0
    _last: int = -1

    def add(self, start: float, duration: float) -> None:
        """Add a stall."""
        self._add(int(start // self.width), 1, duration, duration)

    def absorb(self, other: Timeline) -> None:
        """Add another one."""
        while self.width < other.width:
            self._widen()
        for at, span in other.spans.items():
            # Widths are powers of two: a span lies within one of the wider ones.
            self._add(int(at * other.width // self.width), *span)

    def _add(self, at: int, stalls: int, seconds: float, most: float) -> None:
        count, total, longest = self.spans.get(at, (0, 0.0, 0.0))
        self.spans[at] = count + stalls, total + seconds, max(longest, most)
        if self._last < self._first:
            self._first = self._last = at
        elif not self._first <= at <= self._last:
            self._first, self._last = min(self._first, at), max(self._last, at)
            while self._last - self._first >= _MOST_SPANS:
                self._widen()

    def _widen(self) -> None:
        spans: dict[int, tuple[int, float, float]] = {}
        for at, (count, total, longest) in self.spans.items():
            known = spans.get(at // 2, (0, 0.0, 0.0))
            spans[at // 2] = known[0] + count, known[1] + total, max(known[2], longest)
        self.width, self.spans = self.width * 2, spans
        self._first, self._last = self._first // 2, self._last // 2
