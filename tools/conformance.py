"""The tests of Starlette and FastAPI themselves, with every app in our middleware: `nox -s conformance`.

`python tools/conformance.py [starlette fastapi]` fetches the sdist of the version that is installed from the package
index, runs its tests as they are, then with the middleware (`conformance_plugin.py`), and compares test by test. What
fails without it (as root, say) may fail with it. The status is 1 if any test ends otherwise. Nothing of it is kept in
this project.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
FOLDER = HERE.parent / "build" / "conformance"
PROJECTS = ("starlette", "fastapi")
WAYS = {"as they are": None, "in the middleware": "off", "with headers": "on"}
Outcomes = dict[str, str]


def fetched(project: str) -> Path:
    """The unpacked sdist of the version that is installed."""
    name = f"{project}-{version(project)}"
    if not (FOLDER / name).is_dir():
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", project, "-d", str(FOLDER)]
        subprocess.run([*pip, f"{project}=={version(project)}"], check=True)
        with tarfile.open(FOLDER / f"{name}.tar.gz") as archive:
            archive.extractall(FOLDER, filter="data")
    return FOLDER / name


def run(source: Path, way: str | None) -> Outcomes:
    """Each test with how it has ended."""
    results = FOLDER / f"{source.name}-{way}.xml"
    results.unlink(missing_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no", f"--junitxml={results}"]
    if way is not None:
        command += ["-p", "conformance_plugin"]
        environment["LOOPWATCH_CONFORMANCE"] = way
    done = subprocess.run([*command, "tests"], cwd=source, env=environment, stdout=subprocess.PIPE, text=True)
    if not results.exists() or done.returncode not in (0, 1):
        raise SystemExit(f"conformance: the tests of {source.name} did not run\n{done.stdout[-4000:]}")
    if way is not None and "loopwatch: 0 calls" in done.stdout:
        raise SystemExit(f"conformance: no app of {source.name} was called through the middleware")
    return {
        f"{case.get('classname')}::{case.get('name')}": _outcome(case)
        for case in ElementTree.parse(results).iter("testcase")
    }


def _outcome(case: ElementTree.Element) -> str:
    kinds = {child.tag for child in case} & {"failure", "error", "skipped"}
    return kinds.pop() if kinds else "passed"


def compare(project: str) -> bool:
    """Run and print; whether all tests end in the same way."""
    source = fetched(project)
    bare = run(source, None)
    same = True
    print(f"{source.name}: {_counted(bare)}", flush=True)
    for name, way in WAYS.items():
        if way is None:
            continue
        found = run(source, way)
        different = sorted(test for test in bare.keys() | found.keys() if bare.get(test) != found.get(test))
        print(f"  {name}: {_counted(found)}, {len(different)} different", flush=True)
        for test in different:
            print(f"    {test}: {bare.get(test)}, then {found.get(test)}")
        same = same and not different
    return same


def _counted(outcomes: Outcomes) -> str:
    return ", ".join(f"{number} {outcome}" for outcome, number in sorted(Counter(outcomes.values()).items()))


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    same = [compare(project) for project in sys.argv[1:] or PROJECTS]
    sys.exit(not all(same))
