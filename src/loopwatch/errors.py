"""What loopwatch raises. A leaf: it imports nothing of the package.

An error is one line on what is wrong and one on what to type next; the command line prints both and ends with
status 2, so neither may contain a line break.
"""

from __future__ import annotations


class LoopwatchError(Exception):
    """Something that the person at the keyboard can put right.

    `message` says what is wrong, `hint` what to type next (may be empty).
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class ConfigError(LoopwatchError, ValueError):
    """A setting has a value that means nothing: a duration that is none, a threshold of zero."""


class RecordingError(LoopwatchError):
    """There is no recording where one was looked for, or nothing in it can be read."""
