"""The command line. One command a file, loaded when it is asked for; what goes wrong ends as one line."""

from __future__ import annotations

from loopwatch.cli.group import Commands

COMMANDS = {
    # name: (module with a function `command`, what it does)
    "run": ("loopwatch.cli.run", "Run a program with every event loop in it watched."),
    "attach": ("loopwatch.cli.attach", "Watch a program that runs already (Python 3.14 or newer)."),
    "report": ("loopwatch.cli.report", "Show which lines stalled the loop."),
    "live": ("loopwatch.cli.live", "Follow a recording in the terminal while it is written."),
    "ui": ("loopwatch.cli.ui", "Serve the report as a page that follows the recording."),
    "diff": ("loopwatch.cli.diff", "Show what changed between two recordings."),
    "doctor": ("loopwatch.cli.doctor", "Show what this machine and interpreter allow."),
}

main = Commands(
    COMMANDS,
    name="loopwatch",
    help="""Finds the blocking calls that stall an asyncio event loop.

    \b
      loopwatch run uvicorn app:app    then send it some requests and stop it
      loopwatch report                 which lines blocked the loop, and for how long
      loopwatch report -o stalls.html  the same as a page
    """,
)
