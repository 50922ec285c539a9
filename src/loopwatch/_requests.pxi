# Requests in flight: who works for which, since when, and how long others kept it waiting. Part of _core.pyx.

cdef lw_requests *_requests = NULL  # lives as long as the process; a forked child gets its own
cdef int _requests_pid = 0
cdef bint _timed_by_context = False  # from 3.14 on: whoever runs in its context works for a request
cdef bint _asked_to_watch = False  # contexts; from the first request on, since it costs every callback a little
cdef dict _endpoints = {}  # name -> number, of _requests

_PHASES = {"startup": LW_PHASE_STARTUP, "serving": LW_PHASE_SERVING, "shutdown": LW_PHASE_SHUTDOWN}

request = contextvars.ContextVar("loopwatch.request")
"""The request that this context, and all that inherit it, work for."""


cdef lw_requests *_table() except NULL:
    """The table of this process, with all that goes with it."""
    global _requests, _requests_pid
    if _requests == NULL or _requests_pid != lw_getpid():
        _endpoints.clear()
        if lw_requests_create(&_requests) != LW_OK:
            raise MemoryError
        _requests_pid = lw_getpid()
    return _requests


cdef void _resumed(object whose) noexcept:
    cdef Request one = <Request>whose
    cdef lw_slot *slot = one.slot()
    if one.asks_name(slot):
        one.find_name(False)
    lw_request_resumed(&one.clock, lw_loop_marks_here(), slot, lw_clock_now())


cdef void _suspended(object whose) noexcept:
    cdef Request one = <Request>whose
    lw_request_suspended(&one.clock, lw_loop_marks_here(), lw_clock_now())


cdef void _switch_to(object following) noexcept:
    """On 3.14 and later: this thread works for that request from now on, None: for none."""
    cdef void *before = lw_context_current()
    if before == <void *>following:
        return
    if before != NULL:
        _suspended(<object>before)
    lw_context_set_current(NULL if following is None else <void *>following)
    if following is not None:
        _resumed(following)


cdef void _context_switched(void *context) noexcept:
    """Only what runs on a watched loop is timed: a thread that inherits the context does not hold it."""
    cdef PyObject *value = NULL
    if lw_loop_marks_here() == NULL and lw_context_current() == NULL:
        return
    if context != NULL and lw_loop_marks_here() != NULL:
        if PyContextVar_Get(request, NULL, &value) < 0:
            PyErr_Clear()
    if value == NULL:
        _switch_to(None)
        return
    following = <object>value
    Py_DECREF(following)
    _switch_to(following if type(following) is Request else None)


cdef class Request:
    """One request in flight. Made by the middleware, on the thread that serves it.

    `name_of(subject, over)` says what it is called, as `GET /items/{id}`, or None while that is not known; `over` when
    it has ended. It is asked only when a stall refers to the request, which is rare: then at its next step, and at its
    end.
    """

    cdef lw_request_clock clock
    cdef lw_requests *table
    cdef object token, subject, name_of

    def __cinit__(self, subject=None, name_of=None):
        cdef lw_loop_marks *marks = lw_loop_marks_here()
        self.subject = subject
        self.name_of = name_of
        self.table = _table()
        self.clock.number = lw_request_begin(self.table, &self.clock.slot)
        if marks != NULL:
            lw_loop_request_begun(marks, self.slot() != NULL)

    def __dealloc__(self):
        if self.table != NULL:
            lw_request_end(self.table, self.clock.number, self.clock.slot)

    cdef lw_slot *slot(self) noexcept:
        return lw_request_slot(self.table, self.clock.number, self.clock.slot)

    @property
    def number(self):
        """Unique in this process, from 1."""
        return self.clock.number

    def enter(self):
        """From now on this context works for this request."""
        if not _asked_to_watch:
            _watch_contexts()
        self.token = request.set(self)
        if _timed_by_context and lw_loop_marks_here() != NULL:
            _switch_to(self)

    def leave(self):
        """Undo `enter`, where this still is the same context."""
        token, self.token = self.token, None
        if token is None:
            return
        try:
            request.reset(token)
        except ValueError:  # another context, which ends by itself
            pass
        if _timed_by_context:  # also where the watch has ended meanwhile: what was begun is taken back
            _switch_to(request.get(None) if lw_loop_marks_here() != NULL else None)

    cdef bint asks_name(self, lw_slot *slot) noexcept:
        """Whether it matters what it is called. Without a slot it cannot be marked, so the name is found beforehand."""
        return self.clock.endpoint == LW_NO_ENDPOINT if slot == NULL else lw_slot_asks_name(slot)

    cdef void find_name(self, bint over) noexcept:
        """Ask for the name. Other people's code may be at fault: then it has none. Leaves the exception that is under
        way, as there is one when a context is left by it."""
        cdef PyObject *kind
        cdef PyObject *value
        cdef PyObject *traceback
        if self.name_of is None:
            return
        PyErr_Fetch(&kind, &value, &traceback)
        try:
            name = self.name_of(self.subject, over)
            if name is not None:
                self.take_name(name)
        except BaseException:
            pass
        PyErr_Restore(kind, value, traceback)

    cdef int take_name(self, str endpoint) except -1:
        cdef lw_slot *slot = self.slot()
        cdef bytes text
        number = _endpoints.get(endpoint)
        if number is None:
            text = endpoint.encode("utf-8", "replace")
            number = lw_endpoint(self.table, text, len(text))
            if len(_endpoints) < LW_ENDPOINTS_MOST:
                _endpoints[endpoint] = number
        self.clock.endpoint = number
        if slot != NULL:
            lw_slot_name(slot, number)
        return 0

    def blocking_ns(self):
        """How long its own code, child tasks included, has held the loop so far."""
        cdef lw_slot *slot = self.slot()
        cdef uint64_t own = lw_request_own(&self.clock, lw_clock_now())
        return own if slot == NULL or _timed_by_context else own + lw_slot_child_ns(slot)

    def delay_ns(self):
        """How long, at most, stalls of others have kept it waiting so far."""
        return self.clock.delay_ns

    def frames(self):
        """The stack of its longest stall so far, innermost first: (file, function, line); [] when none was seen."""
        cdef lw_slot *slot = self.slot()
        cdef uint32_t stack, clearings
        cdef char text[STACK_BYTES]
        if slot == NULL or _watchdog == NULL or not lw_slot_stack(slot, &stack, &clearings):
            return []
        size = lw_watchdog_stack(_watchdog, stack, clearings, text, STACK_BYTES)
        parts = text[:size].decode("utf-8", "surrogatepass").split("\0")[:-1]
        return [(parts[i], parts[i + 1], int(parts[i + 2])) for i in range(0, len(parts), 3)]

    def end(self):
        """It is over: its place in the table is free for another."""
        if self.asks_name(self.slot()):
            self.find_name(True)
        self.subject = self.name_of = None
        lw_request_end(self.table, self.clock.number, self.clock.slot)


def drive(awaitable, Request one):
    """An awaitable that does what `awaitable` does, and times its steps where nothing else does."""
    if _timed_by_context and lw_loop_marks_here() != NULL:
        return awaitable
    try:
        return lw_steps_new(awaitable, one, _resumed, _suspended)
    except TypeError:
        if hasattr(type(awaitable), "__await__"):
            raise
        return awaitable  # a generator that `await` takes all the same, or nothing that it takes, and it says so itself


def phase(str name):
    """The loop that runs on this thread enters a phase: "startup", "serving" or "shutdown"."""
    cdef lw_loop_marks *marks = lw_loop_marks_here()
    if marks != NULL:
        lw_loop_enter_phase(marks, _PHASES[name], lw_clock_now())


cdef str _test_requests():
    """Whether a context tells its request to the watchdog as it does to us."""
    context = contextvars.Context()
    one = Request()
    try:
        context.run(request.set, one)
        seen = context.run(lw_context_here)
    except RuntimeError as error:
        return str(error)
    finally:
        one.end()
    return "" if seen == one.number else f"a context's request reads as {seen}, not {one.number}"


cdef int _watch_contexts() except -1:
    global _asked_to_watch, _timed_by_context
    _asked_to_watch = True
    _timed_by_context = lw_context_watch(_context_switched) == 0
    return 0


cdef int _learn_contexts() except -1:
    """At import: what contexts look like inside."""
    few, many = contextvars.Context(), contextvars.Context()
    probes = [contextvars.ContextVar(f"loopwatch.probe{number}") for number in range(40)]
    few.run(request.set, None)
    for probe in probes:
        many.run(probe.set, None)
    cdef Request one = Request()
    offset = <char *>&one.clock - <char *><void *>one
    lw_context_learn(few, many, request, <PyTypeObject *>Request, offset)
    one.end()
    return 0


_learn_contexts()
