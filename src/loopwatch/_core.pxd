"""What the binding sees of csrc: it mirrors csrc/loopwatch.h and csrc/cpython/{poll_select,walk}.h."""

from cpython.object cimport PyObject, PyTypeObject
from libc.stdint cimport uint32_t, uint64_t, uintptr_t


cdef extern from "status.h" nogil:
    ctypedef enum lw_status:
        LW_OK
        LW_FAULT
        LW_TORN
        LW_FULL
        LW_NO_MEMORY
        LW_SYSTEM
        LW_UNSUPPORTED


cdef extern from "os/clock.h" nogil:
    uint64_t lw_clock_now()


cdef extern from "os/event.h" nogil:
    ctypedef struct lw_event:
        pass

    lw_event *lw_event_create()
    void lw_event_set(lw_event *event)
    bint lw_event_wait(lw_event *event, uint64_t most_ns)


cdef extern from "loop.h" nogil:
    ctypedef struct lw_loop_marks:
        pass

    ctypedef enum lw_phase:
        LW_PHASE_STARTUP
        LW_PHASE_SERVING
        LW_PHASE_SHUTDOWN

    void lw_loop_enter_phase(lw_loop_marks *marks, lw_phase phase, uint64_t now)
    void lw_loop_allow(lw_loop_marks *marks, uint64_t now)
    void lw_loop_disallow(lw_loop_marks *marks, uint64_t now)


cdef extern from "requests.h" nogil:
    ctypedef struct lw_requests:
        pass

    void lw_requests_limit(lw_requests *requests, uint32_t slots)


cdef extern from "request_clock.h" nogil:
    ctypedef struct lw_request_clock:
        pass


cdef extern from "os/task.h" nogil:
    ctypedef struct lw_task:
        pass

    ctypedef enum lw_task_state:
        LW_TASK_UNKNOWN

    lw_status lw_task_open(lw_task **out, uint64_t number)
    void lw_task_close(lw_task *task)
    bint lw_task_cpu(const lw_task *task, uint64_t *ns)
    lw_task_state lw_task_look(const lw_task *task, uintptr_t *address)
    bint lw_task_run_delay(const lw_task *task, uint64_t *ns, uint64_t *times)


cdef extern from "os/quota.h" nogil:
    ctypedef struct lw_quota:
        pass

    lw_quota *lw_quota_open()
    void lw_quota_close(lw_quota *quota)
    double lw_quota_cpus(const lw_quota *quota)


cdef extern from "os/thread.h" nogil:
    uint64_t lw_thread_number()


cdef extern from "cpython/gil.h":
    bint lw_gil_reads_right()


cdef extern from "poll_uv.h" nogil:
    int lw_poll_uv_descriptor(const char *library, void *uv_loop)


cdef extern from "loopwatch.h" nogil:
    ctypedef struct lw_watchdog:
        pass

    ctypedef enum lw_poll_way:
        LW_POLL_SLOT
        LW_POLL_SELECT
        LW_POLL_UV
        LW_POLL_CONTEXT

    ctypedef struct lw_options:
        uint64_t pid
        uint64_t parent_pid
        uint64_t threshold_ns
        uint64_t interval_ns
        const char *directory
        const char *header
        uint64_t part_bytes
        uint32_t parts
        uint32_t stacks
        uint32_t stack_depth
        lw_requests *requests
        bint sample
        bint causes
        bint queue
        lw_event *news

    ctypedef struct lw_loop_options:
        uintptr_t loop
        bint fresh
        const char *kind
        const char *thread
        lw_poll_way way
        int descriptor
        void *uv_loop
        const char *uv_library
        uint64_t contexts_extra
        bint inside

    lw_status lw_poll_slot_hook(const char *library, const char *anchor, const char *symbol)
    void lw_poll_slots_unhook()

    lw_status lw_watchdog_start(lw_watchdog **out, const lw_options *options)
    void lw_watchdog_stop(lw_watchdog *watchdog)
    uintptr_t lw_watchdog_loop(lw_watchdog *watchdog, unsigned index)
    void lw_watchdog_release(lw_watchdog *watchdog)
    int lw_watchdog_trouble(const lw_watchdog *watchdog)
    size_t lw_watchdog_stack(lw_watchdog *watchdog, uint32_t stack, uint32_t clearings, char *into, size_t size)
    size_t lw_watchdog_sum_up(lw_watchdog *watchdog, char *into, size_t size)
    size_t lw_watchdog_take(lw_watchdog *watchdog, char *into, size_t size)
    void lw_watchdog_forget()

    lw_status lw_loop_attach(lw_watchdog *watchdog, const lw_loop_options *options)
    void lw_loop_detach()
    unsigned lw_loops_attached()
    uintptr_t lw_loop_attached(unsigned depth)
    lw_loop_marks *lw_loop_marks_here()


cdef extern from "cpython/poll_select.h":
    object lw_poll_select_new(object select, const lw_loop_marks *marks)
    bint lw_poll_select_check(object select)


cdef extern from "cpython/running_loop.h":
    int lw_running_loop_hook(object function, void (*changed)(object loop) noexcept) except -1
    void lw_running_loop_unhook()


cdef extern from "cpython/context.h":
    int lw_context_learn(object few, object many) except -1
    long long lw_context_here() except -1


cdef extern from "cpython/badge.h":
    object lw_badge_variable()
    bint lw_badge_reuse(bint reuse)
    void lw_badge_forget()


cdef extern from "cpython/code_watch.h":
    void lw_code_watch()


cdef extern from "cpython/request.h":
    enum:
        LW_REQUEST_ARGUMENTS

    # Request itself: objects of this type and no other
    ctypedef struct lw_request:
        pass

    PyTypeObject lw_request_type
    int lw_request_prepare() except -1
    lw_requests *lw_request_table() except NULL
    int lw_request_serve(lw_request *request, PyObject *function, PyObject **arguments, size_t count) except -1
    bint lw_request_stack(const lw_request *request, uint32_t *stack, uint32_t *clearings)


cdef extern from "cpython/tracking.h":
    const char *LW_REQUEST_KEY
    PyTypeObject lw_tracking_type
    int lw_tracking_prepare() except -1
    void lw_tracking_tell(object function)


cdef extern from "cpython/walk.h":
    object lw_walk_here()
    object lw_walk_place(object line_table, int first_line, unsigned unit)
