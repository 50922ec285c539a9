"""`make demo`: the shop under `loopwatch run`, traffic from a second process, then the report."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def show(command: list[str]) -> list[str]:
    """Print a command as one would type it; return it with its program's full path."""
    print(f"$ {' '.join(command)}", flush=True)
    program = shutil.which(command[0], path=sysconfig.get_path("scripts")) or command[0]
    return [program, *command[1:]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10, help="how long the traffic lasts")
    parser.add_argument("--dir", help="where the recording goes, by default .loopwatch as for `loopwatch run`")
    arguments = parser.parse_args()
    port = str(free_port())
    folder = ["--dir", arguments.dir] if arguments.dir else []
    # `loopwatch run` looks `uvicorn` up as a shell would, in the environment that runs this file.
    environment = {**os.environ, "PATH": sysconfig.get_path("scripts") + os.pathsep + os.environ.get("PATH", "")}
    server = ["loopwatch", "run", *folder, "uvicorn", "examples.app:app", "--port", port, "--log-level", "warning"]
    with subprocess.Popen(show(server), env=environment) as process:
        try:
            traffic = [sys.executable, "-m", "examples.traffic", "--port", port, "--seconds", str(arguments.seconds)]
            status = subprocess.run(traffic).returncode
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
    if status:
        return status
    print(flush=True)
    return subprocess.run(show(["loopwatch", "report", *folder[1:]]), env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
