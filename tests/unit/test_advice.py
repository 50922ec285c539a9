"""Each rule speaks where it should and only there; what it says fits the cause."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from loopwatch.analysis.advice import STATES, Advice, Advisor, Rule, rules, state_of
from loopwatch.analysis.causes import Why
from loopwatch.analysis.sites import Site, SiteTable
from loopwatch.analysis.source import Source
from loopwatch.model import Activity, Cause, Phase, Stall
from loopwatch.stack import Frame, Stack
from tests.unit.advice_cases import CASES, HEADER, Case

SITE = "/srv/.venv/lib/python3.12/site-packages/"
LIB = "/usr/lib/python3.12/"
RULES = {rule.slug: rule for rule in rules()}
RUN = Frame(f"{LIB}asyncio/events.py", "Handle._run", 88, kind="loop")

# How a recording tells the states apart: cause, share of the GIL held, throttled.
TOLD: dict[str, tuple[Cause, float, float | None]] = {
    "python": ("python", 0, None),
    "held": ("native", 0.9, None),
    "released": ("native", 0.1, None),
    "blocked": ("blocked", 0, None),
    "gil": ("gil", 0, None),
    "gc": ("gc", 0, None),
    "starved": ("starved", 0, 0.0),
    "throttled": ("starved", 0, 1.0),
}


def activity(state: str, seconds: float = 0.05) -> Activity:
    cause, held, throttled = TOLD[state]
    return Activity(((cause, seconds),), held * seconds, throttled=throttled, longest=seconds)


def frame_of(place: str) -> Frame:
    """``lib:socket.py:getaddrinfo`` or ``requests/api.py:get``"""
    stdlib = place.startswith("lib:")
    file, _, function = place.removeprefix("lib:").rpartition(":")
    folder = "" if file.startswith("<") else LIB if stdlib else SITE
    return Frame(folder + file, function, 1, 1, kind="stdlib" if stdlib else "library")


def underlined(file: Path, source: str, function: str) -> Frame:
    """Write a source in which «» stand around what runs; the frame of that."""
    before, rest = source.split("«")
    what, after = rest.split("»")
    file.write_text(before + what + after, encoding="utf-8")
    line, column = before.count("\n") + 1, len(before.rpartition("\n")[2].encode())
    return Frame(str(file), function, line, line, column, column + len(what.encode()))


def site_of(state: str, *frames: Frame, shape: str = "single", phase: Phase = "serving") -> Site:
    """A site of one stall with one stack; frames outermost first."""
    stack: Stack | None = None
    for frame in (RUN, *frames):
        stack = Stack(frame, stack)
    assert stack is not None
    doing = activity(state)
    if shape == "pile-up":
        doing = doing._replace(longest=0.001)
    table = SiteTable()
    table.add(Stall(0, 0.05, 20, 9, ((stack, 9),), activity=doing, phase=phase), threshold=0.01, since=0)
    ((site,), _) = table.finish()
    return site


def advice_for(case: Case, folder: Path) -> Advice | None:
    source = f"{HEADER}\n\nasync def handler():\n    {case.line}\n"
    own = underlined(folder / case.file, source, "handler")
    below = [frame_of(place) for place in case.below]
    return Advisor(Source()).advice(site_of(case.state, own, *below, shape=case.shape))


@pytest.mark.parametrize("slug", RULES)
def test_a_rule_speaks_where_it_should(slug: str, tmp_path: Path) -> None:
    fires, _ = CASES[slug]
    assert fires
    for case in fires:
        advice = advice_for(case, tmp_path)
        assert advice is not None and advice.slug == slug, (case, advice)


@pytest.mark.parametrize("slug", RULES)
def test_a_rule_is_silent_where_it_should(slug: str, tmp_path: Path) -> None:
    _, silent = CASES[slug]
    assert silent
    for case in silent:
        advice = advice_for(case, tmp_path)
        assert advice is None or advice.slug != slug, case


def test_there_are_cases_for_rules_only() -> None:
    assert CASES.keys() == RULES.keys()
    assert len(RULES) == len(rules())


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.slug))
def test_rules_are_well_formed(rule: Rule) -> None:
    assert rule.when and set(rule.when) <= set(STATES)
    assert rule.shape in ("", "single", "pile-up")
    assert not rule.text.endswith(".") and "\n" not in rule.text
    assert rule.mend in ("", "offload") or rule.mend.startswith("await ")
    every = rule.calls + rule.frames + rule.place
    assert not every or any(not pattern.startswith("!") for pattern in every)
    assert all(":" in pattern for pattern in rule.frames if "/" not in pattern)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule.slug))
def test_no_thread_for_what_holds_the_gil(rule: Rule) -> None:
    if {"python", "held", "gil"} & set(rule.when):
        text = (
            rule.text.replace("no thread", "").replace("another thread", "").replace("a thread for it is no mend", "")
        )
        assert "to_thread" not in rule.text + rule.mend
        assert "thread" not in text


def test_for_every_state_there_is_a_general_rule_and_it_comes_last() -> None:
    slugs = [rule.slug for rule in rules()]
    for state in STATES:
        general = [rule.slug for rule in rules() if rule.is_general and state in rule.when]
        assert len(general) == 1
        later = [
            rule.slug for rule in rules() if state in rule.when and slugs.index(rule.slug) > slugs.index(general[0])
        ]
        assert later == []


@pytest.mark.parametrize("state", STATES)
def test_every_case_in_every_state_gets_advice_that_fits(state: str, tmp_path: Path) -> None:
    for fires, silent in CASES.values():
        for case in fires + silent:
            advice = advice_for(case._replace(state=state), tmp_path)
            assert advice is not None
            assert state in RULES[advice.slug].when
            code = advice.change.code if advice.change else ""
            if state in ("python", "held"):
                assert "to_thread" not in code and "asyncio.sleep" not in code
            elif state not in ("released", "blocked"):
                assert not code
            if code:
                ast.parse(f"async def _():\n    {code}" + (" pass" if code.endswith(":") else ""))


def test_states() -> None:
    for state in STATES:
        doing = activity(state)
        assert state_of(Why(doing.causes, doing.gil_held, throttled=doing.throttled)) == state
    assert state_of(Why()) == ""


def test_a_busy_machine_is_the_answer_only_where_it_is_nearly_all() -> None:
    assert state_of(Why((("starved", 0.7), ("python", 0.3)))) == "starved"
    assert state_of(Why((("starved", 0.6), ("native", 0.4)), gil_held=0.4)) == "held"
    assert state_of(Why((("starved", 0.6), ("native", 0.4)))) == "released"
    assert state_of(Why((("starved", 0.5), ("blocked", 0.4), ("gc", 0.1)))) == "blocked"


def advise(folder: Path, source: str, state: str, *frames: Frame, **how: Phase) -> Advice | None:
    own = underlined(folder / "main.py", source, "handler")
    return Advisor(Source()).advice(site_of(state, own, *frames, **how))


def test_without_a_cause_nothing_is_advised(tmp_path: Path) -> None:
    table = SiteTable()
    own = underlined(tmp_path / "main.py", "import time\nasync def f():\n    «time.sleep(1)»\n", "f")
    table.add(Stall(0, 0.05, 1, 9, ((Stack(own, Stack(RUN)), 9),)), threshold=0.01, since=0)
    ((site,), _) = table.finish()
    assert Advisor(Source()).advice(site) is None


def test_before_a_server_serves_slow_things_are_right(tmp_path: Path) -> None:
    source = "import pickle\nasync def handler():\n    x = «pickle.load(f)»\n"
    assert advise(tmp_path, source, "held", phase="startup") is None
    assert advise(tmp_path, source, "held", phase="other") is not None


PREDICT = """import heavy_model
async def predict(payload):
    features = build(payload)
    result = «heavy_model.predict(features)»
    return {"result": result}
"""


def test_the_changed_line(tmp_path: Path) -> None:
    inner = frame_of("sklearn/tree/_classes.py:DecisionTreeClassifier.predict")
    advice = advise(tmp_path, PREDICT, "released", inner)
    assert advice and advice.change
    assert advice.slug == "compute"
    assert advice.change.code == "result = await asyncio.to_thread(heavy_model.predict, features)"
    held = advise(tmp_path, PREDICT, "held", inner)
    assert held and held.change
    code = "result = await asyncio.get_running_loop().run_in_executor(pool, heavy_model.predict, features)"
    assert held.change.code == code


def test_a_plain_function_is_changed_where_async_code_calls_it(tmp_path: Path) -> None:
    app = underlined(tmp_path / "app.py", "import work\nasync def route(x):\n    return «work.pay(x)»\n", "route")
    work = underlined(tmp_path / "work.py", "import time\ndef pay(x):\n    «time.sleep(1)»\n", "pay")
    between = frame_of("decorator/core.py:call")
    advice = Advisor(Source()).advice(site_of("blocked", app, between, work))
    assert advice and advice.slug == "sleep" and advice.change
    assert (advice.change.frame, advice.change.code) == (app, "return await asyncio.to_thread(work.pay, x)")


def test_a_plain_function_that_nobody_async_calls_has_no_changed_line(tmp_path: Path) -> None:
    app = underlined(tmp_path / "app.py", "import work\ndef route(x):\n    return «work.pay(x)»\n", "route")
    work = underlined(tmp_path / "work.py", "import time\ndef pay(x):\n    «time.sleep(1)»\n", "pay")
    advice = Advisor(Source()).advice(site_of("blocked", app, work))
    assert advice and advice.slug == "sleep" and advice.change is None


def test_a_module_that_is_imported_late(tmp_path: Path) -> None:
    app = underlined(tmp_path / "app.py", "async def route():\n    «import late»\n", "route")
    late = underlined(tmp_path / "late.py", "TABLE = «[]»\n", "<module>")
    advice = Advisor(Source()).advice(site_of("python", app, frame_of("lib:<frozen importlib._bootstrap>:_load"), late))
    assert advice and advice.slug == "import"
    advice = Advisor(Source()).advice(site_of("python", app, late))
    assert advice and advice.slug == "python"


@pytest.mark.parametrize(
    ("call", "below", "code"),
    [
        ("POOL.submit(f).result()", "", "x = await asyncio.wrap_future(POOL.submit(f))"),
        ("job.result()", "Future.result", "x = await asyncio.wrap_future(job)"),
        ("job.result(5)", "Future.result", "x = await asyncio.to_thread(job.result, 5)"),
        ("job.exception()", "Future.exception", "x = await asyncio.to_thread(job.exception)"),
        ("client.flush()", "Future.result", "x = await asyncio.to_thread(client.flush)"),
        ("POOL.shutdown()", "", "x = await asyncio.to_thread(POOL.shutdown)"),
    ],
)
def test_only_a_future_is_wrapped(call: str, below: str, code: str, tmp_path: Path) -> None:
    source = f"""from concurrent.futures import ThreadPoolExecutor
POOL = ThreadPoolExecutor()
async def handler(job, client):
    x = «{call}»
"""
    library = [frame_of("client/api.py:Client.flush")] if "client" in call else []
    inner = [frame_of(f"lib:concurrent/futures/_base.py:{below}")] if below else []
    inner = inner or [frame_of("lib:concurrent/futures/thread.py:ThreadPoolExecutor.shutdown")]
    advice = advise(tmp_path, source, "blocked", *library, *inner)
    assert advice and advice.slug == "future" and advice.change
    assert advice.change.code == code


def test_what_is_entered(tmp_path: Path) -> None:
    """Up to Python 3.12 the compiler notes the whole statement for it."""
    source = "import threading\nLOCK = threading.Lock()\nasync def handler():\n    «with LOCK: pass»\n"
    advice = advise(tmp_path, source, "blocked")
    assert advice and advice.slug == "lock"


def test_a_database_connection_does_not_change_its_thread(tmp_path: Path) -> None:
    source = "import sqlite3\ndb = sqlite3.connect('a')\nasync def handler():\n    «db.execute('b')»\n"
    advice = advise(tmp_path, source, "released")
    assert advice and advice.slug == "sqlite" and advice.change is None


def test_without_source_frames_still_tell(tmp_path: Path) -> None:
    own = underlined(tmp_path / "main.py", "x = «requests.get(u)»\n", "handler")
    site = site_of("blocked", own, frame_of("requests/api.py:get"))
    advice = Advisor(Source(enabled=False)).advice(site)
    assert advice == Advice("http-client", RULES["http-client"].text)


def test_a_file_that_was_changed_since_gives_no_line(tmp_path: Path) -> None:
    own = underlined(tmp_path / "main.py", PREDICT, "predict")
    table = SiteTable()
    stall = Stall(0, 0.05, 1, 9, ((Stack(own, Stack(RUN)), 9),), activity=activity("released"))
    table.add(stall, threshold=0.01, since=1.0)
    ((site,), _) = table.finish()
    advice = Advisor(Source()).advice(site)
    assert advice and advice.slug == "released" and advice.change is None


def test_the_loop_itself_is_not_to_be_changed() -> None:
    assert Advisor(Source()).advice(site_of("python")) is None
    assert Advisor(Source()).advice(site_of("gil")) == Advice("gil", RULES["gil"].text)
