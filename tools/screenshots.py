"""Makes the README's pictures, docs/images/: the demo's page in a browser, light and dark.

`make demo` first, then `.venv/bin/python tools/screenshots.py [RUN]`. Needs playwright and the system's Chromium.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from loopwatch.analysis.run import load
from loopwatch.recording import find_recordings
from loopwatch.report import Options, reporter

IMAGES = Path(__file__).resolve().parent.parent / "docs/images"
WIDTH, HEIGHT = 1180, 860


def main() -> int:
    """Render the newest recording, or the one that is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="*", type=Path)
    run = load(find_recordings(parser.parse_args().run))
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("screenshots: there is no Chromium here (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        path = Path(folder, "report.html")
        with path.open("w", encoding="utf-8") as out:
            reporter("html").write(run, out, Options(here=Path.cwd()))
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            _picture(browser, path.as_uri(), scheme)
        browser.close()
    return 0


def _picture(browser: Browser, address: str, scheme: str) -> None:
    context = browser.new_context(
        viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="dark" if scheme == "dark" else "light"
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_selector("#graph g.frame")
    page.wait_for_timeout(500)  # until it stands still
    page.screenshot(path=IMAGES / f"report-{scheme}.png")
    context.close()
    print(IMAGES / f"report-{scheme}.png")


if __name__ == "__main__":
    sys.exit(main())
