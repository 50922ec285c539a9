"""Builds src/loopwatch/report/assets/flamegraph.min.js: d3-flame-graph with the parts of d3 that it needs, from npm.

Needs npm and the network; the result is committed, so nobody else does. `python tools/flamegraph.py`
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

ASSETS = Path(__file__).resolve().parent.parent / "src/loopwatch/report/assets"
PACKAGES = ["d3-flame-graph@5.0.0", "esbuild@0.28.2"]
# The style sheet is our own (style.css): the page's policy allows no other.
ENTRY = """
import flamegraph from "d3-flame-graph";
import { select } from "d3-selection";
globalThis.d3 = { flamegraph, select };
"""


def main() -> int:
    """Build the bundle and the file of its licences."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "package.json").write_text("{}")
        (folder / "entry.js").write_text(ENTRY)
        run = ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error", *PACKAGES]
        subprocess.run(run, cwd=folder, check=True)
        build = ["node_modules/.bin/esbuild", "entry.js", "--bundle", "--minify", "--keep-names", "--format=iife"]
        build += ["--loader:.css=empty", "--charset=ascii", "--target=es2020", "--outfile=bundle.js"]
        subprocess.run(build, cwd=folder, check=True)
        bundle = (folder / "bundle.js").read_text()
        inputs = _packages(folder)
        names = ", ".join(f"{package} {version} ({licence})" for package, version, licence, _ in inputs)
        banner = f"/*! {names}. Licences: flamegraph.LICENSE in loopwatch's report/assets */\n"
        (ASSETS / "flamegraph.min.js").write_text(banner + bundle)
        texts = [f"{package} {version}, {licence}\n\n{text.strip()}\n" for package, version, licence, text in inputs]
        (ASSETS / "flamegraph.LICENSE").write_text(("\n" + "=" * 80 + "\n\n").join(texts))
    return 0


def _packages(folder: Path) -> list[tuple[str, str, str, str]]:
    """Name, version, licence and its text of all that may be in the bundle."""
    found = []
    for path in sorted((folder / "node_modules").iterdir()):
        if path.name.startswith(("d3-", "internmap")):
            about = json.loads((path / "package.json").read_text())
            found.append((about["name"], about["version"], about["license"], (path / "LICENSE").read_text()))
    return found


if __name__ == "__main__":
    sys.exit(main())
