"""`python -m benchmarks [--quick] [NAME…]`: run, print the tables, keep the figures.

Figures of a shared or virtual machine compare only within one run; nothing here passes or fails.
"""

from __future__ import annotations

import argparse
import sys
import time

from rich.console import Console

from benchmarks import accuracy, forks, idle, memory, overhead, requests, sample, scale, soak

BENCHMARKS = {
    "accuracy": accuracy.run,
    "sample": sample.run,
    "idle": idle.run,
    "overhead": overhead.run,
    "requests": requests.run,
    "scale": scale.run,
    "memory": memory.run,
    "forks": forks.run,
    "soak": soak.run,
}
LONG = {"memory", "forks", "soak"}  # ten minutes to an hour: only where they are named


def main() -> int:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    all_of_them = f"of {', '.join(BENCHMARKS)}; without one all but the long {', '.join(sorted(LONG))}"
    parser.add_argument("names", nargs="*", metavar="NAME", help=all_of_them)
    parser.add_argument("--quick", action="store_true", help="a first impression in a minute")
    arguments = parser.parse_args()
    names = arguments.names or [name for name in BENCHMARKS if name not in LONG]
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"no benchmark {name!r}: there are {', '.join(BENCHMARKS)}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    for name in names:
        print(f"· {name}", file=sys.stderr, flush=True)
        begin = time.monotonic()
        for outcome in BENCHMARKS[name](arguments.quick):
            outcome.show(console)
            print(f"· {outcome.save()} after {time.monotonic() - begin:.0f} s", file=sys.stderr, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
