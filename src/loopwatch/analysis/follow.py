"""A recording that grows, read as it does: only what is new is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from loopwatch.analysis.count import Count
from loopwatch.analysis.liveness import is_running
from loopwatch.analysis.reader import Reader
from loopwatch.analysis.result import Run
from loopwatch.analysis.selection import Selection
from loopwatch.model import Process, Stall
from loopwatch.recording import Decoder, ProcessFiles, Recording, recording_at

_CHUNK = 1 << 18  # bytes read at a time
_HEAD = 1 << 16  # bytes in which the first two lines of a part are found


@dataclass(slots=True)
class _Feed:
    """One process's files, and how far they are read."""

    files: ProcessFiles
    decoder: Decoder
    counts: dict[int, Count] = field(default_factory=dict)
    done: set[Path] = field(default_factory=set)
    part: Path | None = None
    offset: int = 0

    def read(self) -> list[Stall]:
        """The stalls that have become known."""
        stalls: list[Stall] = []
        for part in self.files.parts:
            if part in self.done:
                continue
            if part != self.part:
                stalls += self._finish()
                self.part, self.offset = part, 0
            try:
                with part.open("rb") as stream:
                    stream.seek(self.offset)
                    before = self.offset
                    while chunk := stream.read(_CHUNK):
                        self.offset += len(chunk)
                        stalls += self.decoder.feed(chunk)
                    if self.offset == before:  # as on a full disk: what is lost is counted further up
                        stream.seek(0)
                        self.decoder.recount(stream.read(_HEAD))
            except FileNotFoundError:  # rotated away since the folder was listed
                pass
            except OSError as error:
                self.decoder.unreadable = f"{part.name}: {error.strerror}"
        self.decoder.parts_missing = self.files.missing
        return stalls

    def _finish(self) -> list[Stall]:
        if self.part is None:
            return []
        self.done.add(self.part)
        return self.decoder.end_part()


class Follower:
    """Follows recordings. `update` reads what is new, `run` is how it stands."""

    def __init__(
        self,
        recordings: list[Recording],
        selection: Selection | None = None,
        *,
        most_stalls: int = 1000,
        clock: Callable[[], float] = time.time,
        alive: Callable[[Process], bool] = is_running,
        app: tuple[str, ...] = (),
    ) -> None:
        self._paths = tuple(recording.path for recording in recordings)
        self._reader = Reader(selection or Selection(), clock, alive, most_stalls)
        self._clock = clock
        self._app = app  # as for find_recordings: the files are listed anew
        self._feeds: dict[tuple[Path, int, int], _Feed] = {}
        self._recordings = recordings

    def update(self) -> None:
        """Read what has been written since."""
        self._recordings = [recording_at(path) for path in self._paths if path.exists()]
        for recording in self._recordings:
            for listed in recording.processes:
                files = replace(listed, app=self._app)
                # A process's first part may be rotated away: its name is not what it is known by.
                key = files.parts[0].parent if files.pid else files.parts[0], files.pid, files.started
                feed = self._feeds.setdefault(key, _Feed(files, files.decoder()))
                feed.files = files
                for stall in feed.read():
                    self._reader.take(stall, feed.decoder, feed.counts)

    def run(self) -> Run:
        """All that is known by now, the stalls that are still held or running included. `RecordingError` while there
        is nothing in it that can be read."""
        reader = self._reader.empty()
        reader.absorb(self._reader)
        for feed in self._feeds.values():
            counts = {loop: replace(count) for loop, count in feed.counts.items()}
            for stall in (*feed.decoder.held_stalls(), *feed.decoder.open_stalls()):
                reader.take(stall, feed.decoder, counts)
            reader.close(feed.files, feed.decoder, counts)
        unwatched = tuple(each for recording in self._recordings for each in recording.unwatched)
        if not reader.processes and not unwatched:
            raise reader.failure(self._recordings)
        return reader.run(self._paths, unwatched)

    def running(self) -> list[Stall]:
        """The stalls that last still in processes that live, with their stacks, the longest first."""
        now, found = self._clock(), []
        for feed in self._feeds.values():
            stalls = [stall for stall in feed.decoder.open_stalls() if stall.running]
            if stalls and self._reader.alive(feed.decoder.process):
                found += [replace(stall, duration=max(stall.duration, now - stall.start)) for stall in stalls]
        return sorted(found, key=lambda stall: -stall.duration)
