"""What a benchmark hands back: one table to print, the figures behind it to keep."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

RESULTS = Path(__file__).parent / "results"


@dataclass(slots=True)
class Outcome:
    name: str
    title: str
    columns: list[str]
    rows: list[list[str]] = field(default_factory=list)
    figures: list[dict[str, object]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, row: Sequence[str], **figures: object) -> None:
        self.rows.append(list(row))
        self.figures.append(figures)

    def show(self, console: Console) -> None:
        table = Table(title=Text(self.title), title_justify="left", title_style="bold")
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in self.rows:
            table.add_row(*row)
        console.print(table)
        for note in self.notes:
            console.print(f"  {note}", highlight=False)

    def save(self) -> Path:
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}.json"
        content = {
            "benchmark": self.name,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "system": platform.platform(),
            "figures": self.figures,
            "notes": self.notes,
        }
        path.write_text(json.dumps(content, indent=1) + "\n")
        return path


def spread(values: Sequence[float], digits: int = 1) -> str:
    """The median, and the quartiles where there are enough values to speak of any."""
    middle = f"{statistics.median(values):.{digits}f}"
    if len(values) < 4:
        return middle
    low, _, high = statistics.quantiles(values, n=4)
    return f"{middle} [{low:.{digits}f}–{high:.{digits}f}]"
