"""For OpenTelemetry: `instrument()`. Needs its API only (`pip install loopwatch[otel]`), and whatever SDK is set up.

Metrics `loopwatch.eventloop.*`; and where a request has held the loop for long, an event on its span says where.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from typing import ClassVar

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation

from loopwatch import __version__, _core
from loopwatch.location import place_of
from loopwatch.metrics.figures import BOUNDS, UNKNOWN, Meter
from loopwatch.model import Stall

NAME = "loopwatch.eventloop"
EVENT = "event loop blocked"


class Instrumentation:
    """What `instrument` has begun."""

    _told: ClassVar[Instrumentation | None] = None

    def __init__(self, threshold: float | None, provider: MeterProvider | None, events: bool) -> None:
        meter = metrics.get_meter("loopwatch", __version__, provider)
        self._duration = meter.create_histogram(f"{NAME}.stall.duration", "s", "Length of stalls, by cause.")
        self._meter = Meter(threshold, tell=self._tell)
        self._least_ns = self._meter.threshold * 1e9
        meter.create_observable_counter(
            f"{NAME}.stalls", [self._stalls], "{stall}", "Stalls, by what the loop's thread was doing most."
        )
        meter.create_observable_counter(
            f"{NAME}.stalled_time", [self._stalled], "s", "How long loops were stalled, by what their threads did."
        )
        meter.create_observable_counter(
            f"{NAME}.iterations", [self._iterations], "{iteration}", "Iterations at most `le` seconds long."
        )
        meter.create_observable_counter(f"{NAME}.busy_time", [self._busy], "s", "How long loops were not waiting.")
        meter.create_observable_gauge(
            f"{NAME}.utilization", [self._utilization], "1", "Share of time the busiest loop was not waiting, lately."
        )
        meter.create_observable_counter(f"{NAME}.samples_torn", [self._torn], "{sample}", "Samples thrown away.")
        if events:
            self._tell_responses(self)

    def close(self) -> None:
        """Watch no longer, and add no events."""
        self._meter.close()
        if Instrumentation._told is self:
            self._tell_responses(None)

    @staticmethod
    def _tell_responses(told: Instrumentation | None) -> None:
        """The newest one alone adds events."""
        Instrumentation._told = told
        _core.tell_responses(None if told is None else told._responding)

    def _tell(self, stall: Stall) -> None:
        self._duration.record(stall.duration, {"cause": stall.cause or UNKNOWN})

    def _responding(self, request: _core.Request) -> None:
        """On the loop's thread, when a response starts: later the span may be over."""
        blocked = request.blocking_ns()
        if blocked < self._least_ns:
            return
        attributes: dict[str, str | int | float] = {"loopwatch.blocking_ms": blocked / 1e6}
        place = place_of(_core.frames(request))
        if place is not None:
            file, function, line = place
            attributes |= {"code.file.path": file, "code.function.name": function, "code.line.number": line}
        trace.get_current_span().add_event(EVENT, attributes)

    def _stalls(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(count, {"cause": cause}) for cause, count in self._meter.figures().stalls.items()]

    def _stalled(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(seconds, {"cause": cause}) for cause, seconds in self._meter.figures().stalled.items()]

    def _iterations(self, _: CallbackOptions) -> Iterable[Observation]:
        counts = accumulate(self._meter.figures().histogram)
        bounds = [*map(str, BOUNDS), "+Inf"]
        return [Observation(count, {"le": bound}) for bound, count in zip(bounds, counts, strict=True)]

    def _busy(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._meter.figures().busy)]

    def _utilization(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._meter.figures().utilization)]

    def _torn(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self._meter.figures().torn)]


def instrument(
    threshold: float | None = None, *, meter_provider: MeterProvider | None = None, events: bool = True
) -> Instrumentation:
    """Watch this process from now on, and offer its figures; `threshold` as for `loopwatch.start`, in seconds.

    `events`: a request that has held the loop for at least the threshold when its response starts gets an event on the
    span that is current then, with the place in the code. That takes `LoopwatchMiddleware`, or `loopwatch run`.
    """
    return Instrumentation(threshold, meter_provider, events)
