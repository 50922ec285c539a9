"""`loopwatch report -f html`: one file that needs nothing else, and the same page for `loopwatch ui`.

The page may run the scripts that are in it and nothing else, by their hashes, and may load nothing. Its data is JSON
in an element that is never run; the scripts show it as text only.
"""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import TextIO

from loopwatch import __version__
from loopwatch.analysis.run import Run
from loopwatch.report.page import page_data
from loopwatch.report.protocol import Options

_SCRIPTS = ("flamegraph.min.js", "words.js", "timeline.js", "sites.js", "flame.js", "page.js")


class HtmlReporter:
    """Writes the page with its data."""

    def write(self, run: Run, out: TextIO, options: Options) -> None:
        """Write the report. In ASCII, so that no encoding can harm it, but for the page's own texts."""
        out.write(html_page(page_data(run, options)))


def html_page(data: str = "null", *, events: str = "") -> str:
    """The page with its data, or for a server whose `events` bring it: a path without anything that needs quoting."""
    style = _asset("style.css")
    scripts = [_asset(name) for name in _SCRIPTS]
    parts = {
        "{policy}": policy(events=bool(events)),
        "{version}": __version__,
        "{style}": style,
        "{events}": events,
        "{scripts}": "\n".join(f"<script>{script}</script>" for script in scripts),
        "{data}": data,
    }
    page = _asset("page.html")
    # One after the other, the data last: nothing in it is taken for one of these names.
    for name, text in parts.items():
        page = page.replace(name, text)
    return page


def policy(*, events: bool = False) -> str:
    """The content security policy of the page."""
    scripts = " ".join(_hash(_asset(name)) for name in _SCRIPTS)
    connect = "; connect-src 'self'" if events else ""
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_hash(_asset('style.css'))}; img-src data:"
        f"{connect}; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _asset(name: str) -> str:
    return resources.files("loopwatch.report").joinpath("assets", name).read_text(encoding="utf-8")


REPORTER = HtmlReporter()
