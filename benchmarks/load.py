"""Load for servers on the loopback address: a bare client that keeps one of them saturated for a moment, then another.

Moments are short and change often, since a machine that others share is faster now and slower then: only what is
measured within the same tenth of a second compares. A moment is so many requests, the same for both: a slow server has
so few in a time that one more or less would show.
"""

from __future__ import annotations

import contextlib
import itertools
import select
import socket
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks import cores
from benchmarks.watched import Server

CONNECTIONS = 32
MOMENT = 0.05  # seconds, about
_LAST_BYTE = b"}"  # of an answer of benchmarks/app.py, and of no header


@dataclass(frozen=True, slots=True)
class Slice:
    """One moment of load on one server."""

    requests: int
    seconds: float
    loop_us: float  # CPU time of the loop's thread, per request
    others_us: float  # of the other threads: the watchdog

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def cpu_us(self) -> float:
        return self.loop_us + self.others_us


class Client:
    """Connections to one server, which it keeps busy one request each."""

    def __init__(self, server: Server, stack: contextlib.ExitStack) -> None:
        address = urlsplit(server.url)
        self._server = server
        self._request = f"GET / HTTP/1.1\r\nHost: {address.netloc}\r\n\r\n".encode()
        self._poll = stack.enter_context(select.epoll())
        self._sockets = {}
        for _ in range(CONNECTIONS):
            connection = stack.enter_context(socket.create_connection((address.hostname, address.port), timeout=30))
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(connection, select.EPOLLIN)
            self._sockets[connection.fileno()] = connection

    def warm_up(self) -> int:
        """Keep it busy for a second. How many requests make a moment."""
        begin, count = time.perf_counter(), 0
        while (now := time.perf_counter() - begin) < 1:
            count += self.drive(4 * CONNECTIONS).requests
        return max(CONNECTIONS, round(count / now * MOMENT))

    def drive(self, count: int) -> Slice:
        """Ask so often, on all connections, again upon each answer: at least once on each."""
        loop_before, others_before = self._server.cpu_seconds()
        begin = time.perf_counter()
        for connection in self._sockets.values():
            connection.sendall(self._request)
        asked, answers = len(self._sockets), 0
        while answers < asked:
            # Never asleep: to wake a client costs the server more on a virtual machine than what is measured here.
            ready = self._poll.poll(0)
            if not ready and time.perf_counter() > begin + 30:
                raise SystemExit("benchmarks: the server has not answered for 30 s")
            for descriptor, _ in ready:
                connection = self._sockets[descriptor]
                data = connection.recv(65536)
                if not data:
                    raise SystemExit("benchmarks: the server has closed a connection")
                if not data.endswith(_LAST_BYTE):
                    continue
                answers += 1
                if asked < count:
                    connection.sendall(self._request)
                    asked += 1
        took = time.perf_counter() - begin
        loop, others = self._server.cpu_seconds()
        per_request = 1e6 / answers
        return Slice(answers, took, (loop - loop_before) * per_request, (others - others_before) * per_request)


def turns(servers: Sequence[Server]) -> Generator[tuple[Slice, ...]]:
    """Servers loaded in turns without end, every other turn the other way round. Those that rest take no CPU."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(cores.on(cores.CLIENT))
        clients = [Client(server, stack) for server in servers]
        moment = min(client.warm_up() for client in clients)
        for number in itertools.count():
            order = range(len(clients)) if number % 2 else range(len(clients))[::-1]
            slices = {each: clients[each].drive(moment) for each in order}
            yield tuple(slices[each] for each in range(len(clients)))


def in_turns(servers: Sequence[Server], rounds: int) -> list[tuple[Slice, ...]]:
    """So many turns."""
    with contextlib.closing(turns(servers)) as found:
        return list(itertools.islice(found, rounds))


def in_turns_until(servers: Sequence[Server], end: float) -> list[tuple[Slice, ...]]:
    """One turn, and more until a time of `time.monotonic`."""
    taken = []
    with contextlib.closing(turns(servers)) as found:
        for turn in found:
            taken.append(turn)
            if time.monotonic() >= end:
                break
    return taken
