"""What `loopwatch live` shows: as many lines as there are, each as wide as there is room.

The stall that lasts comes first with its stack, since it is what somebody looks for; then the lines and endpoints that
cost most so far.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from loopwatch.analysis.advice import Advisor
from loopwatch.analysis.frames import callback
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.model import Stall
from loopwatch.report.protocol import Options
from loopwatch.report.snippet import fit
from loopwatch.report.text_site import SiteView
from loopwatch.report.words import command, counted, duration, number, plain, share

_LEAST_WINDOW = 0.5  # seconds of loop time below which "now" means nothing
_MOST_FRAMES = 8
_BAR = 20  # cells


@dataclass(slots=True)
class Pulse:
    """How busy the loops have been since the look before, from their figures that only grow."""

    seconds: float = 0.0
    busy: float = 0.0
    now: float | None = None

    def beat(self, run: Run) -> None:
        """Look again."""
        seconds = sum(loop.seconds for each in run.processes for loop in each.loops)
        busy = sum(loop.busy for each in run.processes for loop in each.loops)
        if seconds - self.seconds >= _LEAST_WINDOW or seconds < self.seconds:
            known = self.seconds > 0 and seconds > self.seconds
            self.now = max(0.0, min(1.0, (busy - self.busy) / (seconds - self.seconds))) if known else None
            self.seconds, self.busy = seconds, busy


def live_view(
    run: Run, running: Sequence[Stall], pulse: Pulse, options: Options, width: int, height: int
) -> list[Text]:
    """The lines, at most `height`, each at most `width` cells."""
    view = _View(run, running, pulse, options, width, height)
    return [_fitted(line, width) for line in view.lines()][:height]


class _View:
    def __init__(
        self, run: Run, running: Sequence[Stall], pulse: Pulse, options: Options, width: int, height: int
    ) -> None:
        self.run = run
        self.running = running
        self.pulse = pulse
        self.options = options
        self.width = width
        self.height = height
        self.source = Source(enabled=options.source, recorded=run.cwd, here=options.here)
        self.whole = sum(loop.seconds for each in run.processes for loop in each.loops)
        advisor = Advisor(self.source, run.cwd)
        self.sites = SiteView(run.cwd, self.whole, width, self.source, advisor, options)

    def lines(self) -> Iterator[Text]:
        """The whole screen."""
        yield self._lead()
        yield self._busy()
        yield self._sum()
        yield Text()
        stuck = list(self._stuck())
        yield from stuck
        yield Text()
        endpoints = self._endpoints()
        room = max(2, self.height - 6 - len(stuck) - 2)  # lines for both tables with their titles
        below = min(len(endpoints) + 2, max(3, room // 3)) if endpoints else 0
        yield from self._table("Lines", [self._site(site) for site in self._counted()], room - below)
        if below:
            yield Text()
            yield from self._table("Endpoints", endpoints, below - 1)

    def _lead(self) -> Text:
        run = self.run
        alive = sum(each.running for each in run.processes)
        rest = f" · {duration(run.seconds)}"
        if len(run.processes) > 1:
            rest += f" · {alive} of {counted(len(run.processes), 'process', 'processes')} running"
        else:
            rest += " so far" if alive else " · ended"
        what = fit(command(run.command) or "no command", max(12, self.width - len("loopwatch · ") - cell_len(rest)))
        return Text.assemble(("loopwatch", "bold"), " · ", what, rest)

    def _busy(self) -> Text:
        busy = sum(loop.busy for each in self.run.processes for loop in each.loops)
        overall = f"{share(busy, self.whole)} of the time"
        if self.pulse.now is None:
            return Text(f"busy  {overall}")
        filled = round(_BAR * self.pulse.now)
        style = "red" if self.pulse.now > 0.8 else "yellow" if self.pulse.now > 0.5 else "green"
        bar = ("█" * filled, style), ("░" * (_BAR - filled), "dim")
        return Text.assemble("busy  ", *bar, f" {share(self.pulse.now, 1)} now · {overall}")

    def _sum(self) -> Text:
        totals = self.run.totals
        parts = [
            f"{duration(totals.stalled)} ({share(totals.stalled, self.whole)}) blocked in"
            f" {counted(totals.stalls, 'stall')}"
        ]
        parts += [f"worst {duration(totals.worst)}"] if totals.stalls else []
        parts += [f"{counted(totals.requests_delayed, 'request')} delayed"] if totals.requests_delayed else []
        return Text(" · ".join(parts))

    def _stuck(self) -> Iterator[Text]:
        if not self.running:
            ended = not any(each.running for each in self.run.processes)
            yield Text("The recording has ended." if ended else "No stall lasts right now.", style="dim")
            return
        stall = self.running[0]
        whose = f" · {plain(stall.endpoint)}" if stall.endpoint else ""
        more = f" · and {len(self.running) - 1} more" if len(self.running) > 1 else ""
        head = f" pid {stall.pid} has answered nobody for {duration(stall.duration)}{whose}{more}"
        yield Text.assemble(("■ STALLED", "bold white on red"), (head, "bold red"))
        if stall.stack is None:
            yield Text("  its stack is not known", style="dim")
            return
        frames = stack_frames = stall.stack.frames if self.options.all_frames else callback(stall.stack)
        room = max(2, min(_MOST_FRAMES, self.height - 14))
        if len(frames) > room:
            frames = frames[-room + 1 :]
            yield Text(f"  … {counted(len(stack_frames) - len(frames), 'outer frame')}", style="dim")
        for frame in frames:
            call = plain(self.source.expression(frame))
            own = frame is stall.place
            text = f"{'▶' if own else ' '} {self.sites.place(frame)}{'  ' if call else ''}{call}"
            yield Text(text, style="bold" if own else "" if frame.kind == "app" else "dim")

    def _counted(self) -> list[Site]:
        return [site for site in self.run.sites if site.counted]

    def _site(self, site: Site) -> tuple[str, float, int, float]:
        return self.sites.name(site), site.total, site.count, site.longest

    def _endpoints(self) -> list[tuple[str, float, int, float | None]]:
        found: dict[str, tuple[float, int]] = {}
        for site in self._counted():
            for each in site.endpoints:
                seconds, count = found.get(each.name, (0.0, 0))
                found[each.name] = seconds + each.total, count + each.count
        ordered = sorted(found.items(), key=lambda item: (-item[1][0], item[0]))
        return [(plain(name), seconds, count, None) for name, (seconds, count) in ordered]

    def _table(self, title: str, rows: Sequence[tuple[str, float, int, float | None]], room: int) -> Iterator[Text]:
        """A title and as many rows as there is room for, the figures right-aligned."""
        if not rows or room < 2:
            return
        figures = f"{'blocked':>9} {'stalls':>7}{'worst':>9}"
        yield Text(f"{title:<{max(0, self.width - len(figures))}}{figures}", style="dim")
        for name, seconds, count, worst in rows[: room - 1]:
            figures = f"{duration(seconds):>9} {number(count):>7}{duration(worst) if worst is not None else '':>9}"
            left = fit(name, max(8, self.width - cell_len(figures) - 1))
            gap = max(1, self.width - cell_len(figures) - cell_len(left))
            yield Text.assemble(left, " " * gap, (figures, "cyan"))


def _fitted(line: Text, width: int) -> Text:
    if cell_len(line.plain) > width:
        line.truncate(width, overflow="ellipsis")
    return line
