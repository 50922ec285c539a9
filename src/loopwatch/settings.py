"""What can be set, where, and in which order: `pyproject.toml`, then `LOOPWATCH_*`, then the command line.

The commands read all of it, and hand it to the watched process as variables; a program that calls `loopwatch.start()`
gives arguments, and sets the rest by variables. docs/configuration.md is the table for people.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from loopwatch.config import ACCEPTED, check_settings, parse_duration, parse_switch
from loopwatch.errors import ConfigError

PREFIX = "LOOPWATCH_"
# What `loopwatch run` tells its children besides, and what tests and builds use.
_OWN_VARIABLES = {"RECORD", "VERSION", "POLL", "SELFTEST", "SANITIZE", "CONFORMANCE"}
_PARENTS = {"dir", "quiet", "recordings", "recording_days"}  # of no use in the watched process
_PACKAGE = re.compile(r"\w+(\.\w+)*")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
MOST_REQUESTS = 16384  # LW_REQUEST_SLOTS
STACK_DEPTHS = range(16, 8192 + 1)
_LONGEST = 1e15  # milliseconds
LEAST_RECORDING = 1 << 20  # bytes: four parts that hold something

_T = TypeVar("_T")
_BARE = re.compile(r"[\w-]+", re.ASCII)  # a key that TOML has without quotes


def shown(value: Any) -> str:
    """A value as a person has written it, in a variable or in TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case list() | tuple():
            return f"[{', '.join(map(shown, value))}]"
        case dict():
            items = ((key if _BARE.fullmatch(key) else repr(key), shown(each)) for key, each in value.items())
            return "{" + ", ".join(f"{key} = {each}" for key, each in items) + "}"
        case str() | int() | float():
            return repr(value)
    return str(value)  # dates and times


def _bool(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    found = parse_switch(value) if isinstance(value, str) else None
    if found is None:
        raise ConfigError(f"{shown(value)} is neither true nor false", "write true or false")
    return found


def _duration(value: Any) -> float:
    """Seconds; a bare number is milliseconds, as on the command line."""
    if isinstance(value, str):
        return parse_duration(value)
    if type(value) not in (int, float) or not 0 <= value <= _LONGEST:
        raise ConfigError(f"{shown(value)} is not a duration", f"write {ACCEPTED}")
    return float(value * 1e-3)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"{shown(value)} is no path", 'write it in quotes: ".loopwatch"')
    return value


def _packages(value: Any) -> tuple[str, ...]:
    words = [word.strip() for word in value.split(",") if word.strip()] if isinstance(value, str) else value
    if not isinstance(words, (list, tuple)):
        raise ConfigError(f"{shown(value)} is no list of packages", 'write ["package", "other"]')
    for word in words:
        if not isinstance(word, str) or not _PACKAGE.fullmatch(word):
            raise ConfigError(f"{shown(word)} is no name of a package", 'write ["package", "other"]')
    return tuple(words)


def _count(value: Any) -> int:
    number = int(value) if isinstance(value, str) and value.isdecimal() else value
    if type(number) is not int or not 0 < number <= 1_000_000_000:
        raise ConfigError(f"{shown(value)} is no number from 1 on", "write 10")
    return number


def _slots(value: Any) -> int:
    number = 0 if type(value) in (int, str) and str(value) == "0" else _count(value)
    if number > MOST_REQUESTS:
        raise ConfigError(f"{number} requests are too many", f"write {MOST_REQUESTS} or less")
    return number


def _depth(value: Any) -> int:
    number = _count(value)
    if number not in STACK_DEPTHS:
        least, most = STACK_DEPTHS[0], STACK_DEPTHS[-1]
        raise ConfigError(f"a stack of {number} frames is none to keep", f"write {least} to {most}")
    return number


def _size(value: Any) -> int:
    """Bytes."""
    match = _SIZE.fullmatch(str(value).strip())
    if match is None:
        raise ConfigError(f"{shown(value)} is no size", "write 256MB, 1GB, or a number of bytes")
    size = int(float(match[1]) * 1024 ** " kmg".index(match[2].lower() or " "))
    if not LEAST_RECORDING <= size <= 1 << 50:
        raise ConfigError(f"a recording of {value} holds nothing", "write 1MB or more")
    return size


def _setting(default: _T, parse: Callable[[Any], _T], about: str) -> _T:
    field: _T = dataclasses.field(default=default, metadata={"parse": parse, "about": about})
    return field


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings by the names that they have everywhere. Durations are seconds, sizes bytes."""

    threshold: float = _setting(0.010, _duration, "how long an iteration makes a stall")
    interval: float = _setting(0.001, _duration, "the time between two samples of a stall")
    dir: str = _setting(".loopwatch", _text, "the folder for recordings")
    headers: bool = _setting(False, _bool, "response headers on every ASGI response")
    quiet: bool = _setting(False, _bool, "no summary after `loopwatch run`")
    app: tuple[str, ...] = _setting((), _packages, "installed packages that are your own code")
    log: bool | None = _setting(None, _bool, "a log line per stall")
    log_every: float = _setting(10.0, _duration, "at most one line per site in this time")
    log_rate: int = _setting(10, _count, "at most so many lines a second, of all sites")
    recording_size: int = _setting(256 << 20, _size, "of one process; older parts make room")
    recordings: int = _setting(50, _count, "how many recordings are kept")
    recording_days: int = _setting(30, _count, "how long recordings are kept")
    requests: int = _setting(4096, _slots, "requests in flight that are told apart; 0: they are left alone")
    stacks: int = _setting(256, _count, "distinct stacks kept for one stall")
    stack_depth: int = _setting(1024, _depth, "frames kept of a stack, the innermost")  # LW_STACK_DEPTH

    def with_values(self, values: Mapping[str, Any], spelled: Callable[[str], str] = str, place: str = "") -> Settings:
        """These, with some set otherwise: as text, or as TOML has it. `spelled` is how the name of one is written
        there, `place` what stands before it in an error.

        `ConfigError` for a name that is none, with the nearest that is one, and for a value that means nothing.
        """
        fields = {field.name: field for field in dataclasses.fields(self)}
        found = {}
        for name, value in values.items():
            if name not in fields:
                meant = f"did you mean {spelled(nearest(name))}"
                raise ConfigError(f"{place}{spelled(name)}: there is no such setting", meant)
            try:
                found[name] = fields[name].metadata["parse"](value)
            except (ConfigError, ArithmeticError, TypeError, ValueError) as error:
                hint = error.hint if isinstance(error, ConfigError) else ""
                message = error.message if isinstance(error, ConfigError) else f"{shown(value)} means nothing"
                raise ConfigError(f"{place}{spelled(name)}: {message}", hint) from None
        settings = dataclasses.replace(self, **found)
        try:
            check_settings(settings.threshold, settings.interval)
        except ConfigError as error:
            named = next((place + spelled(name) for name in ("threshold", "interval") if name in found), "")
            raise ConfigError(f"{named}: {error.message}" if named else error.message, error.hint) from None
        return settings

    def with_environment(self, environment: Mapping[str, str]) -> Settings:
        """These, with what `LOOPWATCH_*` says. An empty variable says nothing. `ConfigError` as above."""
        values = {
            name.removeprefix(PREFIX).lower(): value
            for name, value in environment.items()
            if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in _OWN_VARIABLES and value
        }
        return self.with_values(values, lambda name: f"{PREFIX}{name.upper()}")

    def with_project(self, folder: str) -> Settings:
        """These, with what `[tool.loopwatch]` says in the `pyproject.toml` of this folder, or of the nearest above that
        has one. `ConfigError` as above, and for a file that is no TOML."""
        path = _project_file(folder)
        if path is None:
            return self
        import tomllib

        try:
            with open(path, "rb") as file:
                content = tomllib.load(file)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{path} cannot be read: {reason}", "put it right, or start elsewhere") from None
        tool = content.get("tool", {})
        if not isinstance(tool, dict):
            raise ConfigError(f"{path}: tool is no table", "write [tool.loopwatch]")
        table = tool.get("loopwatch", {})
        if not isinstance(table, dict):
            raise ConfigError(f"{path}: tool.loopwatch is no table", "write [tool.loopwatch]")
        return self.with_values(table, place=f"{path}, [tool.loopwatch], ")

    def into(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment with what the watched process has to know of this, and nothing else that could be set."""
        fields = {f"{PREFIX}{field.name.upper()}": field for field in dataclasses.fields(self)}
        said = {
            name: _as_text(getattr(self, field.name)) for name, field in fields.items() if self._is_said(field.name)
        }
        return {**{name: value for name, value in environment.items() if name not in fields}, **said}

    def _is_said(self, name: str) -> bool:
        changed = getattr(self, name) != getattr(Settings(), name)
        return name in ("threshold", "interval") or (changed and name not in _PARENTS)


def settings_for(folder: str, environment: Mapping[str, str], given: Mapping[str, Any]) -> Settings:
    """What holds for a command called in this folder. `given`: its options, None for those that were not."""
    settings = Settings().with_project(folder).with_environment(environment)
    values = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(settings, **values)


def nearest(name: str) -> str:
    """The setting that was most probably meant."""
    import difflib

    names = [field.name for field in dataclasses.fields(Settings)]
    return difflib.get_close_matches(name.replace("-", "_").lower(), names, 1, cutoff=0.0)[0]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, float):
        return f"{round(value * 1e9)}ns"
    return str(value)


def _project_file(folder: str) -> str | None:
    folder = os.path.abspath(folder)
    while True:
        path = os.path.join(folder, "pyproject.toml")
        if os.path.isfile(path):
            return path
        above = os.path.dirname(folder)
        if above == folder:
            return None
        folder = above
