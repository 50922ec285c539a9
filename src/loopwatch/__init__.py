"""Finds the blocking calls that stall an asyncio event loop: which line, for how long."""

from __future__ import annotations

__version__ = "0.1.0"
