"""Where recordings lie, and which files of a folder belong together."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from loopwatch.cwd import working_directory
from loopwatch.errors import RecordingError
from loopwatch.model import Stall, Unwatched
from loopwatch.recording.decoder import Decoder
from loopwatch.recording.fields import count, integer, parse_line, text, texts

FOLDER = ".loopwatch"
_RECORD_FIRST = "record one first: loopwatch run COMMAND"
_NAME = re.compile(r"(\d{1,19})-(\d{1,14})(?:\.(\d{1,9}))?\.jsonl")  # 14 digits of milliseconds: a date up to 5138
_RUN = re.compile(r"(\d{8}T\d{6}(?:\.\d{1,6})?)Z-(\d+)")  # the folder that `loopwatch run` makes
_CHUNK = 1 << 18  # bytes read at a time
_TAIL = 4096  # bytes in which the last record, `end`, is found


@dataclass(frozen=True, slots=True)
class ProcessFiles:
    """The files of one process, part after part. `pid` and `started` (Unix milliseconds) are 0 where the name
    does not tell; `missing` counts the parts before the newest that are not there."""

    parts: tuple[Path, ...]
    pid: int = 0
    started: int = 0
    missing: int = 0
    app: tuple[str, ...] = ()  # installed packages that are own code

    @property
    def size(self) -> int:
        """Bytes of all parts that are there."""
        size = 0
        for part in self.parts:
            with contextlib.suppress(OSError):
                size += part.stat().st_size
        return size

    def decoder(self) -> Decoder:
        """A decoder that knows what the file's name says."""
        decoder = Decoder(pid=self.pid, started=self.started / 1e3, prompt=False, app=self.app)
        decoder.parts_missing = self.missing
        return decoder


@dataclass(frozen=True, slots=True)
class Recording:
    """One folder of a run, or one file named by itself."""

    path: Path
    processes: tuple[ProcessFiles, ...] = ()
    unwatched: tuple[Unwatched, ...] = ()


def find_recordings(
    runs: Iterable[Path] = (), *, cwd: Path | None = None, base: str = FOLDER, app: tuple[str, ...] = ()
) -> list[Recording]:
    """The recordings that are meant: those named, else the newest below `base` in `cwd`.

    A run may be the folder of a recording, a folder of several (all of them), a project with a `base` (its newest), a
    single file, or the name of a folder in `base`. `RecordingError` for what is none of these. `app` names installed
    packages that are own code, beside those that a recording names.
    """
    return [
        replace(recording, processes=tuple(replace(files, app=app) for files in recording.processes))
        for recording in _find(runs, cwd or Path(working_directory()), base)
    ]


def _find(runs: Iterable[Path], here: Path, base: str) -> list[Recording]:
    found: dict[Path, Recording] = {}
    for run in runs:
        for path in _named(run, here, base):
            found.setdefault(path.resolve(), recording_at(path))
    if found:
        return list(found.values())
    newest = _newest(here / base)
    if newest is None:
        raise RecordingError(f"there is no recording in {base}/ here", _RECORD_FIRST)
    # Not the one before in its place, as if it were the newest.
    if (later := _newest(here / base, empty=True)) is not None and _began(later) > _began(newest):
        message = f"the newest run, {base}/{later.name}, has recorded nothing: no event loop has run in it"
        raise RecordingError(message, f"the one before is: loopwatch report {base}/{newest.name}")
    return [recording_at(newest)]


def recordings_in(base: Path) -> list[tuple[float, Path]]:
    """The folders that `loopwatch run` has made below `base`, with the Unix time when each began."""
    try:
        return [(_began(path), path) for path in base.iterdir() if path.is_dir() and _RUN.fullmatch(path.name)]
    except OSError:
        return []


def starters_of(paths: Iterable[Path]) -> frozenset[int]:
    """The pids of each `loopwatch run` that has made one of these folders."""
    return frozenset(int(match[2]) for path in paths if (match := _RUN.fullmatch(path.name)))


def process_of(file: Path) -> tuple[int, float]:
    """The pid of a file's process, and when it was watched first, in Unix seconds; zeros if its name is no such."""
    match = _NAME.fullmatch(file.name)
    return (int(match[1]), int(match[2]) / 1e3) if match else (0, 0.0)


def has_ended(folder: Path, pid: int) -> bool:
    """Whether watching this process has ended in order, by the last line of its newest file here."""
    newest = _newest_file(folder, pid)
    if newest is None:
        return False
    try:
        with newest.open("rb") as stream:
            return _ends(_last_bytes(stream))
    except OSError:
        return False


def note_gone(folder: Path, pid: int, at: float) -> None:
    """Add to this process's newest file here that it was gone at that time (Unix seconds), unless watching it had ended
    before. It must be: nobody else writes to that file any more."""
    newest = _newest_file(folder, pid)
    if newest is None:
        return
    with contextlib.suppress(OSError), newest.open("r+b") as stream:
        header = parse_line(stream.readline(_CHUNK)) or {}
        monotonic, unix = integer(header, "monotonic_ns"), integer(header, "unix_ns")
        last = _last_bytes(stream)
        if monotonic is None or unix is None or not last.endswith(b"\n") or _ends(last):
            return
        stream.seek(0, os.SEEK_END)
        stream.write(b'{"t":"gone","at":%d}\n' % (int(at * 1e9) - unix + monotonic))


def _newest_file(folder: Path, pid: int) -> Path | None:
    files = [file for file in folder.glob(f"{pid}-*.jsonl") if _NAME.fullmatch(file.name)]
    return max(files, key=lambda file: (process_of(file), _part(file)), default=None)


def _last_bytes(stream: BinaryIO) -> bytes:
    stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
    return stream.read()


def _ends(last: bytes) -> bool:
    record = parse_line(last.rstrip(b"\n").rpartition(b"\n")[2])
    return record is not None and text(record, "t") == "end"


def read_process(
    files: ProcessFiles, decoder: Decoder, progress: Callable[[int], object] | None = None
) -> Iterator[Stall]:
    """The stalls of one process in the order of their records, with those that have no end last.

    `decoder` (from `files.decoder()`) has the process's figures afterwards, and what could not be read. `progress` is
    told of every few bytes how many.
    """
    for part in files.parts:
        try:
            with part.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield from decoder.feed(chunk)
                    if progress is not None:
                        progress(len(chunk))
        except FileNotFoundError:  # rotated away since the folder was listed
            decoder.parts_missing += 1
        except OSError as error:
            decoder.unreadable = f"{part.name}: {error.strerror}"
        yield from decoder.end_part()
    yield from decoder.flush()
    yield from decoder.open_stalls()


def _named(run: Path, here: Path, base: str) -> list[Path]:
    path = run if run.is_absolute() else here / run
    if not path.exists() and run.name == str(run) and (here / base / run).exists():
        path = here / base / run
    try:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise RecordingError(f"there is no recording at {run}", _choices(here, base))
        if _is_recording(path):
            return [path]
        if (newest := _newest(path / base)) is not None:
            return [newest]
        several = [folder for folder in sorted(path.iterdir()) if folder.is_dir() and _is_recording(folder)]
    except OSError as error:
        raise RecordingError(f"{run} cannot be read: {error.strerror}", "name a recording that you may read") from None
    if not several:
        raise RecordingError(f"there is no recording in {run}", _choices(here, base))
    return several


def _choices(here: Path, base: str) -> str:
    newest = _newest(here / base)
    return f"the newest one here is: loopwatch report {base}/{newest.name}" if newest else _RECORD_FIRST


def _is_recording(folder: Path) -> bool:
    return any(path.suffix in (".jsonl", ".unwatched") for path in folder.iterdir())


def _newest(folder: Path, *, empty: bool = False) -> Path | None:
    """The recording that began last or, with `empty`, the folder of a run that has recorded nothing."""
    try:
        runs = [path for path in folder.iterdir() if path.is_dir() and (not empty or _RUN.fullmatch(path.name))]
        runs = [path for path in runs if _is_recording(path) != empty]
    except OSError:
        return None
    return max(runs, key=lambda path: (_began(path), path.name), default=None)


def _began(folder: Path) -> float:
    """When a run began, in Unix seconds: by its folder's name, else by those of its files."""
    if match := _RUN.fullmatch(folder.name):
        with contextlib.suppress(ValueError):
            return datetime.fromisoformat(f"{match[1]}Z").timestamp()
    starts = [int(match[2]) / 1e3 for path in folder.iterdir() if (match := _NAME.fullmatch(path.name))]
    return min(starts, default=folder.stat().st_mtime)


def recording_at(path: Path) -> Recording:
    """The recording in a folder, or the one of a file, as its files are now."""
    if path.is_file():
        return Recording(path, (_process([path]),))
    try:
        files = sorted(path.iterdir())
    except OSError as error:
        raise RecordingError(f"{path} cannot be read: {error.strerror}", "name a recording that you may read") from None
    parts: dict[str, list[Path]] = {}
    for file in files:
        if file.suffix == ".jsonl":
            match = _NAME.fullmatch(file.name)
            parts.setdefault(f"{match[1]}-{match[2]}" if match else file.name, []).append(file)
    unwatched = (_unwatched(file) for file in files if file.suffix == ".unwatched")
    return Recording(path, tuple(map(_process, parts.values())), tuple(each for each in unwatched if each))


def _process(files: list[Path]) -> ProcessFiles:
    numbered = sorted((_part(file), file) for file in files)
    match = _NAME.fullmatch(files[0].name)
    if match is None:
        return ProcessFiles(tuple(files))
    missing = numbered[-1][0] + 1 - len(numbered)
    return ProcessFiles(tuple(file for _, file in numbered), int(match[1]), int(match[2]), missing)


def _part(file: Path) -> int:
    match = _NAME.fullmatch(file.name)
    return int(match[3] or 0) if match else 0


def _unwatched(file: Path) -> Unwatched | None:
    try:
        with file.open("rb") as stream:
            record = parse_line(stream.read(_CHUNK))
    except OSError:
        return None
    if record is None:
        return None
    reason = text(record, "reason", "no reason was given")
    return Unwatched(count(record, "pid"), text(record, "executable"), texts(record, "command"), reason)
