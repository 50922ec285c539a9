"""Starts loopwatch in whatever Python `loopwatch run` starts, child processes included.

`loopwatch run` puts this folder first on PYTHONPATH, so `site` imports this file where it would import the
user's own `sitecustomize`, which is imported from here as if this file were not there. Nothing else may lie in
this folder: it would stand before the user's modules of that name.

A child process may be any Python: the file parses on 2.7, never prints and never raises. A program that does
not use asyncio pays for one finder in `sys.meta_path`, nothing more; with asyncio comes `loopwatch.watch`, with
a server or framework `loopwatch.servers`. Where the first cannot be imported the program runs on untouched, and a
file `<pid>-<start>.unwatched` in the recording names it (docs/recording.md).
"""

import os
import sys

# What `loopwatch.servers` patches once it has been imported; a test holds this equal to its table.
SERVERS = (
    "aiohttp.web_app",
    "daphne.server",
    "django.core.handlers.base",
    "granian.asgi",
    "gunicorn.workers.gasgi",
    "hypercorn.app_wrappers",
    "quart.ctx",
    "sanic.app",
    "uvicorn.config",
    "uvicorn.server",
)


class LoopwatchFinder(object):
    """Finds nothing itself: has a package announced, once, when somebody else has found and run it.

    awaited: name of a module -> what to call with that name after its import.
    """

    def __init__(self, awaited):
        self.awaited = awaited

    def find_spec(self, name, path=None, target=None):
        if name not in self.awaited:
            return None
        finders = list(sys.meta_path)
        # Those before this one have been asked already: that is why it is asked now.
        for finder in finders[finders.index(self) + 1 :] if self in finders else ():
            find_spec = getattr(finder, "find_spec", None)
            spec = find_spec(name, path, target) if find_spec else None
            if spec is not None:
                self._listen(name, spec.loader)
                return spec
        return None

    def _listen(self, name, loader):
        """Shadow `loader.exec_module` until it has run `name`; the loader itself stays in its place."""
        exec_module = getattr(loader, "exec_module", None)

        def announcing(module):
            wanted = module.__name__ == name  # zipimport: one loader for all that lies in the file
            if wanted:
                vars(loader).pop("exec_module", None)
            exec_module(module)
            if wanted:
                self._announce(name)

        try:
            importlib = exec_module.__code__.co_filename
            if importlib.startswith("<frozen importlib"):
                # Under this file name tracebacks and `warnings` leave the function out, as they do with all of
                # importlib: an error inside asyncio looks as without loopwatch.
                announcing.__code__ = announcing.__code__.replace(co_filename=importlib)
        except AttributeError:  # before 3.8, or a loader in C
            pass
        if exec_module is not None and not isinstance(loader, type):
            try:
                loader.exec_module = announcing
            except (AttributeError, TypeError):
                pass

    def _announce(self, name):
        arrived = self.awaited.pop(name, None)
        if arrived is not None:
            arrived(name)


def _install(folder):
    finder = LoopwatchFinder({})

    started, waiting = [], []

    def asyncio_came(_):
        finder.awaited.pop("trio", None)
        reason = _start()
        if reason:
            if finder in sys.meta_path:
                sys.meta_path.remove(finder)
            _name_unwatched(folder, reason)
            return
        started.append(True)
        for name in waiting:
            _patch(name)

    def server_came(name):
        if started:
            _patch(name)
        else:
            waiting.append(name)

    def trio_came(_):
        _name_unwatched(folder, "trio runs its own loop, which loopwatch does not watch")

    # Where nobody has a `sitecustomize` and somebody asks for it, this file is imported once more.
    if "loopwatch.watch" in sys.modules or any(type(other).__name__ == "LoopwatchFinder" for other in sys.meta_path):
        return
    finder.awaited.update((name, server_came) for name in SERVERS)
    sys.meta_path.insert(0, finder)
    if "asyncio" not in sys.modules:
        finder.awaited.update(asyncio=asyncio_came, trio=trio_came)
        return
    asyncio_came("asyncio")  # a .pth file was first
    for name in SERVERS:
        if name in sys.modules:
            server_came(name)


def _start():
    """Watch this process. The reason if that cannot be, else None."""
    if sys.version_info < (3, 11):
        return "Python %d.%d is too old for loopwatch, which needs 3.11" % sys.version_info[:2]
    try:
        import loopwatch

        wanted = os.environ.get("LOOPWATCH_VERSION", loopwatch.__version__)
        if loopwatch.__version__ != wanted:
            return "its Python has loopwatch %s, not %s" % (loopwatch.__version__, wanted)
        import loopwatch.watch

        loopwatch.watch.start_from_environment()
    except ImportError as error:
        if error.name == "loopwatch":
            return "loopwatch is not installed for its Python"
        return "loopwatch cannot be imported: %s" % error
    except Exception as error:
        return "loopwatch cannot start: %s: %s" % (type(error).__name__, error)
    return None


def _patch(name):
    """Let the requests of a server or framework be known. Without that, stalls are found all the same."""
    try:
        import loopwatch.servers

        loopwatch.servers.arrived(name)
    except Exception:
        pass


def _name_unwatched(folder, reason):
    try:
        import json
        import time

        content = {
            "pid": os.getpid(),
            "executable": sys.executable,
            "command": list(getattr(sys, "orig_argv", None) or [sys.executable] + sys.argv),
            "reason": reason,
        }
        path = os.path.join(folder, "%d-%d.unwatched" % (os.getpid(), time.time() * 1000))
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, json.dumps(content).encode("ascii"))
        finally:
            os.close(descriptor)
    except Exception:  # the recording is gone, the disk is full: nobody to tell
        pass


def _import_own():
    """Import the `sitecustomize` that would have been imported without this folder on the path.

    If there is none the ImportError for it is let out: `site` expects that one, and takes it as none being there.
    """
    here = os.path.dirname(os.path.abspath(__file__))
    position = sys.path.index(here) if here in sys.path else None
    sys.path[:] = [entry for entry in sys.path if entry != here]
    # Held on to: Python 2 sets the globals of a module to None when the last reference to it goes.
    this_module = sys.modules.pop(__name__, None)
    try:
        import sitecustomize  # noqa: F401
    finally:
        # For programs that make a child's PYTHONPATH from their own sys.path.
        if position is not None:
            sys.path.insert(position, here)
        del this_module


def _is_wanted():
    # As `loopwatch.config.switched_off`, which cannot be asked before it is known that loopwatch is here.
    off = os.environ.get("LOOPWATCH", "").lower() in ("0", "false", "no", "off")
    return sys.version_info >= (3,) and not off and os.environ.get("LOOPWATCH_RECORD")


if _is_wanted():
    _install(os.environ["LOOPWATCH_RECORD"])
_import_own()
