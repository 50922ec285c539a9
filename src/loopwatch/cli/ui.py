"""`loopwatch ui`: the page of the HTML report, served while the recording grows."""

from __future__ import annotations

import secrets
import socket
from pathlib import Path

import click

from loopwatch.analysis.follow import Follower
from loopwatch.analysis.selection import Selection
from loopwatch.cli.here import settings_here
from loopwatch.cli.stalls import chosen_stalls
from loopwatch.cwd import working_directory
from loopwatch.errors import LoopwatchError
from loopwatch.recording import find_recordings
from loopwatch.report import FORMATS, Options
from loopwatch.web.local import is_local

_PORT = 7717


@click.command("ui")
@click.argument("runs", nargs=-1, metavar="[RUN]...", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address asks for a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=_PORT, show_default=True, help="0 takes a free one.")
@chosen_stalls
@click.option("--all-frames", is_flag=True, help="Show every frame of a stack.")
@click.option("--no-source", is_flag=True, help="Do not read source files.")
def command(
    runs: tuple[Path, ...],
    host: str,
    port: int,
    selection: Selection,
    all_frames: bool,
    no_source: bool,
) -> None:
    """Serve the report as a page that follows the recording: of the newest in .loopwatch/, or of those named."""
    try:
        import uvicorn

        from loopwatch.web.app import make_app
        from loopwatch.web.updates import Updates
    except ModuleNotFoundError as error:
        raise LoopwatchError(f"{error.name} is not installed here", "pip install 'loopwatch[ui]'") from None
    settings = settings_here()
    recordings = find_recordings(runs, base=settings.dir, app=settings.app)
    follower = Follower(recordings, selection, most_stalls=FORMATS["html"].stalls, app=settings.app)
    updates = Updates(follower, Options(source=not no_source, all_frames=all_frames, here=Path(working_directory())))
    listener = _listen(host, port)
    token = None if is_local(host) else secrets.token_urlsafe(24)
    name = f"[{host}]" if ":" in host else host
    address = f"http://{name}:{listener.getsockname()[1]}/{f'?token={token}' if token else ''}"
    click.echo(f"loopwatch: {address}  (Ctrl-C ends)", err=True)
    config = uvicorn.Config(
        make_app(updates, token), log_level="error", access_log=False, lifespan="off", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    updates.start()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn raises the signal again once it has ended in order
        pass
    finally:
        updates.stop()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # from here on who opens the address waits, however long the start takes
    except OSError as error:
        listener.close()
        hint = "take another one: --port 0"
        raise LoopwatchError(f"{host}:{port} cannot be listened on: {error.strerror}", hint) from None
    return listener
