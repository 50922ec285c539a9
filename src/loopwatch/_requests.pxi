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
        context.run(lw_request_variable().set, one)
        seen = context.run(lw_context_here)
    except RuntimeError as error:
        return str(error)
    finally:
        one.end()
    return "" if seen == one.number else f"a context's request reads as {seen}, not {one.number}"


cdef int _learn_contexts() except -1:
    """At import: what contexts look like inside."""
    few, many = contextvars.Context(), contextvars.Context()
    variable = lw_request_variable()
    probes = [contextvars.ContextVar(f"loopwatch.probe{number}") for number in range(40)]
    few.run(variable.set, None)
    for probe in probes:
        many.run(probe.set, None)
    one = Request()
    offset = <char *>&(<lw_request *><void *>one).clock - <char *><void *>one
    lw_context_learn(few, many, variable, &lw_request_type, offset)
    one.end()
    return 0


lw_request_prepare()
lw_tracking_prepare()
Request = <object>&lw_request_type
Tracking = <object>&lw_tracking_type
_learn_contexts()
