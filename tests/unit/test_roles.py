"""Roles of processes, as servers start them."""

from __future__ import annotations

from pathlib import Path

from loopwatch.analysis.roles import Role, roles
from loopwatch.model import Process

SPAWN = ("python3", "-c", "from multiprocessing.spawn import spawn_main; spawn_main(...)", "--multiprocessing-fork")


def found(*processes: tuple[int, int, tuple[str, ...]]) -> list[Role]:
    return roles([Process(pid, parent, command=command) for pid, parent, command in processes])


def test_alone() -> None:
    assert found((5, 1, ("app.py",))) == ["main"]
    assert found((5, 5, ("app.py",))) == ["main"]
    assert found() == []


def test_forked_workers() -> None:
    gunicorn = ("gunicorn", "app:app")
    assert found((5, 1, gunicorn), (6, 5, gunicorn), (7, 5, gunicorn)) == ["master", "worker", "worker"]
    assert found((7, 5, gunicorn), (5, 1, gunicorn)) == ["worker", "master"]


def test_spawned_workers() -> None:
    assert found((5, 1, ("uvicorn", "a:b", "--workers", "2")), (6, 5, SPAWN)) == ["master", "worker"]
    assert found((5, 1, ("uvicorn", "a:b", "--reload")), (6, 5, SPAWN)) == ["reloader", "worker"]
    assert found((6, 5, SPAWN)) == ["worker"]  # its master never had asyncio


def test_other_programs() -> None:
    app, other = ("app.py",), ("other.py",)
    assert found((5, 1, app), (6, 5, other), (7, 6, other)) == ["main", "master", "worker"]
    assert found((5, 1, app), (6, 5, other), (8, 6, app)) == ["main", "child", "child"]


def test_below_what_runs_no_loop() -> None:
    """A server's master, or a shell: what is known is that `loopwatch run` has not started it."""
    process = [Process(7, 6, command=("granian",))]
    five, six, seven = (Path(f"20261122T220211.236Z-{pid}") for pid in (5, 6, 7))
    assert roles(process, [five]) == ["child"]
    assert roles(process, [five, six]) == roles(process, [seven]) == roles(process, [Path("rec")]) == ["main"]


def test_workers_of_what_runs_no_loop() -> None:
    """Several of one command below one parent: a master has forked them, also where it is what `--exec` has started."""
    command = ("granian", "app:app")
    workers = [Process(pid, 6, command=command) for pid in (7, 8)]
    other = Process(9, 6, command=("celery",))
    five, six = (Path(f"20261122T220211.236Z-{pid}") for pid in (5, 6))
    assert roles([*workers, other], [five]) == ["worker", "worker", "child"]
    assert roles(workers, [six]) == ["worker", "worker"]
    again = [workers[0], Process(7, 6, command=command)]  # it has replaced itself by itself
    assert roles(again, [five]) == ["child", "child"]
    # Without `loopwatch run` these may be programs that somebody has started one after the other.
    assert roles(workers) == roles(workers, [Path("rec")]) == ["main", "main"]


def test_fork_server() -> None:
    server = ("python", "-c", "from multiprocessing.forkserver import main; main(3, 5, ['__main__'], **{})")
    assert found((7, 6, server)) == ["worker"]


def test_workers_of_workers() -> None:
    app = ("app.py",)
    assert found((5, 1, app), (6, 5, app), (7, 6, app)) == ["master", "worker", "worker"]
