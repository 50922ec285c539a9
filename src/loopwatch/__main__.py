"""`python -m loopwatch` is the same as `loopwatch`."""

from __future__ import annotations

from loopwatch.cli import main

if __name__ == "__main__":
    main(prog_name="loopwatch")
