"""Figures for Prometheus and OpenTelemetry, as their own libraries, and a real Prometheus server, see them."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import loopwatch
from loopwatch.errors import ConfigError
from tests.integration.project import PATIENCE, Project
from tests.integration.watched_program import LOOPS, run_program

pytest.importorskip("prometheus_client")
pytest.importorskip("opentelemetry.sdk")
from prometheus_client.parser import text_string_to_metric_families

Samples = dict[tuple[str, str], float]


def samples(text: str) -> Samples:
    """By the name and the label of each that has one: its cause, or its upper bound."""
    return {
        (sample.name, sample.labels.get("cause", sample.labels.get("le", ""))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("loopwatch_")
    }


def stalls_in(found: Samples) -> float:
    return sum(value for (name, _), value in found.items() if name == "loopwatch_stalls_total")


PROMETHEUS = """
from prometheus_client import CollectorRegistry, generate_latest
from loopwatch.metrics.prometheus import LoopwatchCollector

def exposed():
    return generate_latest(registry).decode()

registry = CollectorRegistry()
collector = LoopwatchCollector()
registry.register(collector)
"""


def run_exposing(folder: Path, body: str, **environment: str) -> list[Samples]:
    """What a program exposes with each `show()`."""
    show = "\ndef show(): print(exposed(), end='==\\n')\n"
    output, _ = run_program(folder, PROMETHEUS + show + body, **environment)  # type: ignore[arg-type]
    return [samples(part) for part in output.split("==\n")[:-1]]


def test_exposition(tmp_path: Path) -> None:
    before, after = run_exposing(
        tmp_path,
        """
async def main():
    for _ in range(3):
        await blocking()
    end = time.monotonic() + 0.03
    while time.monotonic() < end:
        pass
    await asyncio.sleep(0.5)
    show()
show()
run(main())
""",
    )
    assert before["loopwatch_iteration_seconds_count", ""] == 0
    assert after["loopwatch_stalls_total", "blocked"] == 3
    assert 0.14 <= after["loopwatch_stalled_seconds_total", "blocked"] < 1
    busy = {cause: value for (name, cause), value in after.items() if name == "loopwatch_stalls_total"}
    del busy["blocked"]
    assert sum(busy.values()) == 1, busy  # "python", but on a busy machine it may be "starved" most of the time
    assert 0.18 <= after["loopwatch_iteration_seconds_sum", ""] < 1.5
    count = after["loopwatch_iteration_seconds_count", ""]
    assert count >= 7
    buckets = [value for (name, _), value in after.items() if name == "loopwatch_iteration_seconds_bucket"]
    assert buckets == sorted(buckets)
    assert buckets[-1] == count
    assert 3 <= count - after["loopwatch_iteration_seconds_bucket", "0.032768"] <= 4
    assert 0.05 < after["loopwatch_loop_utilization_ratio", ""] < 0.9
    assert after["loopwatch_samples_torn_total", ""] >= 0


def test_switched_off(tmp_path: Path) -> None:
    """Whatever else is set."""
    (found,) = run_exposing(tmp_path, "run(blocking())\nshow()\n", LOOPWATCH="no", LOOPWATCH_THRESHOLD="abc")
    assert found["loopwatch_iteration_seconds_count", ""] == 0


def test_counters_never_fall(tmp_path: Path) -> None:
    """Loops come and go, others begin to watch and end it, and the interpreter forks."""
    found = run_exposing(
        tmp_path,
        """
def told():
    lines = [line.split() for line in exposed().splitlines()]
    return sum(float(line[-1]) for line in lines if line[0].startswith("loopwatch_stalls_total"))

def one(stalls):
    run(blocking())
    end = time.monotonic() + 20
    while told() < stalls and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.05)
    show()
one(1)
loopwatch.start(threshold=0.02)
one(2)
loopwatch.stop()
one(3)
with loopwatch.watching(threshold=0.001):
    one(4)
sys.stdout.flush()
if not os.fork():
    one(1)
    sys.stdout.flush()
    os._exit(0)
os.wait()
one(5)
collector.close()
one(5)
""",
    )
    # A busy machine adds stalls of its own, and leaves some without a sample, hence without a cause.
    *four, child, fifth, last = [stalls_in(each) for each in found]
    assert 1 <= four[0] < four[1] < four[2] < four[3] < fifth == last
    assert 1 <= child < fifth
    for name in ("iteration_seconds_count", "iteration_seconds_sum"):
        values = [each[f"loopwatch_{name}", ""] for each in found]
        child = values.pop(4)
        assert 0 < child < values[-1]
        assert values == sorted(values)


@pytest.mark.parametrize("loop", LOOPS)
def test_more_loops_than_are_remembered(tmp_path: Path, loop: str) -> None:
    """Each for a short thread; and many that stop, and go on, with their threads. All count, once."""
    output, _ = run_program(
        tmp_path,
        PROMETHEUS
        + """
def once(_):
    run(asyncio.sleep(0))

def often(count):
    loop = new_loop()
    for _ in range(count):
        loop.run_until_complete(asyncio.sleep(0))
        barrier.wait()
    loop.close()

def in_threads(function, argument, count):
    threads = [threading.Thread(target=function, args=(argument,)) for _ in range(count)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()

loopwatch.start(record="rec")
from loopwatch import wants
barrier = threading.Barrier(100)
for _ in range(30):
    in_threads(once, None, 10)
in_threads(often, 10, 100)
for _ in range(30):
    in_threads(once, None, 10)
time.sleep(0.1)
kept = len(wants.loops()[0])
loopwatch.stop()
print(exposed(), kept, sep="==\\n")
""",
        loop,
    )
    exposed, kept = output.split("==\n")
    assert int(kept) < 400
    (file,) = tmp_path.glob("rec/*.jsonl")
    records = [json.loads(line) for line in file.read_text().splitlines()]
    newest = {record["loop"]: record for record in records if record["t"] == "summary"}
    assert len(newest) >= 700
    found = samples(exposed)
    assert found["loopwatch_iteration_seconds_count", ""] == sum(each["iterations"] for each in newest.values())
    busy = sum(each["busy_ns"] for each in newest.values()) / 1e9
    assert found["loopwatch_iteration_seconds_sum", ""] == pytest.approx(busy)


@pytest.mark.parametrize("threshold", [-1, 0.0, float("nan"), float("inf")])
def test_a_threshold_that_means_nothing(threshold: float) -> None:
    """As `loopwatch.start` has it."""
    from loopwatch.metrics.prometheus import LoopwatchCollector

    with pytest.raises(ConfigError) as expected:
        loopwatch.start(threshold)
    with pytest.raises(ConfigError) as caught:
        LoopwatchCollector(threshold)
    assert str(caught.value) == str(expected.value)


def test_what_does_not_count(tmp_path: Path) -> None:
    """As in the report; and with LOOPWATCH=0 nothing does."""
    body = """
async def main():
    await asyncio.sleep(0)
    with loopwatch.allowed():
        block()
    await asyncio.sleep(0)
run(main())
time.sleep(0.1)
show()
"""
    [found] = run_exposing(tmp_path, body)
    assert not [name for name, _ in found if name == "loopwatch_stalls_total"]
    assert found["loopwatch_iteration_seconds_count", ""] > 0
    [found] = run_exposing(tmp_path, body, LOOPWATCH="0")
    assert found["loopwatch_iteration_seconds_count", ""] == 0


OTEL = """
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from loopwatch import LoopwatchMiddleware
from loopwatch.metrics import otel
import json

reader, spans, provider = InMemoryMetricReader(), InMemorySpanExporter(), TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
tracer = provider.get_tracer("test")
watching = otel.instrument(0.03, meter_provider=MeterProvider([reader]))

async def app(scope, receive, send):
    await asyncio.sleep(0.002)
    if scope["path"] == "/block":
        block()
    await asyncio.sleep(0.002)
    await send({"type": "http.response.start", "status": 200, "headers": []})

async def request(path):
    with tracer.start_as_current_span(path):
        await LoopwatchMiddleware(app)({"type": "http", "method": "GET", "path": path, "headers": []}, None, sent)
async def sent(message): ...
"""


def test_opentelemetry(tmp_path: Path) -> None:
    output, _ = run_program(
        tmp_path,
        OTEL
        + """
async def main():
    await asyncio.gather(request("/block"), request("/wait"))
    await asyncio.sleep(1.5)
run(main())
found = {}
for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
    for point in metric.data.data_points:
        label = "".join(map(str, point.attributes.values()))
        found[f"{metric.name} {label}".strip()] = getattr(point, "value", getattr(point, "count", None))
print(json.dumps([found, {span.name: [[event.name, dict(event.attributes)] for event in span.events]
    for span in spans.get_finished_spans()}]))
watching.close()
""",
    )
    found, events = json.loads(output)
    prefix = "loopwatch.eventloop"
    assert found[f"{prefix}.stalls blocked"] == 1
    assert found[f"{prefix}.stall.duration blocked"] == 1
    assert 0.04 <= found[f"{prefix}.stalled_time blocked"] < 1
    assert 0.04 <= found[f"{prefix}.busy_time"] < 2
    assert 0 < found[f"{prefix}.utilization"] <= 1
    assert found[f"{prefix}.iterations 0.032768"] < found[f"{prefix}.iterations +Inf"]
    assert found[f"{prefix}.samples_torn"] >= 0
    assert events["/wait"] == []
    [[name, attributes]] = events["/block"]
    assert name == "event loop blocked"
    assert attributes.pop("loopwatch.blocking_ms") >= 50
    place = attributes["code.function.name"], attributes["code.line.number"]
    assert place == ("block", 11)
    assert attributes["code.file.path"] == str(tmp_path / "program.py")


APP = """
import os, time
from prometheus_client import CollectorRegistry, generate_latest, multiprocess
from loopwatch.metrics.prometheus import register_multiprocess

register_multiprocess()

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    body = b"%d" % os.getpid()
    if scope["path"] == "/block":
        time.sleep(0.05)
    if scope["path"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        body = generate_latest(registry)
    await send({"type": "http.response.start", "status": 200, "headers":
        [(b"connection", b"close"), (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]})
    await send({"type": "http.response.body", "body": body})
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return bytes(answer.read())


def answers(port: int, path: str) -> bool:
    try:
        return bool(get(port, path)) or True
    except OSError:
        return False


@pytest.fixture
def workers(project: Project) -> tuple[int, set[int]]:
    """The port of two workers, and their pids; each has blocked twice at least."""
    project.write("app.py", APP)
    (project.folder / "figures").mkdir()
    project.environment["PROMETHEUS_MULTIPROC_DIR"] = str(project.folder / "figures")
    port = free_port()
    options = ["--port", str(port), "--workers", "2", "--log-level", "warning"]
    project.start("run", "-q", sys.executable, "-m", "uvicorn", "app:app", *options, stdout=None, stderr=None)
    project.wait_for(lambda: answers(port, "/"))
    blocked: dict[int, int] = {}

    def both() -> bool:
        pid = int(get(port, "/block"))
        blocked[pid] = blocked.get(pid, 0) + 1
        return len(blocked) == 2 and min(blocked.values()) >= 2

    project.wait_for(both)
    return port, {*blocked}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX")
def test_two_workers_on_one_port(project: Project, workers: tuple[int, set[int]]) -> None:
    """Whichever of them is asked answers for both, and goes on doing so for one that is gone."""
    port, pids = workers
    project.wait_for(lambda: stalls_in(samples(get(port, "/metrics").decode())) >= 4)
    found = samples(get(port, "/metrics").decode())
    assert found["loopwatch_stalls_total", "blocked"] >= 4
    assert found["loopwatch_iteration_seconds_count", ""] >= 8
    assert found["loopwatch_iteration_seconds_sum", ""] >= 0.2
    os.kill(min(pids), signal.SIGKILL)
    assert samples(get(port, "/metrics").decode())["loopwatch_stalls_total", "blocked"] >= 4


def ask(port: int, query: str) -> list[dict[str, Any]]:
    answer = json.loads(get(port, f"/api/v1/query?query={urllib.parse.quote(query)}"))
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="needs a Prometheus server")
def test_prometheus_server(project: Project, workers: tuple[int, set[int]]) -> None:
    """It scrapes the two workers, and answers for what product owners ask."""
    port, _ = workers
    project.write(
        "prometheus.yml",
        f"""
        scrape_configs:
          - job_name: app
            scrape_interval: 200ms
            static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
        """,
    )
    own = free_port()
    options = [f"--storage.tsdb.path={project.folder / 'data'}", f"--web.listen-address=127.0.0.1:{own}"]
    command = ["prometheus", f"--config.file={project.folder / 'prometheus.yml'}", *options]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            project.wait_for(lambda: answers(own, "/-/ready"))
            [found] = project.wait_for(lambda: ask(own, 'sum(loopwatch_stalls_total{cause="blocked"}) >= 4'))
            assert float(found["value"][1]) >= 4
            assert ask(own, "up")[0]["value"][1] == "1"
            query = "histogram_quantile(0.99, sum(loopwatch_iteration_seconds_bucket) by (le))"
            [longest] = project.wait_for(lambda: ask(own, query))
            assert 0.03 < float(longest["value"][1]) < 1
            assert ask(own, "loopwatch_loop_utilization_ratio")
        finally:
            server.terminate()
