"""The demo app under `loopwatch run`: the report names each of the lines that it blocks on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCKING = {
    ("examples/shop/warehouse.py", "Warehouse.stock"),
    ("examples/shop/catalog.py", "Catalog.sales_by_country"),
    ("examples/shop/model.py", "load"),
    ("examples/shop/model.py", "build_features"),
    ("examples/shop/search.py", "is_clean"),
    ("examples/shop/orders.py", "pay"),
    ("examples/shop/orders.py", "export"),
}


@pytest.mark.skipif(sys.platform == "win32", reason="ends the server by SIGINT")
def test_demo(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "examples.demo", "--seconds", "2", "--dir", str(tmp_path)]
    demo = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert "time.sleep" in demo.stdout

    command = [sys.executable, "-m", "loopwatch", "report", "-f", "json", str(tmp_path)]
    report: dict[str, Any] = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout)
    assert {(site["file"], site["function"]) for site in report["sites"]} >= BLOCKING
