"""What the HTML page shows, as one JSON object of bounded size: of the JSON report, what a person can look at.

The members are those of the JSON report where they have the same name. `frames`, `stacks` and `weights` are shared
tables: a stack is a pair of the stack it was called from (its number, -1 for none) and a frame's number, and a weight
is `[stack, site, ms, start]`, `start` being the first frame of the stack that is shown unless all are. What did not
fit is counted in `left_out`, sentence by sentence; every sum stays what it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from loopwatch import __version__
from loopwatch.analysis.advice import Advisor
from loopwatch.analysis.flame import first_shown
from loopwatch.analysis.frames import short
from loopwatch.analysis.run import PlacedStall, Run, WatchedProcess
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Excerpt, Source, shorten
from loopwatch.report.json import (
    process_object,
    run_object,
    site_object,
    stall_object,
    totals_object,
    unwatched_objects,
)
from loopwatch.report.protocol import Options
from loopwatch.report.selected import selected
from loopwatch.report.stacks import unknown
from loopwatch.report.words import command, counted, duration, plain
from loopwatch.stack import Frame, Stack

SCHEMA = "loopwatch-page/1"
_MOST_BYTES = 2_500_000  # of the whole
_MOST_ENDPOINTS = 20  # of one site
_DEEPEST = 160  # frames of one stack
_LONGEST = 300  # characters of one text
_MOST_WORDS = 50  # of one command
_AROUND = 4  # lines of source before and after
_COLUMNS = (
    "start", "duration_ms", "pid", "callbacks", "state", "allowed", "cause", "phase", "site", "endpoint",
    "requests_delayed", "samples",
)  # fmt: skip

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many of each are shown one by one."""

    sites: int = 250
    stalls: int = 4000
    weights: int = 2500
    processes: int = 128

    def half(self) -> Limits:
        """Half as many."""
        return Limits(self.sites // 2, self.stalls // 2, self.weights // 2, self.processes // 2)


def page_data(run: Run, options: Options) -> str:
    """The object as JSON that may stand inside a script element: nothing in it ends the element or begins a comment.
    Names may be long, so it is made with lower limits until it is small enough."""
    source = Source(enabled=options.source, recorded=run.cwd, here=options.here)
    limits = Limits()
    while True:
        text = json.dumps(page_object(run, options, source, limits), separators=(",", ":"))
        if len(text) <= _MOST_BYTES or not limits.sites:
            return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
        limits = limits.half()


def page_object(run: Run, options: Options, source: Source, limits: Limits) -> dict[str, Any]:
    """The object. Everything in it is plain: no text steers a terminal or turns around what follows it."""
    found: dict[str, Any] = _plain(_Page(run, options, source, limits).object())
    return found


class _Page:
    def __init__(self, run: Run, options: Options, source: Source, limits: Limits) -> None:
        self.run = run
        self.limits = limits
        self.options = options
        self.source = source
        self.advisor = Advisor(source, run.cwd)
        self.sites = run.sites[: limits.sites]
        self.stalls = _first(run.stalls, limits.stalls, _is_over)
        self.processes = _first(run.processes, limits.processes, _age)
        self.tables = _Tables(run.cwd, source)
        self.left_out: list[str] = []

    def object(self) -> dict[str, Any]:
        run = self.run
        sites = [self._site(site) for site in self.sites]
        weights = self._weights()
        return {
            "schema": SCHEMA,
            "version": __version__,
            "title": command(run.command) or "no command",
            "selection": selected(run.selection),
            "all_frames": self.options.all_frames,
            "run": _with_short_command(run_object(run)),
            "seconds_watched": sum(loop.seconds for each in run.processes for loop in each.loops),
            "busy_seconds": sum(loop.busy for each in run.processes for loop in each.loops),
            "counts": self._counts(),
            "processes": [_with_short_command(process_object(each)) for each in self.processes],
            "unwatched": [_with_short_command(each) for each in unwatched_objects(run)[: self.limits.processes]],
            "totals": totals_object(run),
            "endpoints": list(run.endpoints[: 10 * _MOST_ENDPOINTS]),
            "sites": sites,
            "other_sites": self._other_sites(),
            "stalls": {"columns": _COLUMNS, "rows": [self._stall(stall) for stall in self.stalls]},
            "stalls_omitted": run.stalls_omitted + len(run.stalls) - len(self.stalls),
            "timeline": self._timeline(),
            "weights": weights,
            "stacks": self.tables.stacks,
            "frames": self.tables.frames,
            "files_left_out": [*map(str, run.skipped), *run.unreadable][: self.limits.processes],
            "left_out": self._left_out(),
        }

    def _counts(self) -> dict[str, int]:
        """How many there are, however many are listed."""
        processes = self.run.processes
        return {
            "processes": len(processes),
            "running": sum(each.running for each in processes),
            "loops": sum(len(each.loops) for each in processes),
        }

    def _site(self, site: Site) -> dict[str, Any]:
        found = site_object(site, self.run, self.source, self.advisor)
        frame = site.frame
        excerpt = self.source.excerpt(frame, around=_AROUND) if frame else None
        more = len(site.endpoints) - _MOST_ENDPOINTS
        return {
            **found,
            "name": self._name(site),
            "counted": site.counted,
            "running": site.running,
            "share": round(site.share, 4),
            "callbacks": round(site.callbacks, 1),
            "endpoints": found["endpoints"][:_MOST_ENDPOINTS],
            "endpoints_left_out": max(0, more),
            "excerpt": _excerpt(excerpt) if excerpt else None,
            "changed": frame is not None and self.source.changed_since(frame.file, site.since),
            "stack": self.tables.stack(site.stack) if site.stack else None,
            "stack_start": self.tables.start(site.stack) if site.stack else 0,
        }

    def _name(self, site: Site) -> str:
        frame = site.frame
        if frame is None:
            return unknown(site).function
        return f"{short(frame, self.run.cwd)}:{frame.line or '?'} {frame.function.replace('.<locals>', '')}"

    def _other_sites(self) -> dict[str, Any] | None:
        """The sums of the sites that are not shown one by one."""
        rest = [site for site in self.run.sites[self.limits.sites :] if site.counted]
        if not rest:
            return None
        return {
            "sites": len(rest),
            "count": sum(site.count for site in rest),
            "total_ms": sum(site.total for site in rest) * 1e3,
            "max_ms": max(site.longest for site in rest) * 1e3,
            "requests_delayed": sum(site.requests_delayed for site in rest),
        }

    def _stall(self, stall: PlacedStall) -> list[Any]:
        found = stall_object(stall)
        return [found[column] for column in _COLUMNS]

    def _timeline(self) -> dict[str, Any]:
        timeline = self.run.timeline
        spans = sorted(timeline.spans.items())
        return {
            "width": timeline.width,
            "spans": [
                [round(at * timeline.width, 3), count, round(total * 1e3, 3), round(longest * 1e3, 3)]
                for at, (count, total, longest) in spans
            ],
        }

    def _weights(self) -> list[list[Any]]:
        """The heaviest stacks; the time of the others stands at their site's line."""
        every = [
            (seconds, at, stack)
            for at, site in enumerate(self.run.sites)
            if site.counted
            for stack, seconds in site.weights
        ]
        every.sort(key=lambda item: -item[0])
        found: dict[tuple[int, int, int], float] = {}
        cut = 0
        for rank, (seconds, at, stack) in enumerate(every):
            if at >= self.limits.sites:
                key = self.tables.named("(the sites that are not shown)"), -1, 0
            elif stack is None:
                key = self.tables.named(unknown(self.run.sites[at]).function), at, 0
            else:
                whole = stack
                if rank >= self.limits.weights:
                    stack = _up_to_place(stack)
                    cut += stack is not whole
                key = self.tables.stack(stack), at, self.tables.start(stack)
            found[key] = found.get(key, 0.0) + seconds * 1e3
        if cut:
            self.left_out.append(
                f"The flame graph has the {self.limits.weights:,} longest stacks; of {counted(cut, 'other')} the frames"
                " further in than their site's line are merged into it"
            )
        return [[stack, at, round(ms, 3), start] for (stack, at, start), ms in found.items()]

    def _left_out(self) -> list[str]:
        run, lines = self.run, list(self.left_out)
        if rest := run.sites[self.limits.sites :]:
            took = duration(sum(site.total for site in rest))
            lines.append(f"{counted(len(rest), 'site')} with the least time, {took} together, are merged into one row")
        if omitted := run.stalls_omitted + len(run.stalls) - len(self.stalls):
            lines.append(
                f"The longest {counted(len(self.stalls), 'stall')} are shown one by one; {counted(omitted, 'other')}"
                f" in the timeline as spans of {duration(run.timeline.width)}"
            )
        if self.tables.shortened:
            lines.append(f"{counted(self.tables.shortened, 'stack')} deeper than {_DEEPEST} frames lack the middle")
        if len(run.processes) > len(self.processes):
            few, every = len(self.processes), len(run.processes)
            lines.append(f"{few} of {every} processes are listed: those that run, and the newest")
        most = self.limits.processes
        if len(run.unwatched) > most:
            lines.append(f"{most} of {len(run.unwatched)} processes that were not watched are listed")
        if (files := len(run.skipped) + len(run.unreadable)) > most:
            lines.append(f"{most} of {files} files that were left out are listed")
        return lines


class _Tables:
    """Frames and stacks, each once."""

    def __init__(self, cwd: str, source: Source) -> None:
        self.frames: list[list[Any]] = []
        self.stacks: list[tuple[int, int]] = []
        self.shortened = 0
        self._cwd = cwd
        self._source = source
        self._frame_numbers: dict[Frame, int] = {}
        self._stack_numbers: dict[tuple[int, int], int] = {}
        self._known: dict[Stack, int] = {}

    def stack(self, stack: Stack) -> int:
        """The number of a stack."""
        known = self._known.get(stack)
        if known is None:
            number = -1
            for frame in self._cut(stack):
                number = self._stack(number, self._frame(frame))
            known = self._known[stack] = number
        return known

    def start(self, stack: Stack) -> int:
        """The first of its frames that is shown unless all are."""
        return first_shown(stack) if stack.depth <= _DEEPEST else 0

    def named(self, name: str) -> int:
        """The number of a stack that only has a name."""
        return self._stack(-1, self._frame(Frame("", name)))

    def _cut(self, stack: Stack) -> Iterable[Frame]:
        frames = stack.frames
        if len(frames) <= _DEEPEST:
            return frames
        self.shortened += 1
        frames = frames[first_shown(stack) :]
        half = _DEEPEST // 2
        if len(frames) <= _DEEPEST:
            return frames
        return (*frames[:half], Frame("", "(frames left out)", kind="library"), *frames[-half:])

    def _stack(self, outer: int, frame: int) -> int:
        number = self._stack_numbers.setdefault((outer, frame), len(self.stacks))
        if number == len(self.stacks):
            self.stacks.append((outer, frame))
        return number

    def _frame(self, frame: Frame) -> int:
        number = self._frame_numbers.setdefault(frame, len(self.frames))
        if number == len(self.frames):
            function = frame.function.replace(".<locals>", "")
            where = short(frame, self._cwd) if frame.file else ""
            self.frames.append([function, where, frame.line, frame.kind, self._source.expression(frame)])
        return number


def _first(items: Sequence[_T], most: int, rank: Callable[[_T], Any]) -> Sequence[_T]:
    """Those of the lowest ranks, in the order in which they are."""
    if len(items) <= most:
        return items
    places = sorted(range(len(items)), key=lambda place: rank(items[place]))
    return [items[place] for place in sorted(places[:most])]


def _is_over(stall: PlacedStall) -> bool:
    return stall.state not in ("running", "gone")


def _age(each: WatchedProcess) -> tuple[bool, float]:
    return not each.running, -each.process.started


def _with_short_command(found: dict[str, Any]) -> dict[str, Any]:
    words = found["command"]
    return {**found, "command": [*words[:_MOST_WORDS], "…"]} if len(words) > _MOST_WORDS else found


def _up_to_place(stack: Stack) -> Stack:
    """The stack without what is further in than its place."""
    node: Stack | None = stack
    while node is not None and node.frame is not stack.place:
        node = node.parent
    return node or stack


def _excerpt(excerpt: Excerpt) -> dict[str, Any]:
    """Lines, the marked one in three parts: before, the expression, after."""
    lines: list[Any] = []
    for number, line in zip(excerpt.numbers, excerpt.lines, strict=True):
        if number == excerpt.at:
            cuts = [len(line[:at].expandtabs(4)) for at in (excerpt.begin, excerpt.end)]
            text = line.expandtabs(4)
            lines.append([text[: cuts[0]], text[cuts[0] : cuts[1]], text[cuts[1] :]])
        else:
            lines.append(line.expandtabs(4))
    return {"at": excerpt.at, "numbers": list(excerpt.numbers), "lines": lines}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain(shorten(value, _LONGEST))
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    return value
