"""`loopwatch ui`: the page follows a recording, and only who may sees it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import loopwatch
from tests.browser.conftest import Tab, playwright
from tests.unit.recordings import RUNNER, RecordingBuilder

pytestmark = pytest.mark.once

SOURCE = Path(loopwatch.__file__).parents[1]
FOLDER = ".loopwatch/20261122T140000Z-4711"


@contextmanager
def serving(folder: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The address that `loopwatch ui` prints."""
    command = [sys.executable, "-m", "loopwatch", "ui", "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line
        try:
            yield found[0], process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(20)


def recording(folder: Path) -> RecordingBuilder:
    builder = RecordingBuilder(cwd=str(folder))
    builder.loop()
    add(builder, 1)
    builder.write(folder / FOLDER)
    return builder


def add(builder: RecordingBuilder, number: int) -> None:
    stack = builder.stack(*RUNNER, ("/srv/app/main.py", f"view_{number}", number))
    builder.stall(1000 * number, 50 + number, (stack, 40))
    builder.summary(1000 * number + 500, stalls=number)


def test_it_follows_the_recording(tab: Tab, tmp_path: Path) -> None:
    builder = recording(tmp_path)
    with serving(tmp_path) as (address, process):
        tab.open(address)
        page = tab.page
        playwright.expect(page.locator("#rows tr")).to_have_count(1, timeout=15_000)
        assert tab.text("#live") == "live"
        page.fill("#filter-text", "view")
        page.click("#head [data-key=name]")
        page.click("#rows tr")
        add(builder, 2)
        builder.write(tmp_path / FOLDER)
        playwright.expect(page.locator("#rows tr")).to_have_count(2, timeout=15_000)
        # What somebody has set stays as it is.
        assert page.input_value("#filter-text") == "view"
        assert page.locator("#head th[aria-sort=descending], #head th[aria-sort=ascending]").inner_text()[:4] == "Line"
        assert tab.text("#detail h3").endswith("view_1")
        assert tab.text("#summary .main dd").split("\n")[0] == "103 ms"
        assert tab.console == []
        assert all(request.startswith(address) for request in tab.requests)
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        playwright.expect(page.locator("#live")).not_to_have_text("live", timeout=15_000)


def test_only_the_stalls_that_were_asked_for(tab: Tab, tmp_path: Path) -> None:
    builder = recording(tmp_path)
    add(builder, 2)
    add(builder, 3)
    builder.write(tmp_path / FOLDER)
    since, until = "2026-11-22T14:00:01.5Z", "2026-11-22T14:00:02.5Z"
    with serving(tmp_path, "--since", since, "--until", until) as (address, _):
        tab.open(address)
        playwright.expect(tab.page.locator("#rows tr")).to_have_count(1, timeout=15_000)
        assert "view_2" in tab.text("#rows")
        assert "2026-11-22" in tab.text("#selection")
        add(builder, 4)
        builder.stall(2300, 40, (builder.stack(*RUNNER, ("/srv/app/main.py", "late", 9)), 30))
        builder.write(tmp_path / FOLDER)
        playwright.expect(tab.page.locator("#rows tr")).to_have_count(2, timeout=15_000)
        assert "late" in tab.text("#rows tr:nth-child(2)")


def test_what_is_wrong_is_told_until_it_is_right(tab: Tab, tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir(parents=True)
    (tmp_path / FOLDER / "notes.jsonl").touch()
    with serving(tmp_path) as (address, _):
        tab.page.goto(address)
        playwright.expect(tab.page.locator("#live")).to_contain_text("notes.jsonl is empty", timeout=15_000)
        recording(tmp_path)
        playwright.expect(tab.page.locator("#rows tr")).to_have_count(1, timeout=15_000)
        assert tab.text("#live") == "live"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only 127.0.0.1 is there")
def test_any_address_of_this_machine_s_own(tab: Tab, tmp_path: Path) -> None:
    recording(tmp_path)
    with serving(tmp_path, "--host", "127.0.0.2") as (address, _):
        assert "token" not in address
        tab.open(address)
        playwright.expect(tab.page.locator("#rows tr")).to_have_count(1, timeout=15_000)


def test_only_this_machine_and_for_reading_only(tmp_path: Path) -> None:
    recording(tmp_path)
    with serving(tmp_path) as (address, _):
        assert address.startswith("http://127.0.0.1:")
        page = httpx.get(address)
        assert page.status_code == 200
        assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert httpx.request(method, address).status_code == 405
        for path in ("docs", "openapi.json", "../main.py", "report.json"):
            assert httpx.get(address + path).status_code == 404
        for host in ("evil.example", "127.0.0.1.evil.example:80", "evil.example:127.0.0.1", "[evil.example]:80", ""):
            assert httpx.get(address, headers={"host": host}).status_code in (400, 403)
            assert httpx.get(f"{address}events", headers={"host": host}).status_code in (400, 403)
        for host in ("127.0.0.1", "localhost", "localhost:7717", "[::1]", "[::1]:80", "127.0.0.2:80"):
            assert httpx.get(address, headers={"host": host}).status_code == 200


def test_other_addresses_need_the_token(tab: Tab, tmp_path: Path) -> None:
    recording(tmp_path)
    with serving(tmp_path, "--host", "0.0.0.0") as (printed, _):
        address = printed.replace("0.0.0.0", "127.0.0.1")
        bare, token = address.split("?token=")
        assert len(token) >= 24
        for path in ("", "events", "?token=", f"?token={token[:-1]}", f"events?token={token}x", "?token=é"):
            assert httpx.get(bare + path).status_code == 403
        tab.open(address)
        playwright.expect(tab.page.locator("#rows tr")).to_have_count(1)
        assert tab.console == []


@pytest.mark.parametrize("options", [("--host", "203.0.113.7"), ("--host", "no such host")])
def test_an_address_that_is_not_ours(tmp_path: Path, options: tuple[str, ...]) -> None:
    recording(tmp_path)
    command = [sys.executable, "-m", "loopwatch", "ui", *options]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "cannot be listened on" in done.stderr
