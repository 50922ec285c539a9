"""The HTML report in a real browser: what it shows, how it is used, and that nothing leaves it."""

from __future__ import annotations

import itertools
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from loopwatch.analysis.run import Run, load
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter
from loopwatch.report.words import duration, share
from tests.browser.conftest import Tab, playwright
from tests.unit.project import make_project, make_service
from tests.unit.recordings import CWD, MS, RUNNER, SITE, RecordingBuilder

pytestmark = pytest.mark.once

ATTACK = "</script><img src=x onerror=alert(1)><!--"


def write(run: Run, path: Path, **options: Any) -> str:
    with path.open("w", encoding="utf-8") as out:
        reporter("html").write(run, out, Options(**options))
    return path.as_uri()


@pytest.fixture
def service(tmp_path: Path) -> str:
    make_service(tmp_path)
    return write(load(find_recordings([tmp_path])), tmp_path / "report.html")


@pytest.fixture
def project(tmp_path: Path) -> str:
    make_project(tmp_path)
    return write(load(find_recordings([tmp_path])), tmp_path / "report.html")


def rows(tab: Tab) -> list[str]:
    return [str(text) for text in tab.page.locator("#rows .place").all_inner_texts()]


def frames(tab: Tab) -> list[str]:
    return [str(each.get_attribute("aria-label")) for each in tab.page.locator("#graph g.frame").all()]


def test_it_opens_without_a_message_and_asks_for_nothing(tab: Tab, service: str) -> None:
    tab.open(service)
    assert tab.console == []
    assert tab.requests == [service]
    policy = tab.page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    # The policy holds: a script that is not in the page's list does not run.
    tab.page.evaluate("document.body.append(Object.assign(document.createElement('script'), {text: 'window.bad = 1'}))")
    assert tab.page.evaluate("window.bad") is None
    assert any("Content Security Policy" in line for line in tab.console)


def test_its_figures_are_those_of_the_report(tab: Tab, tmp_path: Path) -> None:
    make_service(tmp_path)
    run = load(find_recordings([tmp_path]))
    tab.open(write(run, tmp_path / "report.html"))
    tiles = dict(
        zip(
            tab.page.locator("#summary dt").all_inner_texts(),
            tab.page.locator("#summary dd").all_inner_texts(),
            strict=True,
        )
    )
    whole = sum(loop.seconds for each in run.processes for loop in each.loops)
    assert tiles["Blocked"].split("\n")[0] == duration(run.totals.stalled)
    assert share(run.totals.stalled, whole) in tiles["Blocked"]
    assert tiles["Stalls"].split("\n")[0] == str(run.totals.stalls)
    assert tiles["Worst"] == duration(run.totals.worst)
    assert tiles["Requests delayed"].split("\n") == [str(run.totals.requests_delayed), "of 900"]
    assert tiles["Start-up"].split("\n")[0] == duration(run.totals.startup_seconds)
    blocked = [text.split("\n")[0] for text in tab.page.locator("#rows td:nth-child(2)").all_inner_texts()]
    assert blocked == [duration(site.total) for site in run.sites]
    assert f"all · {duration(run.totals.stalled)}" in tab.page.locator("#graph").inner_text()


def test_numbers_are_rounded_as_python_rounds(tab: Tab, service: str) -> None:
    tab.open(service)
    values = [n / 8 for n in range(200)] + [n / 1000 for n in range(0, 12000, 7)] + [10 ** (n / 7) for n in range(60)]
    found = tab.page.evaluate("values => values.map((value) => lw.duration(value))", values)
    assert found == [duration(value / 1e3) for value in values]
    found = tab.page.evaluate("values => values.map((value) => lw.share(value, 400))", values)
    assert found == [share(value, 400) for value in values]


def test_filters_and_sorting(tab: Tab, service: str) -> None:
    tab.open(service)
    page = tab.page
    every = rows(tab)
    assert any("predict" in row for row in every)
    page.fill("#filter-text", "AUDIT")
    assert rows(tab) == ["main.py:16 audit"]
    assert "1 of" in tab.text("#sites-status")
    # The graph takes part, and says so to the line.
    assert all("predict" not in label for label in frames(tab))
    page.fill("#filter-text", "no such line")
    assert rows(tab) == []
    assert tab.text("#flame-status") == "No stall is taken by the filters."
    page.click("#filters button[type=reset]")
    playwright.expect(page.locator("#rows tr")).to_have_count(len(every))
    page.select_option("#filter-endpoint", "GET /predict/{id}")
    assert rows(tab) == ["main.py:12 predict"]
    page.select_option("#filter-endpoint", "")
    page.select_option("#filter-phase", "startup")
    assert rows(tab) == ["main.py:6 lifespan"]
    page.select_option("#filter-phase", "")
    assert page.locator("#filter-cause").is_hidden()  # this recording has none
    counts = [int(text) for text in page.locator("#rows td:nth-child(3)").all_inner_texts()]
    page.click("#head [data-key=count]")
    assert [int(text) for text in page.locator("#rows td:nth-child(3)").all_inner_texts()] == sorted(counts)[::-1]
    page.click("#head [data-key=count]")
    assert [int(text) for text in page.locator("#rows td:nth-child(3)").all_inner_texts()] == sorted(counts)
    assert page.locator("#head th[aria-sort=ascending]").count() == 1
    assert tab.console == []


def test_causes_and_advice_are_shown(tab: Tab, tmp_path: Path) -> None:
    builder = RecordingBuilder(cwd=str(tmp_path))
    (tmp_path / "main.py").write_text("import time\n\n\nasync def pay():\n    time.sleep(0.05)\n")
    os.utime(tmp_path / "main.py", (1, 1))  # not since: its lines are as they were
    builder.loop()
    sleep = builder.stack(*RUNNER, (str(tmp_path / "main.py"), "pay", 5, 5, 4, 20))
    python = builder.stack(*RUNNER, (str(tmp_path / "main.py"), "pay", 1, 1, 0, 6))
    builder.stall(100, 50, (sleep, 40), causes={"blocked": 50 * MS}, cpu=0, cpu_wall=50 * MS)
    builder.stall(200, 30, (python, 20), causes={"python": 30 * MS}, cpu=30 * MS, cpu_wall=30 * MS)
    builder.summary(1000, stalls=2, stalled_ns=80 * MS)
    builder.write(tmp_path / ".loopwatch/20261122T140000Z-4711")
    tab.open(write(load(find_recordings([tmp_path])), tmp_path / "report.html"))
    tab.page.select_option("#filter-cause", "blocked")
    assert rows(tab) == ["main.py:5 pay"]
    detail = tab.text("#detail")
    assert "blocked 50 ms" in detail
    assert "await asyncio.sleep(0.05)" in detail
    assert tab.text("#detail .row.at mark") == "time.sleep(0.05)"
    assert "blocked" in tab.text("#legend")


def test_a_line_is_chosen_and_its_source_shown(tab: Tab, project: str) -> None:
    tab.open(project)
    assert tab.text("#detail h3") == "main.py:6 predict"
    assert tab.text("#detail mark") == 'heavy_model.predict(features, tag="日本")'
    tab.page.click("#rows tr:nth-child(2)")
    assert "crunch" in tab.text("#detail h3")
    assert tab.page.locator("#rows [aria-pressed=true]").count() == 1
    tab.page.click("#detail details summary")
    assert "crunch" in tab.text("#detail > details > .stack")


def test_a_graph_that_was_out_of_sight_is_drawn_again(tab: Tab, service: str) -> None:
    tab.open(service)
    tab.page.evaluate("document.getElementById('flame').style.display = 'none'")
    playwright.expect(tab.page.locator("#graph g.frame")).to_have_count(0)
    tab.page.evaluate("document.getElementById('flame').style.display = ''")
    tab.page.wait_for_selector("#graph g.frame")
    assert tab.text("#flame-status") == ""  # it has nothing to do with the filters


def folds(tab: Tab) -> list[str]:
    return [str(text) for text in tab.page.locator("#detail .fold summary").all_inner_texts()]


def test_frames_of_libraries_in_the_stack_are_folded(tab: Tab, tmp_path: Path) -> None:
    layers = [(f"{SITE}/layers/part{i}.py", f"Layer{i}.call", i + 1) for i in range(6)]
    builder = RecordingBuilder()
    builder.loop()
    own = (f"{CWD}/main.py", "handler", 7)
    stack = builder.stack(*RUNNER, *layers[:2], own, *layers[2:], (f"{SITE}/driver/wait.py", "Driver.wait", 9))
    builder.stall(100, 50, (stack, 40))
    builder.write(tmp_path)
    run = load(find_recordings([tmp_path]))
    tab.open(write(run, tmp_path / "report.html"))
    page = tab.page
    page.click("#detail > details > summary")
    listed = "#detail > details > .stack > li:not(.fold)"
    names = [text.split(" ")[0] for text in page.locator(listed).all_inner_texts()]
    assert names == ["handler", "Layer2.call", "Driver.wait"]
    assert folds(tab) == [f"{len(RUNNER) + 2} frames", "3 library frames"]
    # By keyboard: from the fold before it on.
    page.locator("#detail .fold summary").first.focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "3 library frames"
    inner = page.locator("#detail .fold").last
    playwright.expect(inner.locator(".library").first).to_be_hidden()
    page.keyboard.press("Enter")
    playwright.expect(inner.locator(".library").first).to_be_visible()
    opened = [text.split(" ")[0] for text in inner.locator("li").all_inner_texts()]
    assert opened == ["Layer3.call", "Layer4.call", "Layer5.call"]
    page.keyboard.press("Enter")
    playwright.expect(inner.locator(".library").first).to_be_hidden()
    assert tab.console == []
    tab.open(write(run, tmp_path / "all.html", all_frames=True))
    page.click("#detail > details > summary")
    assert folds(tab) == []
    assert page.locator(listed).count() == len(RUNNER) + 8


def test_the_timeline_by_mouse_and_keyboard(tab: Tab, service: str) -> None:
    tab.open(service)
    page = tab.page
    page.focus("#canvas")
    page.keyboard.press("Home")
    first = tab.text("#timeline-status")
    assert "lifespan" in first
    assert "startup" in first
    page.keyboard.press("ArrowRight")
    assert "predict" in tab.text("#timeline-status")
    page.keyboard.press("Enter")
    assert tab.text("#detail h3") == "main.py:12 predict"
    before = page.locator("#canvas").screenshot()
    page.keyboard.press("+")
    assert page.locator("#canvas").screenshot() != before
    page.keyboard.press("0")
    assert page.locator("#canvas").screenshot() == before
    box = page.locator("#canvas").bounding_box()
    assert box
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 50, steps=4)
    page.mouse.up()
    assert page.locator("#canvas").screenshot() != before
    page.click("#zoom-all")
    # The first stall lasts from the run's beginning on: its bar is at the left.
    page.mouse.click(box["x"] + box["width"] * 0.04, box["y"] + box["height"] - 30)
    assert tab.text("#detail h3") == "main.py:6 lifespan"
    assert tab.console == []


def test_the_flame_graph_by_mouse_and_keyboard(tab: Tab, project: str) -> None:
    tab.open(project)
    page = tab.page
    folded = frames(tab)
    assert any(label.startswith("predict main.py:6 · 1.98 s (89 %)") for label in folded)
    assert not any("Handle._run" in label for label in folded)
    page.check("#flame-all")
    assert any("Handle._run" in label for label in frames(tab))
    page.uncheck("#flame-all")
    page.fill("#flame-search", "tree.predict")
    assert tab.text("#flame-status") == "1 frame found, 1.98 s (89 %)"
    page.fill("#flame-search", "")
    wide = page.locator("#graph g.frame", has_text="crunch").first
    before = wide.locator("rect").bounding_box()
    wide.click()
    page.wait_for_timeout(700)
    after = wide.locator("rect").bounding_box()
    assert before
    assert after
    assert after["width"] > 3 * before["width"]
    page.click("#flame-reset")
    page.wait_for_timeout(700)
    page.focus("#graph g[tabindex='0']")
    page.keyboard.press("ArrowDown")
    assert tab.text("#flame-status").startswith("predict main.py:6")
    page.keyboard.press("ArrowRight")
    assert tab.text("#flame-status").startswith("crunch")
    page.keyboard.press("Enter")
    page.keyboard.press("Escape")
    assert page.locator("#graph [role=treeitem]").count() == page.locator("#graph g.frame").count()
    assert page.locator("#graph g[tabindex='0']").count() == 1
    assert tab.console == []


def test_everything_has_a_name_for_who_cannot_see_it(tab: Tab, service: str) -> None:
    tab.open(service)
    nameless = tab.page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, canvas, [role=region], svg")]
        .filter((each) => !(each.getAttribute("aria-label") || each.getAttribute("aria-labelledby")
          || each.textContent.trim()
          || (each.labels && each.labels.length)))
        .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    assert tab.page.evaluate("document.documentElement.lang") == "en"
    levels = [
        int(tag[1]) for tag in tab.page.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => h.tagName)")
    ]
    assert levels[0] == 1
    assert all(later - earlier <= 1 for earlier, later in itertools.pairwise(levels))


def test_a_small_telephone(narrow: Tab, service: str) -> None:
    narrow.open(service)
    page = narrow.page
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    page.click("#rows tr:nth-child(2)")
    assert page.locator("#detail h3").is_visible()
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) < 150  # dark, as the system asks for
    page.click("#theme")
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, re.findall(r"\d+", background)[:3])) > 600
    assert narrow.console == []


@pytest.mark.parametrize("width", [1280, 800, 320])
def test_a_name_without_an_end_is_wrapped(tab: Tab, tmp_path: Path, width: int) -> None:
    """Nothing makes the page wider than its window, and the figures beside the name stay in sight."""
    builder = RecordingBuilder()
    builder.loop()
    stack = builder.stack(*RUNNER, (f"{CWD}/{'m' * 200}.py", "f" * 200, 7), (f"{SITE}/{'n' * 200}.py", "g" * 200, 9))
    builder.stall(100, 50, (stack, 40), requests=[[1, 40]])
    builder.request(1, f"GET /{'ü' * 400}/{{x}}")
    builder.write(tmp_path)
    path = tmp_path / "report.html"
    uri = write(load(find_recordings([tmp_path])), path)
    tab.page.set_viewport_size({"width": width, "height": 800})
    tab.open(uri)
    tab.page.click("#detail > details > summary")
    assert "ü" * 200 in tab.text("#detail td:first-child")
    assert tab.page.evaluate("document.documentElement.scrollWidth") == width
    edge = tab.page.locator("#detail").evaluate("each => each.getBoundingClientRect().right")
    figures = tab.page.locator("#detail .figure").all()
    assert len(figures) == 4
    assert all(each.evaluate("each => each.getBoundingClientRect().right") <= edge + 0.5 for each in figures)
    assert tab.console == []


def test_texts_stay_texts(tab: Tab, tmp_path: Path) -> None:
    """Whatever is in a file's name, a function's, an endpoint, a command or a source line."""
    folder = tmp_path / "<b>app"
    folder.mkdir()
    file = folder / 'x" onload="alert(2).py'
    line = f"    call('{ATTACK}', `${{alert(3)}}`, '\u202e')"
    file.write_text(f"def f():\n{line}\n", encoding="utf-8")
    builder = RecordingBuilder(cwd=str(folder), command=["serve", ATTACK, "{data}", "\u202e"], notes=[ATTACK])
    builder.loop(thread=ATTACK)
    for number, name in enumerate((ATTACK, "<svg onload=alert(4)>", "__proto__", "constructor")):
        stack = builder.stack(*RUNNER, (str(file), name, 2, 2, 4, len(line.encode())), (f"{SITE}/{ATTACK}.py", name, 7))
        builder.stall(100 * number, 50, (stack, 10), requests=[[number + 1, 10]])
        builder.request(number + 1, f"GET /{ATTACK}")
        builder.delayed(1)
    builder.summary(1000, stalls=4, stalled_ns=200 * MS, requests=9)
    builder.write(folder / ".loopwatch/20261122T140000Z-4711")
    run = load(find_recordings([folder]))
    dialogs: list[str] = []

    def note(dialog: Any) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    tab.page.on("dialog", note)
    path = tmp_path / "report.html"
    tab.open(write(run, path))
    assert path.read_text(encoding="utf-8").count("</script>") == 7  # the data and six scripts
    tab.page.check("#flame-all")
    tab.page.fill("#flame-search", "(")  # no pattern: a text as well
    tab.page.fill("#filter-text", "<")
    for each in tab.page.locator("#rows tr").all():
        each.click()
    for each in tab.page.locator("details").all():
        each.evaluate("each => { each.open = true; }")
    tab.page.hover("#graph g.frame >> nth=1")
    assert dialogs == []
    assert tab.console == []
    strange = "img, body svg:not(.d3-flame-graph), body b:empty"
    assert tab.page.locator(strange).count() == 0
    assert ATTACK in tab.text("#detail")
    assert ATTACK in tab.text("#title")
    assert "\u202e" not in tab.page.content()
    assert tab.requests == [path.as_uri()]


def test_without_source_it_has_none(tab: Tab, tmp_path: Path) -> None:
    make_project(tmp_path)
    path = tmp_path / "report.html"
    tab.open(write(load(find_recordings([tmp_path])), path, source=False))
    assert "heavy_model.predict" not in path.read_text(encoding="utf-8")
    assert tab.page.locator("#detail pre").count() == 0
    assert tab.text("#detail h3") == "main.py:6 predict"


def test_all_processes_are_counted(tab: Tab, tmp_path: Path) -> None:
    for pid in range(1, 161):
        builder = RecordingBuilder(pid)
        builder.loop()
        builder.stall(0, 20)
        builder.write(tmp_path)
    run = load(find_recordings([tmp_path]), alive=lambda process: process.pid == 1)
    tab.open(write(run, tmp_path / "report.html"))
    assert "160 processes" in tab.text("#meta")
    assert "so far" in tab.text("#meta")
    assert "160 loops' time" in tab.text("#summary")
    assert "128 of 160 processes are listed" in tab.text("#notes")
    assert tab.page.locator("#processes tbody tr").count() == 128


def test_nothing_to_show(tab: Tab, tmp_path: Path) -> None:
    builder = RecordingBuilder()
    builder.loop()
    builder.summary(5000)
    builder.end(5000)
    builder.write(tmp_path / "run")
    tab.open(write(load(find_recordings([tmp_path / "run"])), tmp_path / "report.html"))
    assert tab.text("#sites-status") == "No stall was recorded."
    assert tab.page.locator("#flame").is_hidden()
    assert tab.console == []


def test_many_stalls_open_quickly(tab: Tab, tmp_path: Path) -> None:
    builder = RecordingBuilder(cwd=CWD)
    builder.loop()
    for number in range(12_000):
        inner = (f"{SITE}/lib/part{number % 90}.py", f"part_{number % 90}", number % 90)
        stack = builder.stack(*RUNNER, (f"{CWD}/m{number % 500}.py", f"f{number % 500}", 3), inner)
        builder.stall(60 * number, 12 + number % 31, (stack, 10))
    builder.summary(720_000, stalls=12_000)
    builder.write(tmp_path / "run")
    path = tmp_path / "report.html"
    tab.open(write(load(find_recordings([tmp_path / "run"])), path))
    assert path.stat().st_size < 3_000_000
    took = tab.page.evaluate("performance.getEntriesByType('navigation')[0].domComplete")
    assert took < 6000  # 2 s are promised, on a machine that does nothing else
    assert "merged into one row" in tab.text("#notes")
    assert "as spans of" in tab.text("#notes")
    assert json.loads(tab.page.locator("#data").text_content() or "")["stalls_omitted"] == 8000
    assert tab.console == []
