"""The binding: it allocates, converts and calls csrc. When to watch what is decided in watch.py.

What runs inside `_loop_changed` executes no bytecode, in no loop's class either: bytecode would let a signal handler
run there, and its exception would skip the loop's own clean-up.
"""

import _thread
import _weakref
import contextvars
import itertools
import os
import sys

from cpython.pycapsule cimport PyCapsule_GetPointer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport errno
from libc.stdlib cimport free, malloc


cdef extern from "Python.h":
    ctypedef struct PyThreadState:
        uint64_t context_ver

    PyThreadState *PyThreadState_Get()


cdef extern from *:
    """
    #ifdef _WIN32
    #include <process.h>
    #define lw_getpid _getpid
    #else
    #include <unistd.h>
    #define lw_getpid getpid
    #endif
    """
    int lw_getpid() nogil


cdef enum:
    DEPTH = 1024  # of a deeper stack, csrc/stack.h keeps at least so many frames
    TAKE_BYTES = 1 << 20
    STACK_BYTES = 16384  # of the frames of one stack
    LOOPS_MET = 64
    UVLOOP_CONTEXTS = 1  # uvloop runs its ready queue inside a callback of its own


_WAYS = {"slot": LW_POLL_SLOT, "select": LW_POLL_SELECT, "uv": LW_POLL_UV, "context": LW_POLL_CONTEXT}


cdef lw_watchdog *_watchdog = NULL
cdef lw_event *_news = NULL  # what wait() waits for; lives as long as the process
cdef int _pid = 0           # the process that _watchdog belongs to
cdef object _options = None  # how to start it; None: nothing is watched
cdef object _when_started = None  # to be called when it starts, once
cdef dict _met = {}         # weak references to loops that were attached, by address; the dead go beyond LOOPS_MET


cdef int _raise(lw_status status) except -1:
    if status == LW_OK:
        return 0
    if status == LW_NO_MEMORY:
        raise MemoryError
    if status == LW_SYSTEM:
        raise OSError(errno, "the watchdog cannot be started")
    raise RuntimeError(f"the watchdog cannot be started (status {<int>status})")


cdef void _notice_fork() noexcept:
    """In a child: the parent's thread does not exist here. A fork(2) behind libc's back is noticed, too."""
    global _watchdog, _news, _pid
    if _pid != lw_getpid():
        _pid = lw_getpid()
        _watchdog = NULL
        _news = NULL  # its lock may be held by a thread that is not here
        lw_watchdog_forget()


cdef lw_event *_news_event() except NULL:
    global _news
    if _news == NULL:
        _news = lw_event_create()
    if _news == NULL:
        raise MemoryError
    return _news


def configure(options):
    """Say how to watch from the next attach on; None stops nothing, but attaches no further loop.

    `options`: a dict with `threshold_ns`, `interval_ns`, `directory` (bytes or None), `header` (bytes, JSON members
    without braces), `part_bytes`, `parts`, `stacks`, `stack_depth` (0: the default), `requests` (that are tracked at
    once), `badges` (whether they are used again), `sample`, `causes`, `queue` and `way` (a name of a poll way, or None
    for the best that serves).
    """
    global _options
    _options = options


cdef int _start() except -1:
    """Start the watchdog if it does not run in this process yet."""
    global _watchdog
    cdef lw_options options
    if _watchdog != NULL:
        return 0
    options.pid = lw_getpid()
    options.parent_pid = os.getppid()
    options.threshold_ns = _options["threshold_ns"]
    options.interval_ns = _options["interval_ns"]
    options.directory = NULL
    if _options["directory"] is not None:
        options.directory = _options["directory"]
    options.header = _options["header"]
    options.part_bytes = _options["part_bytes"]
    options.parts = _options["parts"]
    options.stacks = _options["stacks"]
    options.stack_depth = _options["stack_depth"]
    options.requests = lw_request_table()
    lw_requests_limit(options.requests, _options["requests"])
    lw_badge_reuse(_options["badges"])
    options.sample = _options["sample"]
    options.causes = _options["causes"]
    options.queue = _options["queue"]
    options.news = _news_event()
    _raise(lw_watchdog_start(&_watchdog, &options))
    _tell_started()
    return 0


def call_when_started(function):
    """Call it, on a new thread, when the watchdog starts the next time; None: call nothing."""
    global _when_started
    _when_started = function


cdef void _tell_started() noexcept:
    global _when_started
    function, _when_started = _when_started, None
    if function is None:
        return
    try:
        _thread.start_new_thread(function, ())  # no bytecode runs on this one
    except Exception:  # the interpreter is ending, or there are too many
        pass


cdef bint _slot(library, bytes anchor, bytes symbol):
    cdef bytes path
    cdef const char *where = NULL
    if library is not None:
        path = library.encode("utf-8", "surrogateescape")
        where = path
    return lw_poll_slot_hook(where, anchor, symbol) == LW_OK


cdef bytes _thread_name():
    """The name of this thread as threading has it, read without running any of its code."""
    thread = None
    threading = sys.modules.get("threading")
    if threading is not None:
        thread = threading._active.get(threading.get_ident())
    name = "MainThread" if thread is None else thread._name
    return str(name).encode("utf-8", "surrogatepass")


cdef object _uvloop_of(loop):
    """uvloop's extension module, if this is one of its loops."""
    module = sys.modules.get("uvloop.loop")
    return module if module is not None and isinstance(loop, module.Loop) else None


cdef bint _is_asyncio(loop):
    module = sys.modules.get("asyncio.base_events")
    return module is not None and isinstance(loop, module.BaseEventLoop)


cdef bint _wants(str way):
    return _options["way"] is None or _options["way"] == way


cdef lw_status _attach_uvloop(loop, module, lw_loop_options *options) except *:
    cdef bytes library = module.__file__.encode("utf-8", "surrogateescape")
    capsule = module.libuv_get_loop_t_ptr(loop)
    cdef void *uv_loop = PyCapsule_GetPointer(capsule, NULL)
    cdef lw_status status
    options.kind = "uvloop"
    options.contexts_extra = UVLOOP_CONTEXTS
    options.uv_loop = uv_loop
    options.uv_library = library
    options.descriptor = lw_poll_uv_descriptor(library, uv_loop)
    if _wants("slot") and options.descriptor >= 0 and _slot(module.__file__, b"PyInit_loop", b"epoll_pwait"):
        options.way = LW_POLL_SLOT
        return lw_loop_attach(_watchdog, options)
    if _wants("slot") or _wants("uv"):
        options.way = LW_POLL_UV
        status = lw_loop_attach(_watchdog, options)
        if status != LW_UNSUPPORTED:
            return status
    options.way = LW_POLL_CONTEXT
    return lw_loop_attach(_watchdog, options)


cdef object _epoll_of(selector):
    """The epoll object of asyncio's usual selector on Linux, else None."""
    select = sys.modules.get("select")
    epoll = getattr(selector, "_selector", None)
    epoll_type = getattr(select, "epoll", None)
    return epoll if epoll_type is not None and type(epoll) is epoll_type else None


cdef lw_status _attach_asyncio(loop, lw_loop_options *options) except *:
    cdef lw_status status
    options.kind = "asyncio"
    # A loop that lets a toolkit wait for events (qasync) has a selector as well, and never asks it. asyncio's own
    # run_forever sets `_thread_id` before the loop is the running one (Lib/asyncio/base_events.py, 3.11 to 3.15).
    runs_itself = getattr(loop, "_thread_id", None) is not None
    selector = getattr(loop, "_selector", None) if runs_itself else None
    epoll = _epoll_of(selector)
    if _wants("slot") and epoll is not None:
        options.descriptor = epoll.fileno()
        select = sys.modules["select"]
        if _slot(getattr(select, "__file__", None), b"PyInit_select", b"epoll_wait"):
            options.way = LW_POLL_SLOT
            return lw_loop_attach(_watchdog, options)
    if selector is not None and (_wants("slot") or _wants("select")):
        original = selector.select
        options.way = LW_POLL_SELECT
        status = lw_loop_attach(_watchdog, options)
        if status == LW_OK:
            selector.select = lw_poll_select_new(original, lw_loop_marks_here())
        return status
    options.way = LW_POLL_CONTEXT
    return lw_loop_attach(_watchdog, options)


cdef bint _is_fresh(loop):
    """Whether it is attached for the first time: what was at its address may have been another one."""
    address = <uintptr_t><void *>loop
    before = _met.get(address)
    if before is not None and before() is loop:
        return False
    try:
        _met[address] = _weakref.ref(loop)
    except TypeError:  # one that cannot be told from the other
        return False
    if len(_met) > LOOPS_MET:
        for address in [each for each, met in _met.items() if met() is None]:
            del _met[address]
    return True


cdef int _attach(loop, bint inside) except -1:
    cdef lw_loop_options options
    cdef bytes thread = _thread_name()
    cdef lw_status status
    _start()
    options.loop = <uintptr_t><void *>loop
    options.fresh = _is_fresh(loop)
    options.kind = "other"
    options.thread = thread
    options.way = LW_POLL_CONTEXT
    options.descriptor = -1
    options.uv_loop = NULL
    options.uv_library = NULL
    options.contexts_extra = 0
    options.inside = inside
    uvloop = _uvloop_of(loop)
    # Ours until it is detached: whoever set it as running may forget to take that back, and free it.
    Py_INCREF(loop)
    try:
        if uvloop is not None:
            status = _attach_uvloop(loop, uvloop, &options)
        elif _is_asyncio(loop):
            status = _attach_asyncio(loop, &options)
        else:
            status = lw_loop_attach(_watchdog, &options)
    finally:
        if lw_loop_attached(0) != options.loop:
            Py_DECREF(loop)
    _raise(status)
    return 0


cdef void _show_select(loop) noexcept:
    """Take away what hides the selector's own method, if that is us."""
    try:
        # Not by its __dict__: on 3.11 and 3.12 an object that was asked for that has slower attributes ever after.
        selector = loop._selector
        if lw_poll_select_check(selector.select):
            del selector.select
    except Exception:
        pass


cdef void _detach() noexcept:
    """Off the innermost loop of this thread."""
    cdef uintptr_t address = lw_loop_attached(0)
    if address == 0:
        return
    loop = <object><void *>address
    if _is_asyncio(loop):
        _show_select(loop)
    lw_loop_detach()
    lw_badge_forget()
    Py_DECREF(loop)
    if _options is None and lw_loops_attached() == 0:
        lw_running_loop_unhook()


cdef bint _is_suspended(uintptr_t address):
    """Whether the loop goes on later: `None` was set in the middle of a callback, to run another loop in it.

    asyncio forgets the thread before it says that it has stopped (Lib/asyncio/base_events.py, run_forever).
    """
    loop = <object><void *>address
    return _is_asyncio(loop) and getattr(loop, "_thread_id", None) is not None


cdef void _loop_changed(loop) noexcept:
    """This thread runs this loop from now on, or none."""
    cdef uintptr_t address = 0 if loop is None else <uintptr_t><void *>loop
    cdef unsigned depth = 0
    _notice_fork()
    try:
        if loop is None:
            address = lw_loop_attached(0)
            if address != 0 and not _is_suspended(address):
                _detach()
            return
        while lw_loop_attached(depth) != 0:
            if lw_loop_attached(depth) == address:  # back in an outer one: those inside it are over
                for _ in range(depth):
                    _detach()
                return
            depth += 1
        if _options is not None:
            _attach(loop, inside=False)
    except Exception:
        pass  # the loop runs on unwatched


def hook():
    """Watch the loops that start from now on. RuntimeError where asyncio is not as it is known."""
    import _asyncio

    lw_code_watch()
    lw_running_loop_hook(_asyncio._set_running_loop, _loop_changed)


def unhook():
    """Let loops start and stop without us, once those are over that run now: we hold them until then."""
    if lw_loops_attached() == 0:
        lw_running_loop_unhook()


def attach_running(loop):
    """Watch a loop that is already running on this thread, also one that a watchdog has watched that is over."""
    _notice_fork()
    while lw_loop_attached(0) != 0:
        _detach()
    if _options is None:
        return
    try:
        _attach(loop, inside=True)
    except Exception:
        pass  # it runs on unwatched


def watched():
    """Whether a loop is watched on this thread."""
    return lw_loop_attached(0) != 0


def stop():
    """Take the watch off this thread's loops and end the watchdog. What it still has to write is written first."""
    _notice_fork()
    cdef lw_watchdog *watchdog = _watchdog
    while lw_loop_attached(0) != 0:
        _detach()
    lw_poll_slots_unhook()
    if watchdog != NULL:
        with nogil:
            lw_watchdog_stop(watchdog)


def release():
    """Forget the watchdog, its records included; it is stopped if it runs.

    Returns the loops that it watched on other threads: they run on unwatched, until `attach_running` is called there.
    """
    global _watchdog
    _notice_fork()
    cdef lw_watchdog *watchdog = _watchdog
    cdef uintptr_t address
    loops = []
    if watchdog == NULL:
        return loops
    address = lw_watchdog_loop(watchdog, 0)
    while address != 0:
        loops.append(<object><void *>address)
        address = lw_watchdog_loop(watchdog, len(loops))
    _watchdog = NULL
    with nogil:
        lw_watchdog_release(watchdog)
    return loops


def trouble():
    """errno of the first thing that failed on the watchdog's thread, 0 if nothing did."""
    _notice_fork()
    return 0 if _watchdog == NULL else lw_watchdog_trouble(_watchdog)


def wait(double seconds):
    """Wait, without the GIL, until there are records to take or somebody calls `wake()`; at most so many seconds.

    Whether either has happened. One thread at a time is told.
    """
    _notice_fork()
    cdef lw_event *news = _news_event()
    cdef bint come
    with nogil:
        come = lw_event_wait(news, <uint64_t>(seconds * 1e9))
    return come


def wake():
    """Let `wait()` return: the one under way, or the next."""
    _notice_fork()
    lw_event_set(_news_event())


def take():
    """Records since the last call, whole lines as bytes; b"" when there are none."""
    _notice_fork()
    if _watchdog == NULL:
        return b""
    cdef char *lines = <char *>malloc(TAKE_BYTES)
    if lines == NULL:
        raise MemoryError
    try:
        return PyBytes_FromStringAndSize(lines, lw_watchdog_take(_watchdog, lines, TAKE_BYTES))
    finally:
        free(lines)


def summaries():
    """`summary` records of all loops, up to now, whole lines as bytes; b"" when they are too many.

    What there is to say of older ones, which have stopped for good, can be taken.
    """
    _notice_fork()
    if _watchdog == NULL:
        return b""
    cdef char *lines = <char *>malloc(TAKE_BYTES)
    cdef size_t size
    if lines == NULL:
        raise MemoryError
    try:
        with nogil:
            size = lw_watchdog_sum_up(_watchdog, lines, TAKE_BYTES)
        return PyBytes_FromStringAndSize(lines, size)
    finally:
        free(lines)


def allow(bint begin):
    """Enter (True) or leave (False) a block whose stalls are accepted. No effect where no loop is watched."""
    cdef lw_loop_marks *marks = lw_loop_marks_here()
    if marks == NULL:
        return
    if begin:
        lw_loop_allow(marks, lw_clock_now())
    else:
        lw_loop_disallow(marks, lw_clock_now())


def walk():
    """This thread's stack as the sampler sees it: (file, name, line, end line, column, end column), outermost first."""
    return lw_walk_here()


def place(bytes line_table, int first_line, unsigned unit):
    """The place of a code unit, as `code.co_positions()` has it."""
    return lw_walk_place(line_table, first_line, unit)


def self_test():
    """Check name -> "", or what is wrong with it: whether this interpreter is laid out as the headers said.

    `stacks`: the stack of this very thread, read as every sample reads it, is the one that `sys._getframe` shows, to
    the column. `callbacks`: running something in a context moves the thread's context version by two.
    `gil`: it reads as held by this thread, as it is.
    `requests`: the request of a context, read as the watchdog reads it, is the one that runs in it, its variables are
    as they were, and it has none afterwards.
    """
    if os.environ.get("LOOPWATCH_SELFTEST") == "fail":  # for tests of what happens then
        return {"stacks": "LOOPWATCH_SELFTEST=fail is set", "callbacks": ""}
    return {
        "stacks": _test_stacks(sys._getframe()),
        "callbacks": _test_callbacks(),
        "gil": "" if lw_gil_reads_right() else "it does not read as held by this thread",
        "requests": _test_requests(),
    }


cdef str _test_stacks(frame):
    try:
        seen = lw_walk_here()
    except RuntimeError as error:
        return str(error)
    expected = []
    while frame is not None:
        code = frame.f_code
        place = next(itertools.islice(code.co_positions(), frame.f_lasti // 2, None))
        expected.append((code.co_filename, code.co_qualname, *place))
        frame = frame.f_back
    expected.reverse()
    if len(seen) >= DEPTH:
        expected = expected[-len(seen):]
    if seen == expected:
        return ""
    for index, (one, other) in enumerate(zip(seen, expected)):
        if one != other:
            return f"frame {index} reads as {one}, not {other}"
    return f"{len(seen)} frames are read, not {len(expected)}"


cdef str _test_callbacks():
    before = PyThreadState_Get().context_ver
    contextvars.Context().run(int)
    moved = PyThreadState_Get().context_ver - before
    return "" if moved == 2 else f"a context moves the version by {moved}, not 2"


def poll_support():
    """Loop kind -> the best way to see its poll here: "slot", "select", "uv" or "context". uvloop only if imported."""
    import select

    global _options
    ways = {}
    epoll = hasattr(select, "epoll")
    if epoll and _slot(getattr(select, "__file__", None), b"PyInit_select", b"epoll_wait"):
        ways["asyncio"] = "slot"
    else:
        ways["asyncio"] = "select"
    module = sys.modules.get("uvloop.loop")
    if module is not None:
        ways["uvloop"] = "slot" if _slot(module.__file__, b"PyInit_loop", b"epoll_pwait") else "uv"
    if _watchdog == NULL:
        lw_poll_slots_unhook()
    return ways


def cause_support():
    """What the system tells of a thread: `cpu`, the time that it has used; `state`, whether it waits; `run_delay`, how
    long it has waited for a CPU."""
    cdef lw_task *task = NULL
    cdef uint64_t ns
    cdef uint64_t times
    cdef uintptr_t address
    if lw_task_open(&task, lw_thread_number()) != LW_OK:
        return {"cpu": False, "state": False, "run_delay": False}
    support = {
        "cpu": bool(lw_task_cpu(task, &ns)),
        "state": lw_task_look(task, &address) != LW_TASK_UNKNOWN,
        "run_delay": bool(lw_task_run_delay(task, &ns, &times)),
    }
    lw_task_close(task)
    return support


def cpu_quota():
    """How many CPUs the container of this process may use; None without a limit, or where it cannot be known."""
    cdef lw_quota *quota = lw_quota_open()
    if quota == NULL:
        return None
    cpus = lw_quota_cpus(quota)
    lw_quota_close(quota)
    return cpus


include "_requests.pxi"
