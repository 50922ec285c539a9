# Requests in flight: who works for which, since when, and how long others kept it waiting. Part of _core.pyx.

cdef lw_requests *_requests = NULL  # lives as long as the process; a forked child gets its own
cdef bint _requests_inherited = False  # from the process that forked this one
cdef bint _timed_by_context = False  # from 3.14 on: whoever runs in its context works for a request
cdef bint _asked_to_watch = False  # contexts; from the first request on, since it costs every callback a little
cdef dict _endpoints = {}  # name -> number, of _requests

cdef object _told_of_responses = None

REQUEST = "loopwatch.request"
"""Key of an ASGI scope: its `Request`, so that a second middleware further in knows that there is one."""
HEADERS = "loopwatch.headers"
"""Key of an ASGI scope: one of the middlewares adds the headers."""

_PHASES = {"startup": LW_PHASE_STARTUP, "serving": LW_PHASE_SERVING, "shutdown": LW_PHASE_SHUTDOWN}

request = contextvars.ContextVar("loopwatch.request")
"""The request that this context, and all that inherit it, work for."""


cdef lw_requests *_table() except NULL:
    """The table of this process, with all that goes with it."""
    global _requests, _requests_inherited
    if _requests == NULL or _requests_inherited:
        _endpoints.clear()
        if lw_requests_create(&_requests) != LW_OK:
            raise MemoryError
        _requests_inherited = False
    return _requests


cdef void _inherit_requests() noexcept nogil:
    global _requests_inherited
    _requests_inherited = True


cdef void _begun(object whose) noexcept:
    try:
        (<Request>whose).enter()
    except Exception:  # no memory: it is served all the same
        pass


cdef void _resumed(object whose) noexcept:
    cdef Request one = <Request>whose
    cdef lw_slot *slot = one.slot()
    if one.asks_name(slot):
        one.find_name(False)
    lw_request_resumed(&one.clock, lw_loop_marks_here(), slot, lw_clock_now())


cdef void _suspended(object whose) noexcept:
    cdef Request one = <Request>whose
    lw_request_suspended(&one.clock, lw_loop_marks_here(), lw_clock_now())


cdef void _over(object whose) noexcept:
    """Leaves the exception that is under way."""
    cdef PyObject *kind
    cdef PyObject *value
    cdef PyObject *traceback
    PyErr_Fetch(&kind, &value, &traceback)
    try:
        (<Request>whose).leave()
        (<Request>whose).finish()
    except BaseException:
        pass
    PyErr_Restore(kind, value, traceback)


cdef void _untimed(object whose) noexcept:
    """The context watcher has seen it."""


cdef lw_step_hooks _timed_steps
_timed_steps.begun = _begun
_timed_steps.resumed = _resumed
_timed_steps.suspended = _suspended
_timed_steps.over = _over

cdef lw_step_hooks _untimed_steps
_untimed_steps.begun = _begun
_untimed_steps.resumed = _untimed
_untimed_steps.suspended = _untimed
_untimed_steps.over = _over


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


@cython.freelist(32)
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
            if not lw_loop_phase_begun(marks, LW_PHASE_SERVING):
                lw_loop_enter_phase(marks, LW_PHASE_SERVING, lw_clock_now())
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

    cdef int enter(self) except -1:
        """From now on this context works for this request."""
        self.token = PyContextVar_Set(request, self)
        if _timed_by_context and lw_loop_marks_here() != NULL:
            _switch_to(self)

    cdef int leave(self) except -1:
        """Undo `enter`, where this still is the same context."""
        token, self.token = self.token, None
        if token is None:
            return 0
        try:
            PyContextVar_Reset(request, token)
        except ValueError:  # another context, which ends by itself
            pass
        if _timed_by_context:  # also where the watch has ended meanwhile: what was begun is taken back
            _switch_to(request.get(None) if lw_loop_marks_here() != NULL else None)
        return 0

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
        return self.own_ns()

    cdef uint64_t own_ns(self) noexcept:
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
        self.finish()

    cdef void finish(self) noexcept:
        if self.asks_name(self.slot()):
            self.find_name(True)
        self.subject = self.name_of = None
        lw_request_end(self.table, self.clock.number, self.clock.slot)


def drive(Request one, function, *arguments):
    """Work for a request: an awaitable that calls `function` and awaits what that gives, and ends the request.

    Its steps are timed, where nothing else does it. Whatever the function raises or returns is raised or returned.
    """
    return _drive(one, function, arguments)


cdef object _drive(Request one, function, tuple arguments):
    if not _asked_to_watch:
        _watch_contexts()
    timed = _timed_by_context and lw_loop_marks_here() != NULL
    return lw_steps_new(function, arguments, one, &_untimed_steps if timed else &_timed_steps)


def tell_responses(function):
    """Call it with the request when a response starts, on the loop's thread; None: call nothing."""
    global _told_of_responses
    _told_of_responses = function


cdef class Tracking:
    """An ASGI app around another one, each of whose requests and websockets is one of ours. What it gives can be
    awaited, and is no coroutine.

    A scope has its request under `REQUEST`, and under `HEADERS` that a response says its times; so nothing is done
    twice. `headers` are the names of those three headers, None: there are none; `where`, if not None, gives from the
    request what the last of them says of the place, as bytes. Scopes that `excluded` (None: nothing is) finds by their
    path are left alone, those of other kinds are passed to `other`.
    """

    cdef object app, other, name_of, headers, where, excluded

    def __cinit__(self, app, other, name_of, tuple headers, where, excluded):
        self.app = app
        self.other = other
        self.name_of = name_of
        self.headers = headers
        self.where = where
        self.excluded = excluded

    def __call__(self, scope, receive, send):
        cdef Request one
        kind = scope["type"]
        if kind != "http" and kind != "websocket":
            return self.other(scope, receive, send)
        if self.excluded is not None and self.excluded(scope.get("path", "")):
            return self.app(scope, receive, send)
        headers = None
        if self.headers is not None and kind == "http" and HEADERS not in scope:
            scope[HEADERS] = True
            headers = self.headers
        known = scope.get(REQUEST)
        if known is not None:
            if headers is not None:
                send = _telling(send, known, None, headers, self.where)
            return self.app(scope, receive, send)
        scope[REQUEST] = one = Request(scope, self.name_of)
        if headers is not None or _told_of_responses is not None:
            send = _telling(send, one, _told_of_responses, headers, self.where)
        return _drive(one, self.app, (scope, receive, send))


@cython.freelist(32)
cdef class Telling:
    """A `send` that tells of the start of a response whoever is to know, in its headers first of all."""

    cdef object send, told, headers, where
    cdef Request one

    def __call__(self, message):
        kind = message.get("type")
        starts = kind == "http.response.start"
        if self.told is not None and (starts or kind == "websocket.accept"):
            try:
                self.told(self.one)
            except Exception:
                pass
        if starts and self.headers is not None:
            message = self.with_headers(message)
        return self.send(message)

    cdef dict with_headers(self, message):
        """The message with the headers; itself it stays as it is."""
        names = <tuple>self.headers
        blocking, delay = _milliseconds(self.one.own_ns()), _milliseconds(self.one.clock.delay_ns)
        where = b"" if self.where is None else self.where(self.one)
        told = dict(message)
        headers = list(told.get("headers", ()))
        headers.append((names[0], blocking))
        headers.append((names[1], delay))
        # A line of its own is the same as one more member of a line that is there (RFC 9110, section 5.3).
        headers.append((names[2], b"blocking;dur=" + blocking + where + b", loop-delay;dur=" + delay))
        told["headers"] = headers
        return told


cdef Telling _telling(send, Request one, told, tuple headers, where):
    cdef Telling telling = Telling.__new__(Telling)
    telling.send = send
    telling.one = one
    telling.told = told
    telling.headers = headers
    telling.where = where
    return telling


cdef bytes _milliseconds(uint64_t nanoseconds):
    """With two decimals, whatever the locale."""
    cdef char text[32]
    cdef uint64_t hundredths = (nanoseconds + 5000) // 10000
    cdef unsigned long long whole = hundredths // 100
    size = snprintf(text, sizeof(text), b"%llu.%02u", whole, <unsigned>(hundredths % 100))
    return text[:size]


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
    lw_thread_at_fork(_inherit_requests)
    lw_context_learn(few, many, request, <PyTypeObject *>Request, offset)
    one.end()
    return 0


_learn_contexts()
