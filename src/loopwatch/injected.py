"""What `loopwatch attach` has another process run. It is sent as text, with a call of `carry_out` after it.

CPython runs it on the main thread, between two bytecodes of whatever runs there. So it does next to nothing itself: a
thread of its own imports loopwatch, which takes tens of milliseconds, and the loop takes up the rest as one more
callback. Nothing is left behind but the modules of loopwatch; `sys.path` is not touched. Whatever goes wrong is the
answer, and not an error of the program: nothing is imported out here, where its traceback would be the program's.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from typing import Any

    Order = dict[str, Any]


def carry_out(order: "Order") -> None:
    """`order`: `do` ("begin" or "end"), `script` (this file), `answer` (the file to write), `package` (loopwatch's
    folder), `version`, `suffix` (of extensions that fit), and what `loopwatch.attach` wants."""
    try:
        import _thread
        import os
        import sys

        os.unlink(order["script"])  # who has sent it may be gone
        asyncio_events = sys.modules.get("asyncio.events")
        if asyncio_events is None:
            _answer(order, {"problem": "asyncio"})
            return
        loop = asyncio_events._get_running_loop()
        _thread.start_new_thread(_prepare, (order, loop))  # `threading` would wait here until it runs
    except Exception as error:  # the interpreter is ending, there are too many threads
        _fail(order, error)


def _prepare(order: "Order", loop: "AbstractEventLoop | None") -> None:
    try:
        problem = _import_loopwatch(order)
        if problem is not None:
            _answer(order, problem)
        elif loop is None or loop.is_closed():
            _do(order)
        else:
            loop.call_soon_threadsafe(_do, order)
    except Exception as error:
        _fail(order, error)


def _import_loopwatch(order: "Order") -> dict[str, object] | None:
    """The loopwatch that is installed for this Python, or the one that asks. What is wrong if that cannot be."""
    import importlib.machinery
    import importlib.util
    import os
    import sys

    try:
        import loopwatch
    except ImportError:
        if order["suffix"] not in importlib.machinery.EXTENSION_SUFFIXES:
            return {"problem": "missing"}
        file = os.path.join(order["package"], "__init__.py")
        if not os.access(file, os.R_OK):
            return {"problem": "missing"}
        spec = importlib.util.spec_from_file_location("loopwatch", file, submodule_search_locations=[order["package"]])
        assert spec is not None and spec.loader is not None
        loopwatch = sys.modules["loopwatch"] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(loopwatch)
        except BaseException:
            del sys.modules["loopwatch"]
            raise
    if loopwatch.__version__ != order["version"]:
        return {"problem": "version", "version": loopwatch.__version__}
    try:
        import loopwatch.attach
    except ImportError as error:
        return {"problem": "import", "reason": str(error)}
    return None


def _do(order: "Order") -> None:
    try:
        from loopwatch import attach

        _answer(order, attach.begin(order) if order["do"] == "begin" else attach.end(order))
    except Exception as error:
        _fail(order, error)


def _fail(order: "Order", error: Exception) -> None:
    import contextlib

    with contextlib.suppress(Exception):  # the folder is gone, the disk is full: nobody to tell
        _answer(order, {"problem": "failed", "reason": f"{type(error).__name__}: {error}"})


def _answer(order: "Order", content: dict[str, object]) -> None:
    import json
    import os

    path = order["answer"]
    descriptor = os.open(path + ".new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, json.dumps(content).encode("ascii"))
    finally:
        os.close(descriptor)
    os.replace(path + ".new", path)
