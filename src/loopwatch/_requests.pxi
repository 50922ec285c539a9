# Requests in flight: who works for which, since when, and how long others kept it waiting. Part of _core.pyx; the
# types themselves are those of csrc/cpython/request.h and tracking.h.

REQUEST = LW_REQUEST_KEY.decode()
"""Key of an ASGI scope: its `Request`, so that a second middleware further in knows that there is one."""

_PHASES = {"startup": LW_PHASE_STARTUP, "serving": LW_PHASE_SERVING, "shutdown": LW_PHASE_SHUTDOWN}


def drive(one, function, *arguments):
    """Work for a request: `one` itself, which, awaited, calls `function` and awaits what that gives, and ends.

    Whatever the function raises or returns is raised or returned. It takes at most three arguments.
    """
    cdef PyObject *given[LW_REQUEST_ARGUMENTS]
    if type(one) is not Request or len(arguments) > LW_REQUEST_ARGUMENTS:
        raise TypeError("drive: a Request, a function and at most three arguments")
    for i, argument in enumerate(arguments):
        given[i] = <PyObject *>argument
    lw_request_serve(<lw_request *><void *>one, <PyObject *>function, given, len(arguments))
    return one


def frames(one):
    """The stack of a request's longest stall so far, innermost first: (file, function, line); [] when none was seen."""
    cdef uint32_t stack, clearings
    cdef char text[STACK_BYTES]
    if type(one) is not Request:
        raise TypeError("frames: a Request")
    if _watchdog == NULL or not lw_request_stack(<lw_request *><void *>one, &stack, &clearings):
        return []
    size = lw_watchdog_stack(_watchdog, stack, clearings, text, STACK_BYTES)
    parts = text[:size].decode("utf-8", "surrogatepass").split("\0")[:-1]
    return [(parts[i], parts[i + 1], int(parts[i + 2])) for i in range(0, len(parts), 3)]


def tell_responses(function):
    """Call it with the request when a response starts, on the loop's thread; None: call nothing."""
    lw_tracking_tell(function)


def whose():
    """The number of the request that this context works for, read as the watchdog reads it; 0: none.

    RuntimeError where that cannot be told.
    """
    return lw_context_here()


def phase(str name):
    """The loop that runs on this thread enters a phase: "startup", "serving" or "shutdown"."""
    cdef lw_loop_marks *marks = lw_loop_marks_here()
    if marks != NULL:
        lw_loop_enter_phase(marks, _PHASES[name], lw_clock_now())


cdef str _test_requests():
    """Whether contexts tell their requests to the watchdog as they do to us, and are afterwards as they were."""
    context, other = contextvars.Context(), contextvars.ContextVar("loopwatch.other")
    context.run(other.set, "kept")
    before = lw_badge_reuse(True)
    try:
        for _ in range(5):  # the ordinary way first, then with the tables that this leaves behind
            number, seen = context.copy().run(_look_at_request, other)
            expected = [(0, False, "kept"), (number, True, "kept"), (0, False, "kept")]
            if seen != expected:
                return f"a context's request reads as {seen}, not {expected}"
    except (RuntimeError, LookupError) as error:
        return str(error)
    finally:
        lw_badge_reuse(False)
        lw_badge_reuse(before)
    return ""


def _look_at_request(other):
    """The number of a request, and what this context says before, in and after it."""
    variable, one, seen = lw_badge_variable(), Request(), []

    def look():
        seen.append((whose(), variable.get(None) is not None, other.get()))

    def serve():
        look()
        raise InterruptedError

    look()
    try:
        drive(one, serve).send(None)
    except InterruptedError:
        pass
    look()
    return one.number, seen


cdef int _learn_contexts() except -1:
    """At import: what contexts look like inside."""
    few, many = contextvars.Context(), contextvars.Context()
    variable = lw_badge_variable()
    # More than 16 that differ in five bits of their hashes have an array for a table (Python/hamt.c): so many do.
    probes = [contextvars.ContextVar(f"loopwatch.probe{number}") for number in range(200)]
    few.run(variable.set, None)
    for probe in probes:
        many.run(probe.set, None)
    return lw_context_learn(few, many)


lw_request_prepare()
lw_tracking_prepare()
Request = <object>&lw_request_type
Tracking = <object>&lw_tracking_type
_learn_contexts()
