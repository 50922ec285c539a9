"""What `loopwatch run` prints when its command has ended: a few lines; the report has the rest."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from loopwatch.analysis.advice import Advisor
from loopwatch.analysis.run import Run
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.report.notes import process_notes
from loopwatch.report.protocol import Options
from loopwatch.report.snippet import fit
from loopwatch.report.text_site import SiteView
from loopwatch.report.words import command, counted, duration, plain, share

_MOST_SITES = 5
_MOST_CELLS = 80  # of a command
_SIGNALLED = 128  # the least status of a program that a signal has ended
_MOST_NAMED = 3  # of what might come in large numbers: processes, notes


def summary(run: Run, typed: str, pid: int, width: int, status: int = 0) -> Iterator[Text]:
    """How it went, the worst lines, and what was not watched, each line fit to `width` cells but for sentences.

    `typed` is the command, `status` how it has ended, and `pid` the process that started it and now prints this.
    """
    loops = [loop for each in run.processes for loop in each.loops]
    if loops:
        whole = sum(loop.seconds for loop in loops)
        source = Source(enabled=False)
        view = SiteView(run.cwd, whole, width, source, Advisor(source, run.cwd), Options(source=False))
        yield _lead(run, whole)
        yield from _unfinished(run, view)
        yield from _sites(run, view)
    yield from _idle(run, typed, pid, status)
    yield from _unwatched(run)
    yield from _some("Note: {}.", [note for each in run.processes for note in process_notes(each.process)])


def nothing(typed: str, status: int = 0, deaf_option: str = "") -> Text:
    """The summary where nothing was recorded at all: no Python that loopwatch is in has imported asyncio.

    `deaf_option`: the command's own option, such as ``-I``, that keeps loopwatch out. A command that has
    failed by itself needs no other reason.
    """
    why = "a Python started with -I, -E or -S, or with a PYTHONPATH of its own, cannot be watched"
    if deaf_option:
        why = f"Python's option {deaf_option} keeps loopwatch out"
    hint = f" ({why})" if deaf_option or not _has_failed(status) else ""
    return Text(f"{_no_loop(typed, status)}{hint}.")


def _no_loop(typed: str, status: int) -> str:
    ended = f", which ended with status {status}" if _has_failed(status) else ""
    return f"No event loop ran in {_brief(typed)}{ended}: nothing was watched"


def _has_failed(status: int) -> bool:
    """By itself: from 128 on it was a signal that ended it, and as a rule a person."""
    return 0 < status < _SIGNALLED


def _lead(run: Run, whole: float) -> Text:
    totals = run.totals
    parts = [duration(run.seconds)]
    watched = [each for each in run.processes if each.loops]
    if len(watched) > 1:
        parts.append(counted(len(watched), "process", "processes"))
    if totals.stalls:
        blocked = f"blocked for {duration(totals.stalled)} ({share(totals.stalled, whole)})"
        parts += [counted(totals.stalls, "stall"), blocked, f"worst {duration(totals.worst)}"]
        if totals.requests_delayed:
            parts.append(f"{counted(totals.requests_delayed, 'request')} delayed")
    else:
        parts.append(f"no stall of {duration(run.threshold)} or more")
    if totals.allowed:
        parts.append(f"{totals.allowed} more allowed")
    if totals.startup:
        parts.append(f"{duration(totals.startup_seconds)} more at start-up")
    style = "bold red" if totals.stalls else "bold green"
    return Text.assemble(("loopwatch", "bold"), " · ", (" · ".join(parts), style))


def _unfinished(run: Run, view: SiteView) -> Iterator[Text]:
    """The stall in which a process was when it was gone; of several the longest."""
    gone = next((stall for stall in run.stalls if stall.state == "gone"), None)
    if gone is not None:
        where = view.name(run.sites[gone.site])
        lasted = f"pid {gone.pid} was stuck for at least {duration(gone.duration)} until it was gone, in {where}"
        yield Text.assemble(("■ NEVER ENDED", "bold red"), f" {lasted}")


def _sites(run: Run, view: SiteView) -> Iterator[Text]:
    sites = [site for site in run.sites if site.counted]
    shown = sites[:_MOST_SITES]
    figures = [f"{duration(site.total)} · {counted(site.count, 'stall')}" for site in shown]
    room = view.width - 7 - max(map(cell_len, figures), default=0)
    names = [_name(site, view, room) for site in shown]
    column = max((name.cell_len for name in names), default=0)
    for rank, (name, figure) in enumerate(zip(names, figures, strict=True), 1):
        yield Text.assemble(f" {rank}  ", name, " " * (column - name.cell_len + 3), (figure, "cyan"))
    if rest := sites[_MOST_SITES:]:
        yield Text(f"    … and {counted(len(rest), 'more site')}, {duration(sum(site.total for site in rest))}")


def _name(site: Site, view: SiteView, room: int) -> Text:
    """``app/main.py:42 predict · GET /predict/{id}``, the endpoint only where there is room for it."""
    name = Text(fit(view.name(site), room), style="bold")
    if not site.endpoints:
        return name
    endpoint = f" · {plain(site.endpoints[0].name)}"
    return Text.assemble(name, endpoint) if name.cell_len + cell_len(endpoint) <= room else name


def _idle(run: Run, typed: str, pid: int, status: int) -> Iterator[Text]:
    """The processes in which no loop ran: the command itself first, then those that had asyncio all the same."""
    started = {each.process.pid for each in run.processes if each.process.parent_pid == pid}
    busy = {each.process.pid for each in run.processes if each.loops}
    if not busy:
        # A process that is not watched may well have had a loop.
        yield Text(f"Nothing was watched in {_brief(typed)}." if run.unwatched else f"{_no_loop(typed, status)}.")
        return
    if not started & busy and not run.unwatched:
        yield Text(f"No event loop ran in {_brief(typed)} itself, only in its child processes.")
    idle = [each.process for each in run.processes if not each.loops and each.process.pid not in started]
    yield from _some("No event loop ran in {}.", [f"pid {each.pid} ({_brief(command(each.command))})" for each in idle])


def _unwatched(run: Run) -> Iterator[Text]:
    """Each program once, however often it was started. A process with a loop is watched, whatever else it has."""
    watched = {each.process.pid for each in run.processes if each.loops}
    names = [
        f"{_brief(command(each.command) or each.executable)}: {plain(each.reason)}"
        for each in run.unwatched
        if each.pid not in watched
    ]
    for line in _some("Not watched: {}.", names):
        line.stylize("yellow")
        yield line


def _brief(words: str) -> str:
    """A command in a sentence: of a long one, the beginning."""
    return fit(plain(words), _MOST_CELLS)


def _some(sentence: str, names: list[str]) -> Iterator[Text]:
    """The sentence for each of the names, without repetition; of many, the first few and how many there are."""
    distinct = list(dict.fromkeys(names))
    for name in distinct[:_MOST_NAMED]:
        yield Text(sentence.format(name))
    if rest := distinct[_MOST_NAMED:]:
        yield Text(sentence.format(f"{len(rest)} more"))
