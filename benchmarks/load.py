"""Load for a server on the loopback address: wrk where it is installed, else a bare asyncio client.

`python -m benchmarks.load PORT CONNECTIONS SECONDS` is that client; it prints the number of answers.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import cast

CONNECTIONS = 32


@dataclass(frozen=True, slots=True)
class Load:
    requests: int
    seconds: float


def generator() -> str:
    return "wrk" if shutil.which("wrk") else "asyncio client"


def drive(url: str, seconds: int) -> Load:
    """Keep the server saturated for so long, from another process."""
    wrk = shutil.which("wrk")
    if wrk:
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", url]
        output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 30).stdout
        found = re.search(r"(\d+) requests in ([\d.]+)s", output)
        if not found or "Non-2xx" in output or "Socket errors" in output:
            raise SystemExit(f"benchmarks: wrk reports\n{output}")
        return Load(int(found[1]), float(found[2]))
    port = url.rpartition(":")[2].strip("/")
    command = [sys.executable, "-m", "benchmarks.load", port, str(CONNECTIONS), str(seconds)]
    count, took = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=seconds + 30
    ).stdout.split()
    return Load(int(count), float(took))


class _Client(asyncio.Protocol):
    """Sends a request, waits for an answer of the length that the first one had, sends the next."""

    answers = 0

    def __init__(self, request: bytes, deadline: float) -> None:
        self._request = request
        self._deadline = deadline
        self._length = 0
        self._received = 0
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        # The date header has a fixed width, so all answers of one route are equally long.
        self._received += len(data)
        if not self._length and data.endswith(b"}"):
            self._length = self._received
        if self._received < self._length or not self._length:
            return
        self._received = 0
        _Client.answers += 1
        if time.monotonic() < self._deadline:
            self._transport.write(self._request)
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)


async def _drive(port: int, connections: int, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    request = f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    begin = time.monotonic()
    clients = []
    for _ in range(connections):
        _, client = await loop.create_connection(lambda: _Client(request, begin + seconds), "127.0.0.1", port)
        clients.append(client.closed)
    await asyncio.gather(*clients)
    print(_Client.answers, time.monotonic() - begin)


if __name__ == "__main__":
    try:
        import uvloop

        uvloop.run(_drive(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
    except ImportError:
        asyncio.run(_drive(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
