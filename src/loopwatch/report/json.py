"""`loopwatch report -f json`: everything, for other programs. docs/report.md describes it.

Strings and numbers keep their type where there is nothing to say: a stall without a sample has the file "" and the
line 0. What the recording does not tell, because of the system or its version, is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

from loopwatch.analysis.advice import Advice, Advisor
from loopwatch.analysis.frames import relative
from loopwatch.analysis.run import PlacedStall, Run, WatchedProcess
from loopwatch.analysis.sites import Site
from loopwatch.analysis.source import Source
from loopwatch.model import Cause, Loop
from loopwatch.report.notes import process_notes
from loopwatch.report.protocol import Options
from loopwatch.stack import Frame

SCHEMA = "loopwatch-report/1"


class JsonReporter:
    """Writes a line per site, process and stall, so that large reports are written fast and still read well."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the report as one JSON object, in ASCII."""
        source = Source(enabled=options.source, recorded=run.cwd, here=options.here)
        advisor = Advisor(source, run.cwd)
        parts: list[tuple[str, Any]] = [
            ("schema", SCHEMA),
            ("run", run_object(run)),
            ("processes", (process_object(each) for each in run.processes)),
            ("unwatched", unwatched_objects(run)),
            ("totals", totals_object(run)),
            ("sites", (site_object(site, run, source, advisor) for site in run.sites)),
            ("stalls", (stall_object(stall) for stall in run.stalls)),
            ("stalls_omitted", run.stalls_omitted),
            ("files_left_out", [*map(str, run.skipped), *run.unreadable]),
        ]
        lead = "{"
        for key, value in parts:
            out.write(f"{lead}{json.dumps(key)}: ")
            if isinstance(value, (str, int, dict)):
                out.write(json.dumps(value))
            else:
                _write_list(value, out)
            lead = ",\n "
        out.write("}\n")


def _write_list(items: Iterable[object], out: TextIO) -> None:
    lead = "["
    for item in items:
        out.write(f"{lead}\n  {json.dumps(item)}")
        lead = ","
    out.write("[]" if lead == "[" else "\n ]")


def run_object(run: Run) -> dict[str, Any]:
    """The run."""
    return {
        "path": str(run.paths[0]) if run.paths else "",
        "paths": [str(path) for path in run.paths],
        "command": list(run.command),
        "started": datetime.fromtimestamp(run.started, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
        "seconds": round(run.seconds, 3),
        "threshold_ms": _ms(run.threshold),
        "interval_ms": _ms(run.interval),
    }


def process_object(each: WatchedProcess) -> dict[str, Any]:
    """A process with its loops."""
    process = each.process
    return {
        "pid": process.pid,
        "parent_pid": process.parent_pid,
        "python": process.python,
        "command": list(process.command),
        "state": "running" if each.running else "ended",
        "role": each.role,
        "notes": process_notes(process),
        "loops": [_loop(loop) for loop in each.loops],
    }


def _loop(loop: Loop) -> dict[str, Any]:
    return {
        "kind": loop.kind,
        "thread": loop.thread,
        "seconds": round(loop.seconds, 6),
        "busy_seconds": round(loop.busy, 6),
        "utilization": round(loop.utilization, 6),
        "iterations": loop.iterations,
        "stalls": loop.stalls,
        "stalled_ms": _ms(loop.stalled),
        "worst_ms": _ms(loop.worst),
        "samples": loop.samples,
        "samples_torn": loop.torn,
        "samples_cut": loop.cut,
        "samples_outer": loop.outer,
        "samples_omitted": loop.omitted,
        "stalls_unsampled": loop.unsampled,
    }


def unwatched_objects(run: Run) -> list[dict[str, Any]]:
    """The processes that were not watched."""
    return [
        {"pid": each.pid, "executable": each.executable, "command": list(each.command), "reason": each.reason}
        for each in run.unwatched
    ]


def totals_object(run: Run) -> dict[str, Any]:
    """The totals."""
    totals = run.totals
    return {
        "stalls": totals.stalls,
        "stalled_ms": _ms(totals.stalled),
        "worst_ms": _ms(totals.worst),
        "requests": totals.requests,
        "requests_delayed": totals.requests_delayed,
        "records_dropped": totals.dropped,
        "stalls_allowed": totals.allowed,
        "allowed_ms": _ms(totals.allowed_seconds),
        "stalls_startup": totals.startup,
        "startup_ms": _ms(totals.startup_seconds),
        "requests_untracked": totals.requests_untracked,
        "causes_ms": _causes(totals.causes),
    }


def site_object(site: Site, run: Run, source: Source, advisor: Advisor) -> dict[str, Any]:
    """A site, with its stack."""
    place = site.frame or Frame("", "")
    return {
        **_place(place, run, source),
        "source": source.line(place),
        "basis": site.basis,
        "blocking": _place(site.blocking or Frame("", ""), run, source),
        "allowed": site.allowed,
        "cause": site.cause or None,
        "causes_ms": _causes(site.why.causes),
        "gil_held_ms": _ms(site.why.gil_held) if site.cause else None,
        "run_delay_ms": _ms_or_none(site.why.run_delay),
        "throttled_ms": _ms_or_none(site.why.throttled),
        "shape": site.shape,
        "phase": site.phase,
        "count": site.count,
        "total_ms": _ms(site.total),
        "p50_ms": _ms(site.p50),
        "p99_ms": _ms(site.p99),
        "max_ms": _ms(site.longest),
        "endpoints": [{"name": each.name, "count": each.count, "total_ms": _ms(each.total)} for each in site.endpoints],
        "requests_delayed": site.requests_delayed,
        "gil_holder": _holder(site, run, source),
        "advice": _advice(advisor.advice(site), run),
        "stack": [
            {**_place(frame, run, source), "kind": _kind(frame)} for frame in (site.stack.frames if site.stack else ())
        ],
    }


def _kind(frame: Frame) -> str:
    """Readers know four kinds: to them loopwatch is a library."""
    return "library" if frame.kind == "loopwatch" else frame.kind


def _place(frame: Frame, run: Run, source: Source) -> dict[str, Any]:
    return {
        "file": relative(frame.file, run.cwd),
        "line": frame.line,
        "function": frame.function,
        "expression": source.expression(frame),
    }


def _holder(site: Site, run: Run, source: Source) -> dict[str, Any] | None:
    holder = site.why.holder
    if holder is None:
        return None
    return {"thread": holder.thread, **_place(holder.frame or Frame("", ""), run, source)}


def _advice(advice: Advice | None, run: Run) -> list[dict[str, Any]]:
    if advice is None:
        return []
    change = None
    if advice.change:
        frame = advice.change.frame
        change = {
            "file": relative(frame.file, run.cwd),
            "line": frame.line,
            "function": frame.function,
            "code": advice.change.code,
        }
    return [{"slug": advice.slug, "text": advice.text, "change": change}]


def stall_object(stall: PlacedStall) -> dict[str, Any]:
    """A stall."""
    return {
        "start": round(stall.start, 6),
        "duration_ms": _ms(stall.duration),
        "cpu_ms": _ms_or_none(stall.cpu),
        "pid": stall.pid,
        "callbacks": stall.callbacks,
        "state": stall.state,
        "allowed": stall.allowed,
        "cause": stall.cause or None,
        "run_delay_ms": _ms_or_none(stall.run_delay),
        "throttled_ms": _ms_or_none(stall.throttled),
        "phase": stall.phase,
        "site": stall.site,
        "endpoint": stall.endpoint,
        "request": str(stall.request or ""),
        "requests_delayed": stall.requests_delayed,
        "samples": stall.samples,
    }


def _causes(causes: Iterable[tuple[Cause, float]]) -> dict[str, float]:
    return {cause: _ms(seconds) for cause, seconds in causes}


def _ms_or_none(seconds: float | None) -> float | None:
    return None if seconds is None else _ms(seconds)


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 6)


REPORTER = JsonReporter()
