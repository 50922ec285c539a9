"""Reports: one file per format, each a `Reporter`."""

from __future__ import annotations

from loopwatch.report.protocol import FORMATS, Options, Reporter, format_of, reporter

__all__ = ["FORMATS", "Options", "Reporter", "format_of", "reporter"]
