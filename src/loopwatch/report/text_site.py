"""One site in the text report: its line, its figures, its source, and what it calls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

from rich.cells import cell_len
from rich.text import Text

from loopwatch.analysis.advice import Advice, Advisor
from loopwatch.analysis.causes import GilHolder
from loopwatch.analysis.frames import below, short
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.report.causes import cause_of
from loopwatch.report.protocol import Options
from loopwatch.report.snippet import fit, snippet
from loopwatch.report.words import counted, duration, number, plain, share
from loopwatch.stack import Frame

_INDENT = "    "
_MOST_ENDPOINTS = 2
_NO_PLACE = {
    "unsampled": "no sample: the watchdog got no CPU in time, or stacks are off",
    "unknown": "the stacks of these are not in the recording",
    "lost": "the records of these are not in the recording",
}
_NOT_OWN = {
    "library": "none of your own code was on the stack: this is the outermost library call",
    "loop": "nothing but the event loop itself was on the stack",
}


@dataclass(frozen=True, slots=True)
class SiteView:
    """Draws sites. `whole` is the time, in seconds, that a site's share is of; `width` in cells."""

    cwd: str
    whole: float
    width: int
    source: Source
    advisor: Advisor
    options: Options

    def lines(self, rank: int, site: Site) -> Iterator[Text]:
        """A site's lines, without an empty one after them."""
        yield from self._head(rank, site)
        if site.basis in _NOT_OWN:
            yield Text(f"{_INDENT}{_NOT_OWN[site.basis]}", style="dim")
        frame = site.frame
        if frame is None or site.stack is None:
            return
        if self.source.changed_since(frame.file, site.since):
            note = "this file was changed after the process had started: lines may have moved"
            yield Text(fit(f"{_INDENT}{note}", self.width), style="yellow")
        if self.options.all_frames:
            yield from self._frames(site)
        excerpt = self.source.excerpt(frame)
        if excerpt is not None:
            yield from snippet(excerpt, self.width, _INDENT)
        inner = below(site.stack)
        if inner and not self.options.all_frames:
            yield self._call(site, inner)
        if site.cause == "gil" and site.why.holder:
            yield self._holder(site.why.holder)
        if advice := self.advisor.advice(site):
            yield from self._advice(site, advice)

    def name(self, site: Site) -> str:
        """Where a site is: file, line and function, or why that is not known."""
        if site.frame is None:
            return f"({_NO_PLACE.get(site.basis, 'unknown')})"
        return self.place(site.frame)

    def place(self, frame: Frame) -> str:
        """``app/main.py:42 predict``"""
        function = frame.function.replace(".<locals>", "")
        return plain(f"{short(frame, self.cwd)}:{frame.line or '?'} {function}")

    def _head(self, rank: int, site: Site) -> Iterator[Text]:
        name = f"{rank:>2}  {self.name(site)}"
        figures = self._figures(site)
        gap = self.width - cell_len(name) - cell_len(figures)
        if gap >= 2:
            yield Text.assemble((name, "bold"), " " * gap, (figures, "cyan"))
        else:
            yield Text(fit(name, self.width), style="bold")
            yield Text(fit(_INDENT + figures, self.width), style="cyan")
        about = list(filter(None, [self.requests(site), cause_of(site.why)]))
        if cell_len(_INDENT + " · ".join(about)) <= self.width:
            about = [" · ".join(about)] if about else []
        yield from (Text(fit(_INDENT + each, self.width)) for each in about)
        extra = []
        if site.phase == "shutdown":
            extra.append("while shutting down")
        if site.shape == "pile-up":
            extra.append(f"a pile of short callbacks, {number(round(site.callbacks))} per stall")
        if site.running:
            how_many = "" if site.running == site.count else f"{number(site.running)} of them "
            extra.append(f"{how_many}still running")
        if extra:
            yield Text(fit(_INDENT + " · ".join(extra), self.width), style="bold red" if site.running else "")

    def requests(self, site: Site) -> str:
        """Whose stalls they are and who had to wait: ``GET /predict/{id} · 214 requests delayed``; empty where nothing
        is known."""
        delayed = f"{counted(site.requests_delayed, 'request')} delayed" if site.requests_delayed else ""
        names = ", ".join(plain(each.name) for each in site.endpoints[:_MOST_ENDPOINTS])
        rest = f" + {number(len(more))} more" if (more := site.endpoints[_MOST_ENDPOINTS:]) else ""
        room = self.width - len(_INDENT) - cell_len(rest) - (cell_len(delayed) + 3 if delayed else 0)
        return " · ".join(filter(None, [fit(names, room) + rest, delayed]))

    def call(self, site: Site) -> str:
        """The call that blocks, as the source has it: ``joblib.load("model.bin")``; empty where that is not there."""
        return plain(self.source.expression(site.frame)) if site.frame else ""

    def _figures(self, site: Site) -> str:
        total = f"{duration(site.total)} ({share(site.total, self.whole)})"
        parts = [total, counted(site.count, "stall") if site.count else "the rest of other stalls"]
        if site.count > 1:
            if site.basis != "lost":
                parts.append(f"p50 {duration(site.p50)}")
            parts.append(f"worst {duration(site.longest)}")
        return " · ".join(parts)

    def _call(self, site: Site, inner: tuple[Frame, ...]) -> Text:
        blocking, between = inner[-1], inner[:-1]
        lead = "└ "
        if between:
            libraries = all(frame.kind == "library" for frame in inner)
            lead += counted(len(between), "library frame" if libraries else "frame") + " → "
        if site.share < 0.5:
            lead += "most often "
        called = self.source.expression(blocking) or f"in {blocking.function}"
        where = f"{short(blocking, self.cwd)}:{blocking.line or '?'} "
        line = fit(_INDENT + plain(lead + where + called), self.width)
        text = Text(line)
        text.stylize("dim", 0, len(_INDENT + lead))
        return text

    def _holder(self, holder: GilHolder) -> Text:
        lead = f"└ the GIL was held by thread {holder.thread or '?'}"
        where = f" → {self.place(holder.frame)}" if holder.frame else ", whose stack could not be read"
        call = self.source.expression(holder.frame) if holder.frame else ""
        text = Text(fit(_INDENT + plain(f"{lead}{where}{'  ' if call else ''}{call}"), self.width))
        text.stylize("dim", 0, len(_INDENT + lead))
        return text

    def _advice(self, site: Site, advice: Advice) -> Iterator[Text]:
        """The sentence and, if there is one, the changed line: behind it where there is room."""
        change, lead = advice.change, f"{_INDENT}→ "
        where = ""
        if change and change.frame is not site.frame:
            where = f"; in {self.place(change.frame)}"
        text, code = plain(advice.text + where), plain(change.code) if change else ""
        if code and cell_len(f"{lead}{text}:  {code}") <= self.width:
            yield Text.assemble((f"{lead}{text}:  ", "green"), (code, "bold green"))
            return
        indent = " " * len(lead)
        for line in self._wrapped(text + ":" * bool(code), lead, indent):
            yield Text(line, style="green")
        for line in self._wrapped(code, indent + "  ", indent + "      "):
            yield Text(line, style="bold green")

    def _wrapped(self, text: str, first: str, others: str) -> list[str]:
        lines = wrap(text, self.width, initial_indent=first, subsequent_indent=others, break_on_hyphens=False)
        return [fit(line, self.width) for line in lines]

    def _frames(self, site: Site) -> Iterator[Text]:
        for frame in site.stack.frames if site.stack else ():
            own = frame == site.frame
            call = self.source.expression(frame)
            line = fit(
                f"{_INDENT}{'▶' if own else ' '} {self.place(frame)}{'  ' if call else ''}{plain(call)}", self.width
            )
            yield Text(line, style="bold" if own else "" if frame.kind == "app" else "dim")
