"""A browser: the system's own Chromium, driven by playwright."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def chromium() -> str | None:
    """The program, by `LOOPWATCH_CHROMIUM` or where the system has it."""
    named = os.environ.get("LOOPWATCH_CHROMIUM")
    return named or next((path for name in _NAMES if (path := shutil.which(name))), None)


@dataclass(slots=True)
class Tab:
    """A page, with what it has said on its console and what it has asked the network for."""

    page: Page
    console: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def open(self, address: str) -> None:
        """Go to an address, and wait until the page has drawn itself."""
        self.page.on("console", lambda message: self.console.append(message.text))
        self.page.on("pageerror", lambda error: self.console.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(address)
        self.page.wait_for_selector("#summary dd")

    def text(self, selector: str) -> str:
        """What an element shows."""
        return str(self.page.locator(selector).inner_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for all tests of a file. Not longer: while its driver is there, an event loop runs on this thread."""
    program = chromium()
    if program is None:
        pytest.skip("there is no Chromium on this machine (Debian: apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        # A container's root cannot have the sandbox; what is opened is our own.
        started = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield started
        started.close()


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    """A page of its own, of the size of a small laptop."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    yield Tab(context.new_page())
    context.close()


@pytest.fixture
def narrow(browser: Browser) -> Iterator[Tab]:
    """A page on a small telephone, in the dark."""
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="dark")
    yield Tab(context.new_page())
    context.close()


def address(path: Path) -> str:
    """A file as a browser opens it."""
    return path.resolve().as_uri()
