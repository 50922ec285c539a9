"""What holds in the folder where a command is called."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from loopwatch.cwd import working_directory
from loopwatch.settings import Settings, settings_for


def settings_here(given: Mapping[str, Any] | None = None) -> Settings:
    """`given`: the command's options, None for those that were not. `ConfigError` for what means nothing."""
    return settings_for(working_directory(), os.environ, given or {})
