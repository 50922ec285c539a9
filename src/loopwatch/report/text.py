"""`loopwatch report`: what a person sees first.

What hangs right now comes before everything else, then the sum, then the lines to mend by what they cost, and at
the end what the reader should know about the recording itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TextIO

from rich.console import Console
from rich.text import Text

from loopwatch.analysis.advice import Advisor
from loopwatch.analysis.run import Run, WatchedProcess
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.report.notes import run_notes, unwatched_notes
from loopwatch.report.protocol import Options
from loopwatch.report.selected import selected
from loopwatch.report.snippet import fit
from loopwatch.report.text_site import SiteView
from loopwatch.report.unfinished import unfinished
from loopwatch.report.words import command, counted, duration, listed, number, plain, share

_WIDEST = 110  # cells; longer lines are hard to read
_LEAST = 20  # cells that a command and a place have at least
_MOST_SITES = 20
_MOST_OPEN = 10  # lines about stalls without an end
_MOST_LOOPS = 20  # that are shown one by one


class TextReporter:
    """Writes for a terminal of any width; in colour where that is wanted."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the report; the stream decides on colours, and `COLUMNS` or its terminal on the width."""
        console = _Console(file=out, highlight=False, emoji=False, markup=False)
        page = _Page(run, options, min(_WIDEST, console.width))
        for line in page.lines():
            # Lines of source and figures are cut to the width already; sentences are wrapped here.
            for part in line.wrap(console, page.width, overflow="fold") or [line]:
                part.rstrip()
                console.print(part, soft_wrap=True)


def _worst(run: Run) -> str:
    """What the longest stall did, as the end of a sentence; nothing if it was the only one and held up nobody."""
    totals = run.totals
    longest = next((stall for stall in run.stalls if stall.counted), None)
    if longest is not None and longest.requests_delayed and longest.duration >= totals.worst:
        which = "the worst" if totals.stalls > 1 else "it"
        held_up = counted(longest.requests_delayed, "request")
        return f"; {which} held up {held_up} for up to {duration(totals.worst)}"
    if totals.stalls == 1:
        return ""
    others = f", others held up {counted(totals.requests_delayed, 'request')}" if totals.requests_delayed else ""
    return f"; the worst took {duration(totals.worst)}{others}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise  # rich calls this where it handles the error, and would exit with status 1 itself


class _Page:
    def __init__(self, run: Run, options: Options, width: int) -> None:
        self.run = run
        self.width = width
        self.source = Source(enabled=options.source, recorded=run.cwd, here=options.here)
        self.loops = [loop for each in run.processes for loop in each.loops]
        self.whole = sum(loop.seconds for loop in self.loops)
        self.view = SiteView(run.cwd, self.whole, width, self.source, Advisor(self.source, run.cwd), options)

    def lines(self) -> Iterator[Text]:
        """The whole report."""
        yield self._lead()
        yield Text()
        open_stalls = list(self._open())
        if open_stalls:
            yield from open_stalls
            yield Text()
        yield self._sum()
        if causes := self.run.totals.causes:
            yield Text(f"By cause: {listed([f'{cause} {duration(seconds)}' for cause, seconds in causes])}.")
        if selection := selected(self.run.selection):
            yield Text(selection, style="dim")
        yield Text()
        yield from self._sites()
        yield from self._apart()
        yield from self._end()

    def _lead(self) -> Text:
        run = self.run
        watched = run.processes
        parts = [duration(run.seconds)]
        if any(each.running for each in watched):
            parts[0] += " so far"
        if len(watched) != 1:
            parts.append(counted(len(watched), "process", "processes"))
        thresholds = {each.process.threshold for each in watched if each.process.threshold}
        if thresholds:
            parts.append("threshold " + listed([duration(each) for each in sorted(thresholds)]))
        rest = f" · {' · '.join(parts)}"
        what = fit(command(run.command) or "no command", max(_LEAST, self.width - len("loopwatch · " + rest)))
        return Text.assemble(("loopwatch", "bold"), " · ", what, rest)

    def _open(self) -> Iterator[Text]:
        lines = list(unfinished(self.run, lambda site: self._place(site, ": ")))
        for each in lines[:_MOST_OPEN]:
            label = f"■ {each.label}", "bold white on red" if each.running else "bold red"
            yield Text.assemble(label, f" {each.lead} ", (each.length, "bold red"), each.rest)
        if len(lines) > _MOST_OPEN:
            yield Text(f"■ … and {number(len(lines) - _MOST_OPEN)} more like these", style="bold red")

    def _sum(self) -> Text:
        run, totals = self.run, self.run.totals
        several = len(self.loops) > 1
        if not self.loops:
            return Text("No event loop ran in any of the watched processes.", style="bold")
        if totals.stalls:
            subject = "The loops were" if several else "The loop was"
            of_all = f"{share(totals.stalled, self.whole)}{' of their time' if several else ''}"
            stalls = counted(totals.stalls, "stall")
            text = f"{subject} blocked for {duration(totals.stalled)} ({of_all}) in {stalls}{_worst(run)}."
            return Text(text, style="bold")
        iterations = counted(sum(loop.iterations for loop in self.loops), "iteration")
        busy = share(sum(loop.busy for loop in self.loops), self.whole)
        text = f"No iteration reached the threshold of {duration(run.threshold)}"
        if not run.selection.everything:
            text = "No stall was found in what was asked for"
        elif totals.allowed or totals.startup:
            apart = [(totals.startup, "those at start-up"), (totals.allowed, "those that are allowed")]
            text += f" but {listed([what for count, what in apart if count])}"
        seconds = f"{duration(self.whole)}{f' in {len(self.loops)} loops' if several else ''}"
        return Text(f"{text}: {iterations} in {seconds}, busy {busy} of the time.", style="bold green")

    def _sites(self) -> Iterator[Text]:
        sites = [site for site in self.run.sites if site.counted]
        for rank, site in enumerate(sites[:_MOST_SITES], 1):
            yield from self.view.lines(rank, site)
            yield Text()
        if rest := sites[_MOST_SITES:]:
            took = duration(sum(site.total for site in rest))
            yield Text(f"… and {counted(len(rest), 'more site')} with {took} together: loopwatch report -f json")
            yield Text()

    def _apart(self) -> Iterator[Text]:
        """The stalls that no total includes."""
        totals = self.run.totals
        startup = [site for site in self.run.sites if site.phase == "startup" and not site.allowed]
        allowed = [site for site in self.run.sites if site.allowed]
        yield from self._group("Start-up", startup, totals.startup, totals.startup_seconds)
        yield from self._group("Allowed", allowed, totals.allowed, totals.allowed_seconds)

    def _group(self, title: str, sites: list[Site], count: int, seconds: float) -> Iterator[Text]:
        if not sites:
            return
        title = f"{title} (not counted above):"
        if count == 1:
            yield Text.assemble((title, "bold"), f" {duration(seconds)} in {fit(self._place(sites[0]), self.width)}")
            yield Text()
            return
        yield Text(f"{title} {counted(count, 'stall')}, {duration(seconds)}", style="bold")
        for site in sites[:_MOST_SITES]:
            figures = f"{duration(site.total)} · {counted(site.count, 'stall')} · worst {duration(site.longest)}"
            place = fit(self._place(site), max(_LEAST, self.width - len(f"     · {figures}")))
            yield Text(f"    {place} · {figures}")
        if rest := sites[_MOST_SITES:]:
            yield Text(f"    … and {counted(len(rest), 'more site')}")
        yield Text()

    def _place(self, site: Site, arrow: str = " → ") -> str:
        """``app/main.py:12 lifespan → joblib.load("model.bin")``"""
        call = self.view.call(site)
        return self.view.name(site) + (f"{arrow}{call}" if call else "")

    def _end(self) -> Iterator[Text]:
        """What is worth knowing about the processes and the recording, by far most often nothing."""
        lines = [*self._processes(), *self._health()]
        yield from lines
        if lines:
            yield Text()
        yield Text("Next: loopwatch report -o stalls.html", style="dim")

    def _processes(self) -> Iterator[Text]:
        loops = [(each, loop) for each in self.run.processes for loop in each.loops]
        if len(loops) > 1:
            worst = sorted(range(len(loops)), key=lambda place: loops[place][1].stalled, reverse=True)
            for place in sorted(worst[:_MOST_LOOPS]):
                each, loop = loops[place]
                yield Text(
                    f"pid {each.process.pid} · {each.role} · "
                    f"{plain(loop.kind)} in {plain(loop.thread) or 'a thread'} · "
                    f"{duration(loop.seconds)} · busy {share(loop.busy, loop.seconds)} · "
                    f"{counted(loop.stalls, 'stall')}, {duration(loop.stalled)}"
                    f"{' · running' if each.running else ''}"
                )
            if rest := [loops[place][1] for place in worst[_MOST_LOOPS:]]:
                stalls, stalled = sum(loop.stalls for loop in rest), sum(loop.stalled for loop in rest)
                yield Text(
                    f"… and {counted(len(rest), 'more loop')} with {counted(stalls, 'stall')}, {duration(stalled)}"
                )
        idle = [each for each in self.run.processes if not each.loops]
        if idle and self.loops:
            names = listed([self._who(each) for each in idle[:5]] + ([f"{len(idle) - 5} more"] if idle[5:] else []))
            yield Text(f"No event loop ran in {names}.")
        yield from (Text(note, style="yellow") for note in unwatched_notes(self.run))

    def _health(self) -> Iterator[Text]:
        samples = sum(loop.samples for loop in self.loops)
        if torn := sum(loop.torn for loop in self.loops):
            yield Text(
                f"{counted(torn, 'sample')} beside {number(samples)} good ones caught the stack changing: not used."
            )
        if outer := sum(loop.outer for loop in self.loops):
            yield Text(
                f"{number(outer)} of {counted(samples, 'sample')} show the outer frames only: "
                "those further in changed too fast."
            )
        yield from (Text(note, style="yellow") for note in run_notes(self.run))

    def _who(self, each: WatchedProcess) -> str:
        what = command(each.process.command)
        return f"pid {each.process.pid}" + (f" ({what})" if what else "")


REPORTER = TextReporter()
