"""For Prometheus: `REGISTRY.register(LoopwatchCollector())`. Needs `pip install loopwatch[prometheus]`.

Where prometheus-client runs in its multi-process mode (`PROMETHEUS_MULTIPROC_DIR`), which knows no collectors,
`register_multiprocess()` keeps ordinary metrics of the library up to date in each process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from loopwatch.metrics.figures import BOUNDS, Figures, Meter

STALLS = "loopwatch_stalls", "Stalls of this process's event loops, by what the loop's thread was doing most."
STALLED = "loopwatch_stalled_seconds", "How long event loops were stalled, by what their threads were doing."
ITERATION = "loopwatch_iteration_seconds", "Length of the iterations of this process's event loops."
UTILIZATION = "loopwatch_loop_utilization_ratio", "Share of its time in which the busiest loop was not waiting, lately."
TORN = "loopwatch_samples_torn", "Samples of a stack that were thrown away, since it was changing."


class LoopwatchCollector(Collector):
    """Watches this process from now on; `threshold` as for `loopwatch.start`, in seconds."""

    def __init__(self, threshold: float | None = None) -> None:
        self._meter = Meter(threshold)

    def close(self) -> None:
        """Watch no longer."""
        self._meter.close()

    def describe(self) -> Iterable[Metric]:
        """The names, so that a registry need not collect to know them."""
        return list(_families(Figures({}, {})))

    def collect(self) -> Iterable[Metric]:
        """The figures as they are now."""
        return list(_families(self._meter.figures()))


def _families(figures: Figures) -> Iterator[Metric]:
    stalls = CounterMetricFamily(*STALLS, labels=["cause"])
    for cause, count in sorted(figures.stalls.items()):
        stalls.add_metric([cause], count)
    yield stalls
    stalled = CounterMetricFamily(*STALLED, labels=["cause"])
    for cause, seconds in sorted(figures.stalled.items()):
        stalled.add_metric([cause], seconds)
    yield stalled
    bounds = [*map(str, BOUNDS), "+Inf"]
    buckets = list(zip(bounds, accumulate(figures.histogram), strict=True))
    yield HistogramMetricFamily(*ITERATION, buckets=buckets, sum_value=figures.busy)
    yield GaugeMetricFamily(*UTILIZATION, value=figures.utilization)
    yield CounterMetricFamily(*TORN, value=figures.torn)


def register_multiprocess(threshold: float | None = None) -> None:
    """Watch this process, and its forked children, from now on, for prometheus-client's multi-process mode.

    To be called once, where the library's own metrics are made: when the application is imported.
    """
    _Multiprocess(threshold)


class _Multiprocess:
    def __init__(self, threshold: float | None) -> None:
        self._stalls = Counter(*STALLS, ["cause"])
        self._stalled = Counter(*STALLED, ["cause"])
        self._iteration = Histogram(*ITERATION, buckets=BOUNDS)
        self._utilization = Gauge(*UTILIZATION, multiprocess_mode="livemax")
        self._torn = Counter(*TORN)
        self._pid, self._told = os.getpid(), Figures({}, {})
        self._meter = Meter(threshold, refresh=self._refresh)

    def _refresh(self) -> None:
        """On loopwatch's thread: add what has come since the last time."""
        if self._pid != os.getpid():
            self._pid, self._told = os.getpid(), Figures({}, {})
        before, figures = self._told, self._meter.figures()
        self._told = figures
        for cause, count in figures.stalls.items():
            self._stalls.labels(cause).inc(count - before.stalls.get(cause, 0))
        for cause, seconds in figures.stalled.items():
            self._stalled.labels(cause).inc(max(0.0, seconds - before.stalled.get(cause, 0.0)))
        # A histogram of the library takes one observation at a time: these are counted already.
        for bucket, count, known in zip(self._iteration._buckets, figures.histogram, before.histogram, strict=True):
            bucket.inc(count - known)
        self._iteration._sum.inc(max(0.0, figures.busy - before.busy))
        self._utilization.set(figures.utilization)
        self._torn.inc(figures.torn - before.torn)
