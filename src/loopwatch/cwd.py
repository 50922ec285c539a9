"""The working directory, which somebody may have removed under us."""

from __future__ import annotations

import os


def working_directory(otherwise: str = os.sep) -> str:
    """Its path, or `otherwise` where there is none any more."""
    try:
        return os.getcwd()
    except OSError:
        return otherwise


def relative(path: str) -> str:
    """Relative to the working directory, where it lies below it."""
    here = working_directory("")
    return path.removeprefix(os.path.join(here, "")) if here else path
