"""`loopwatch report -f markdown`: for a pull request's comment. GitHub's dialect; texts stay texts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, TextIO

from loopwatch.analysis.advice import Advisor
from loopwatch.analysis.frames import below, short
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Excerpt, Source
from loopwatch.report.json import site_object
from loopwatch.report.notes import run_notes, unwatched_notes
from loopwatch.report.protocol import Options
from loopwatch.report.selected import selected
from loopwatch.report.stacks import unknown
from loopwatch.report.unfinished import unfinished
from loopwatch.report.words import command, counted, duration, number, plain, share

_MOST_ROWS = 20
_MOST_DETAILS = 5
_MOST_ENDPOINTS = 2
_MOST_FRAMES = 60  # of one stack
_MOST_OPEN = 10  # lines about stalls without an end
_MOST_NOTES = 20


class MarkdownReporter:
    """Writes a headline, a table of the sites, and the source of the first of them, folded."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the report."""
        source = Source(enabled=options.source, recorded=run.cwd, here=options.here)
        page = _Page(run, options, source)
        for line in page.lines():
            out.write(line + "\n")


class _Page:
    def __init__(self, run: Run, options: Options, source: Source) -> None:
        self.run = run
        self.options = options
        self.source = source
        self.advisor = Advisor(source, run.cwd)
        self.whole = sum(loop.seconds for each in run.processes for loop in each.loops)

    def lines(self) -> Iterator[str]:
        """The whole report."""
        totals = self.run.totals
        stalls = counted(totals.stalls, "stall")
        blocked = f"{duration(totals.stalled)} ({share(totals.stalled, self.whole)})"
        worst = f", the longest {duration(totals.worst)}" if totals.stalls else ""
        yield f"### loopwatch: the event loop was blocked for {blocked} in {stalls}{worst}"
        yield ""
        if selection := selected(self.run.selection):
            yield escaped(selection)
            yield ""
        yield from self._open()
        so_far = " so far" if any(each.running for each in self.run.processes) else ""
        parts = [code(command(self.run.command) or "no command"), duration(self.run.seconds) + so_far]
        parts += [f"threshold {duration(self.run.threshold)}"] if self.run.threshold else []
        parts += [f"{counted(totals.requests_delayed, 'request')} delayed"] if totals.requests_delayed else []
        yield " · ".join(parts)
        yield ""
        sites = [site for site in self.run.sites if site.counted]
        objects = [site_object(site, self.run, self.source, self.advisor) for site in sites[:_MOST_ROWS]]
        yield from self._table(sites, objects)
        for site, found in list(zip(sites, objects, strict=False))[:_MOST_DETAILS]:
            yield from self._details(site, found)
        yield from self._apart()
        yield from self._notes()

    def _open(self) -> Iterator[str]:
        lines = list(unfinished(self.run, self._place))
        for each in lines[:_MOST_OPEN]:
            yield f"**{each.label}** {escaped(f'{each.lead} {each.length}{each.rest}')}"
            yield ""
        if len(lines) > _MOST_OPEN:
            yield f"… and {number(len(lines) - _MOST_OPEN)} more like these"
            yield ""

    def _table(self, sites: list[Site], objects: list[dict[str, Any]]) -> Iterator[str]:
        if not sites:
            return
        causes = any(found["cause"] for found in objects)
        yield f"| # | line | blocked | stalls | p50 | worst | for | delayed |{' cause |' if causes else ''}"
        yield f"| ---: | --- | ---: | ---: | ---: | ---: | --- | ---: |{' --- |' if causes else ''}"
        for rank, (site, found) in enumerate(zip(sites, objects, strict=False), 1):
            names = [code(each.name) for each in site.endpoints[:_MOST_ENDPOINTS]]
            more = len(site.endpoints) - _MOST_ENDPOINTS
            cells = [
                str(rank),
                code(self._name(site)),
                f"{duration(site.total)} ({share(site.total, self.whole)})",
                number(site.count),
                duration(site.p50) if site.basis != "lost" else "",
                duration(site.longest),
                ", ".join(names) + (f" + {more} more" if more > 0 else ""),
                number(site.requests_delayed) if site.requests_delayed else "",
                *([found["cause"] or ""] if causes else []),
            ]
            yield "| " + " | ".join(cells) + " |"
        if rest := sites[_MOST_ROWS:]:
            took = duration(sum(site.total for site in rest))
            yield f"\n… and {counted(len(rest), 'more site')} with {took} together."
        yield ""

    def _details(self, site: Site, found: dict[str, Any]) -> Iterator[str]:
        frame = site.frame
        excerpt = self.source.excerpt(frame, around=2) if frame else None
        frames = self._frames(site)
        if excerpt is None and not frames and not found["advice"]:
            return
        yield f"<details><summary><code>{html(self._name(site))}</code></summary>"
        yield ""
        yield from fenced(list(_excerpt(excerpt)) if excerpt else [], "python")
        yield from fenced(frames, "text")
        for advice in found["advice"]:
            yield f"→ {escaped(plain(advice['text']))}"
            yield ""
            if change := advice["change"]:
                yield from fenced([plain(line) for line in change["code"].split("\n")], "python")
        yield "</details>"
        yield ""

    def _frames(self, site: Site) -> list[str]:
        if site.stack is None:
            return []
        frames = site.stack.frames if self.options.all_frames else below(site.stack)[-1:]
        left_out = len(frames) - _MOST_FRAMES
        lines = [f"… {counted(left_out, 'outer frame')}"] if left_out > 0 else []
        for frame in frames[-_MOST_FRAMES:]:
            call = self.source.expression(frame)
            where = f"{short(frame, self.run.cwd)}:{frame.line or '?'} {frame.function}"
            lines.append(plain(f"{'└ ' if not self.options.all_frames else ''}{where}{'  ' if call else ''}{call}"))
        return lines

    def _apart(self) -> Iterator[str]:
        totals = self.run.totals
        groups = (("Start-up", totals.startup, totals.startup_seconds),)
        for title, count, seconds in (*groups, ("Allowed", totals.allowed, totals.allowed_seconds)):
            if count:
                yield f"{title} (not counted above): {duration(seconds)} in {counted(count, 'stall')}."
                yield ""

    def _notes(self) -> Iterator[str]:
        notes = [*unwatched_notes(self.run), *run_notes(self.run)]
        lines = [escaped(note) for note in notes[:_MOST_NOTES]]
        if rest := notes[_MOST_NOTES:]:
            lines.append(f"… and {counted(len(rest), 'more note')}")
        for line in lines:
            yield f"> {line}"
            yield ">"

    def _place(self, site: Site) -> str:
        """``app/main.py:12 lifespan: joblib.load("model.bin")``"""
        call = plain(self.source.expression(site.frame)) if site.frame else ""
        return self._name(site) + (f": {call}" if call else "")

    def _name(self, site: Site) -> str:
        frame = site.frame
        if frame is None:
            return unknown(site).function
        return plain(f"{short(frame, self.run.cwd)}:{frame.line or '?'} {frame.function.replace('.<locals>', '')}")


def _excerpt(excerpt: Excerpt) -> Iterator[str]:
    for at, line in zip(excerpt.numbers, excerpt.lines, strict=True):
        yield plain(f"{'▶' if at == excerpt.at else ' '} {at:>4} │ {line.expandtabs(4)}")
        if at == excerpt.at and excerpt.end > excerpt.begin:
            before = plain(line[: excerpt.begin].expandtabs(4))
            yield f"       │ {' ' * len(before)}{'^' * (excerpt.end - excerpt.begin)}"


def code(text: str) -> str:
    """A text as code within a line, in a table too: its own back-ticks and bars are kept."""
    text = plain(text)
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}".replace("|", "\\|")


def fenced(lines: list[str], language: str) -> Iterator[str]:
    """Lines as a block of code; nothing for none."""
    if not lines:
        return
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    yield f"{fence}{language}"
    yield from lines
    yield fence
    yield ""


def escaped(text: str) -> str:
    """A text that is no code: what means something to Markdown or HTML is kept as it is."""
    return re.sub(r"([\\`*_{}\[\]<>#|~!&])", r"\\\1", text).replace("@", "@\u200b")


def html(text: str) -> str:
    """A text inside HTML."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\u200b")


REPORTER = MarkdownReporter()
