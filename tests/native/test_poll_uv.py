"""libuv's handles on a real uvloop: exact iterations, and no trace left behind."""

from __future__ import annotations

import asyncio
import ctypes
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.native.native import CSRC, HERE, Toolchain

uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed: there is no libuv to watch")

LW_OK, LW_UNSUPPORTED = 0, 6
MS = 1_000_000


class Entry(ctypes.Structure):
    _fields_ = [("at", ctypes.c_uint64), ("reported_at", ctypes.c_uint64), ("returned", ctypes.c_uint64)]


@dataclass
class Handles:
    """poll_uv.c, loaded beside uvloop, and what it reported."""

    library: ctypes.PyDLL

    def open(self, loop: Any, path: str | None = None) -> tuple[int, ctypes.c_void_p]:
        poll = ctypes.c_void_p()
        path = path or uvloop.loop.__file__
        status = self.library.lw_poll_uv_open(ctypes.byref(poll), path.encode(), uv_loop(loop), None)
        return status, poll

    def close(self, poll: ctypes.c_void_p) -> None:
        self.library.lw_poll_uv_close(poll)

    def descriptor(self, loop: Any) -> int:
        return int(self.library.lw_poll_uv_descriptor(uvloop.loop.__file__.encode(), uv_loop(loop)))

    def entries(self) -> list[Entry]:
        count = ctypes.c_uint64.in_dll(self.library, "log_count").value
        return list((Entry * 100000).in_dll(self.library, "log_entries")[:count])

    def iterations(self) -> list[float]:
        """The lengths in ms of what lies between the return of a poll and the next entry."""
        return [(after.at - before.at) / MS for before, after in pairwise(self.entries()) if not after.returned]

    def waits(self) -> list[float]:
        """The lengths in ms of the polls."""
        return [(after.at - before.at) / MS for before, after in pairwise(self.entries()) if after.returned]


def uv_loop(loop: Any) -> ctypes.c_void_p:
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype = ctypes.c_void_p
    pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    return ctypes.c_void_p(pointer(uvloop.loop.libuv_get_loop_t_ptr(loop), None))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    toolchain = Toolchain("plain", tmp_path_factory.mktemp("poll_uv"))
    sources = [CSRC / "poll_uv.c", CSRC / "os/import_symbol_posix.c", CSRC / "os/clock_linux.c", HERE / "poll_uv_log.c"]
    return toolchain.shared_object("poll_uv", sources)


@pytest.fixture
def handles(path: Path) -> Handles:
    library = ctypes.PyDLL(str(path))
    ctypes.c_uint64.in_dll(library, "log_count").value = 0
    return Handles(library)


def watch(handles: Handles, main: Callable[[], Any]) -> None:
    """Run main() on a new uvloop with the handles open, then stop and close the loop."""
    loop = uvloop.new_event_loop()

    async def watched() -> None:
        status, poll = handles.open(loop)
        assert status == LW_OK
        try:
            await main()
        finally:
            handles.close(poll)

    loop.run_until_complete(watched())
    loop.close()
    assert loop.is_closed()


def assert_told_apart(handles: Handles) -> None:
    """A block of 50 ms is one iteration, a wait of 300 ms beside it is none. Longer they may be: the machine may
    be busy."""
    assert max(handles.iterations()) >= 50
    assert max(handles.waits()) >= 250


def test_a_block_in_a_task(handles: Handles) -> None:
    async def main() -> None:
        await asyncio.sleep(0.3)
        time.sleep(0.05)
        await asyncio.sleep(0.3)

    watch(handles, main)
    assert_told_apart(handles)


def test_a_block_in_data_received(handles: Handles) -> None:
    """libuv calls it inside its poll phase."""

    class Blocking(asyncio.Protocol):
        def __init__(self) -> None:
            self.done = asyncio.get_running_loop().create_future()

        def data_received(self, data: bytes) -> None:
            time.sleep(0.05)
            self.done.set_result(None)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, protocol = await asyncio.get_running_loop().create_connection(Blocking, sock=ours)
        await asyncio.sleep(0.3)
        theirs.send(b"x")
        await protocol.done
        transport.close()
        theirs.close()
        await asyncio.sleep(0)

    watch(handles, main)
    assert_told_apart(handles)


def test_waiting_is_no_iteration(handles: Handles) -> None:
    async def main() -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)

    watch(handles, main)
    entries = handles.entries()
    assert sum(handles.waits()) >= 100
    assert all(entry.at <= entry.reported_at for entry in entries), "no time lies in the future"
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


def test_waiting_for_a_new_descriptor_is_no_iteration(handles: Handles) -> None:
    """libuv says then that it will not wait."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        loop.add_reader(ours.fileno(), bool)
        await asyncio.sleep(0.3)
        loop.remove_reader(ours.fileno())
        ours.close()
        theirs.close()

    watch(handles, main)
    assert max(handles.waits()) >= 250


def test_entered_and_returned_take_turns(handles: Handles) -> None:
    async def main() -> None:
        for _ in range(100):
            await asyncio.sleep(0)

    watch(handles, main)
    kinds = [entry.returned for entry in handles.entries()]
    assert kinds == [i % 2 for i in range(len(kinds))]
    assert len(kinds) > 100


def test_opened_inside_the_poll_phase(handles: Handles) -> None:
    """From a protocol's callback the check handle fires first, without a prepare."""
    loop = uvloop.new_event_loop()
    polls: list[ctypes.c_void_p] = []

    class Opening(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            status, poll = handles.open(loop)
            assert status == LW_OK
            polls.append(poll)

    async def main() -> None:
        ours, theirs = socket.socketpair()
        transport, _ = await loop.create_connection(Opening, sock=ours)
        theirs.send(b"x")
        await asyncio.sleep(0.03)
        handles.close(polls[0])
        transport.close()
        theirs.close()

    loop.run_until_complete(main())
    loop.close()
    entries = handles.entries()
    assert not entries[0].returned
    assert len(entries) >= 2


def test_a_loop_that_runs_again(handles: Handles) -> None:
    loop = uvloop.new_event_loop()
    for _ in range(5):
        status, poll = handles.open(loop)
        assert status == LW_OK
        loop.run_until_complete(asyncio.sleep(0.001))
        handles.close(poll)
    loop.close()


def test_the_descriptor_is_the_loop_s_epoll(handles: Handles) -> None:
    loop = uvloop.new_event_loop()
    descriptor = handles.descriptor(loop)
    assert "eventpoll" in str(Path(f"/proc/self/fd/{descriptor}").readlink())
    loop.close()


def test_an_object_without_libuv(handles: Handles, path: Path) -> None:
    loop = uvloop.new_event_loop()
    assert handles.open(loop, str(path))[0] == LW_UNSUPPORTED
    assert handles.open(loop, "/no/such/object.so")[0] == LW_UNSUPPORTED
    loop.close()
