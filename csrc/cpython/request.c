#include "layout.h" /* Python.h comes first */

#include "request.h"

#include "../attention.h"
#include "../hot.h"
#include "../loopwatch.h"
#include "../os/clock.h"
#include "../os/thread.h"
#include "context_watch.h"
#include "coroutine.h"
#include "steps.h"
#include "words.h"

enum { SPARE_MOST = 32 };

static PyObject *call_word;
LW_HOT_DATA static struct {
    unsigned version;   /* of a type, which no other has, nor this one once it is changed; 0: of none */
    PyObject *function; /* its __call__ in Python, borrowed; NULL: it has none */
} called;
LW_HOT_DATA static lw_requests *table; /* lives as long as the process */
LW_HOT_DATA static bool inherited;     /* from the process that forked this one */
static bool
    asked_to_watch; /* contexts; only where somebody is told of times, since it costs every callback a little */
LW_HOT_DATA static bool watches;      /* from 3.14 on: whoever runs in its context works for a request */
static lw_request *spare[SPARE_MOST]; /* owned: without any reference, and nothing in them */
LW_HOT_DATA static unsigned spares;

/* What a request has left behind may stall the loop when nobody can say any more what it was called. Servers leave timers,
   so that most have left something, and to ask costs a microsecond: so many a second are all that is spent on it, as long
   as requests begin. */
enum { ASKED_MOST = 100 };
LW_HOT_DATA static struct {
    uint64_t since_ns;
    unsigned count;
} asked;

/* ---- its place in the table ---- */

static void inherit(void)
{
    inherited = true;
}

lw_requests *lw_request_table(void)
{
    if (table == NULL || inherited) {
        if (lw_requests_create(&table) != LW_OK) {
            PyErr_NoMemory();
            return NULL;
        }
        inherited = false;
    }
    return table;
}

static inline lw_slot *slot_of(const lw_request *request)
{
    lw_slot *slot = request->slot;
    return slot != NULL && lw_slot_is_of(slot, request->number) ? slot : NULL;
}

static inline lw_request_clock *clock_of(lw_request *request)
{
    return request->badge == NULL ? &request->clock : &request->badge->clock;
}

const lw_request_clock *lw_request_clock_of(const lw_request *request)
{
    return clock_of((lw_request *)request);
}

LW_SELDOM static lw_request *allocate_new(void)
{
    lw_request *request = PyObject_GC_New(lw_request, &lw_request_type);
    if (request == NULL)
        return NULL;
    request->badge = NULL;
    request->function = request->inner = NULL;
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++)
        request->arguments[i] = NULL;
    return request;
}

/* One that is over is as good as a new one, and still in the cache. It has its head, and nothing that it owns. */
LW_HOT static lw_request *allocate(void)
{
    if (spares == 0)
        return allocate_new();
    return (lw_request *)PyObject_Init((PyObject *)spare[--spares], &lw_request_type);
}

LW_HOT static void deallocate(lw_request *request)
{
    if (spares == SPARE_MOST || request->collected) /* which the collector notes in its own head of it, too */
        PyObject_GC_Del(request);
    else
        spare[spares++] = request;
}

static inline void allow_to_ask(uint64_t now)
{
    static const uint64_t second_ns = 1000000000;
    if (now < asked.since_ns + second_ns)
        return;
    asked.since_ns = now;
    asked.count = 0;
}

/* Begin one on the loop with these marks, NULL: on none; its clock is not set. NULL with MemoryError. */
LW_HOT static inline lw_request *begin(PyObject *subject, PyObject *name_of, lw_loop_marks *marks)
{
    lw_requests *requests = lw_request_table();
    lw_request *request = requests == NULL ? NULL : allocate();
    if (request == NULL)
        return NULL;
    request->subject = Py_XNewRef(subject);
    request->name_of = Py_XNewRef(name_of);
    request->entered = request->by_context = request->awaited = request->tells = request->told =
        request->collected = false;
    request->timed = true;
    request->table = requests;
    request->number = lw_request_begin(requests, &request->slot_number);
    request->slot = lw_request_slot(requests, request->number, request->slot_number);
    if (marks != NULL) {
        lw_loop_request_begun(marks, request->slot != NULL);
        allow_to_ask(atomic_load_explicit(&marks->started_ns, memory_order_relaxed));
    }
    PyObject_GC_Track(request);
    return request;
}

static void start_clock(lw_request *request)
{
    request->clock = (lw_request_clock){.number = request->number, .slot = request->slot_number};
}

LW_HOT lw_request *lw_request_new(PyObject *subject, PyObject *name_of)
{
    lw_request *request = begin(subject, name_of, lw_loop_marks_here());
    if (request != NULL)
        start_clock(request);
    return request;
}

/* ---- its name ---- */

static void take_name(lw_request *request, PyObject *name)
{
    PyObject *bytes = PyUnicode_AsEncodedString(name, "utf-8", "replace");
    if (bytes == NULL)
        return;
    uint32_t endpoint =
        lw_endpoint(request->table, PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    lw_slot *slot = slot_of(request);
    clock_of(request)->endpoint = endpoint;
    if (slot != NULL)
        lw_slot_name(slot, endpoint);
}

/* Other people's code may be at fault: then it has none. Leaves the exception that is under way. */
LW_SELDOM static void find_name(lw_request *request, bool over)
{
    PyObject *kind, *value, *traceback;
    if (request->name_of == NULL)
        return;
    PyErr_Fetch(&kind, &value, &traceback);
    PyObject *subject = Py_NewRef(request->subject == NULL ? Py_None : request->subject);
    PyObject *name = PyObject_CallFunctionObjArgs(request->name_of, subject, over ? Py_True : Py_False, NULL);
    Py_DECREF(subject);
    if (name != NULL && PyUnicode_Check(name))
        take_name(request, name);
    Py_XDECREF(name);
    PyErr_Clear();
    PyErr_Restore(kind, value, traceback);
}

/* Whether it matters what it is called. Without a slot it cannot be marked, so the name is found beforehand. */
static inline bool asks_name(const lw_request *request, const lw_slot *slot)
{
    return slot == NULL ? lw_request_clock_of(request)->endpoint == LW_NO_ENDPOINT : lw_slot_asks_name(slot);
}

/* ---- its time ---- */

LW_HOT void lw_request_step_begins(lw_request *request)
{
    const lw_slot *slot = slot_of(request);
    if (asks_name(request, slot))
        find_name(request, false);
    lw_request_resumed(clock_of(request), lw_loop_marks_here(), slot, lw_clock_now());
}

LW_HOT void lw_request_step_ends(lw_request *request)
{
    lw_request_suspended(clock_of(request), lw_loop_marks_here(), lw_clock_now());
}

/* This thread works for that request from now on, NULL: for none. */
LW_HOT static void switch_to(lw_request *following)
{
    lw_request *before = lw_context_current();
    if (before == following)
        return;
    if (before != NULL)
        lw_request_step_ends(before);
    lw_context_set_current(following);
    if (following != NULL)
        lw_request_step_begins(following);
}

/* Whom a context works for. A new reference, NULL: none of ours, or one that is over. */
LW_HOT static lw_request *served_by(PyObject *context)
{
    const lw_badge *badge = context == NULL ? NULL : lw_badge_worn(context);
    return badge == NULL ? NULL : (lw_request *)Py_XNewRef((PyObject *)badge->wearer);
}

LW_HOT lw_request *lw_request_here(void)
{
    return served_by(PyThreadState_Get()->context);
}

/* Only what runs on a watched loop is timed: a thread that inherits the context does not hold it. Nor is what rides: that
   is over when its coroutine goes, so nobody else may hold it. */
LW_HOT static void context_switched(void *context)
{
    bool on_loop = lw_loop_marks_here() != NULL;
    if (!on_loop && lw_context_current() == NULL)
        return;
    lw_request *following = on_loop ? served_by(context) : NULL;
    if (following != NULL && !following->awaited)
        Py_CLEAR(following);
    switch_to(following);
    Py_XDECREF(following);
}

LW_HOT static void begin_time(lw_request *request)
{
    if (request->badge != NULL && watches && lw_loop_marks_here() != NULL)
        switch_to(request);
}

LW_HOT static inline void put_badge_on(lw_request *request)
{
    request->entered = true;
    request->badge = lw_badge_put_on(request, request->number, request->slot_number);
}

LW_HOT void lw_request_enter(lw_request *request)
{
    put_badge_on(request);
    if (request->awaited)
        begin_time(request);
}

LW_HOT static void leave(lw_request *request)
{
    if (request->badge == NULL)
        return;
    lw_badge_take_off(request->badge);
    if (watches) /* also where the watch has ended meanwhile: what was begun is taken back */
        context_switched(PyThreadState_Get()->context);
}

/* It is over: from now on its own clock has its times. */
LW_HOT static void give_badge_back(lw_request *request)
{
    lw_badge *badge = request->badge;
    if (badge == NULL)
        return;
    request->clock = badge->clock;
    request->badge = NULL;
    lw_badge_give_back(badge);
}

void lw_request_time_exactly(void)
{
    if (asked_to_watch)
        return;
    asked_to_watch = true;
    watches = lw_context_watch(context_switched) == 0;
    PyErr_Clear();
}

uint64_t lw_request_blocking(const lw_request *request)
{
    const lw_slot *slot = slot_of(request);
    uint64_t own = lw_request_own(lw_request_clock_of(request), lw_clock_now());
    return slot == NULL || !request->timed ? own : own + lw_slot_seen_ns(slot);
}

bool lw_request_stack(const lw_request *request, uint32_t *stack, uint32_t *clearings)
{
    const lw_slot *slot = slot_of(request);
    return slot != NULL && lw_slot_stack(slot, stack, clearings);
}

/* ---- its beginning and its end ---- */

LW_HOT static bool steps_tell(void)
{
    return !watches || lw_loop_marks_here() == NULL;
}

LW_HOT int lw_request_serve(lw_request *request, PyObject *function, PyObject *const *arguments, size_t count)
{
    if (request->awaited) {
        PyErr_SetString(PyExc_RuntimeError, "a request is served once");
        return -1;
    }
    request->awaited = true;
    request->timed = steps_tell();
    request->function = Py_NewRef(function);
    for (size_t i = 0; i < count; i++)
        request->arguments[i] = Py_NewRef(arguments[i]);
    return 0;
}

LW_HOT static inline bool leaves_something(const lw_request *request)
{
    if (asked.count == ASKED_MOST || request->badge == NULL || !lw_badge_is_shared(request->badge) ||
        lw_loop_marks_here() == NULL) /* what it leaves cannot stall a loop that is watched */
        return false;
    asked.count++;
    return true;
}

/* Its slot is free for another. */
LW_HOT static inline void end(lw_request *request)
{
    if (asks_name(request, slot_of(request)) || leaves_something(request))
        find_name(request, true);
    Py_CLEAR(request->subject);
    Py_CLEAR(request->name_of);
    lw_request_end(request->table, request->number, request->slot_number);
}

LW_HOT void lw_request_over(lw_request *request)
{
    leave(request);
    end(request);
    give_badge_back(request);
}

LW_HOT void lw_request_forget_call(lw_request *request)
{
    Py_CLEAR(request->function);
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++)
        Py_CLEAR(request->arguments[i]);
}

/* ---- riding ---- */

static inline bool rides(const lw_request *request)
{
    return !request->awaited && request->badge != NULL;
}

/* It takes a step, now or a moment ago. */
LW_SELDOM static void notice(lw_request *request, lw_loop_marks *marks)
{
    const lw_slot *slot = slot_of(request);
    if (asks_name(request, slot))
        find_name(request, false);
    lw_request_ready(clock_of(request), marks, slot);
}

/* Some task takes a step, and somebody has to know who does. A request's own task is the one in whose context it began. */
static void step_begins(void)
{
    lw_loop_marks *marks = lw_loop_marks_here();
    lw_request *request = marks == NULL ? NULL : lw_request_here();
    if (request != NULL && rides(request) && lw_badge_is_here(request->badge))
        notice(request, marks);
    Py_XDECREF((PyObject *)request);
}

/* What the app has given is no coroutine that can be ridden on, or, NULL, an exception. */
LW_SELDOM static PyObject *await_instead(lw_request *request, PyObject *awaitable)
{
    request->awaited = true;
    request->timed = steps_tell();
    begin_time(request);
    if (awaitable == NULL || !lw_steps_drive(request, awaitable)) {
        lw_request_over(request);
        Py_CLEAR(request);
    }
    return (PyObject *)request;
}

/* Also gives the type a version, if it has none (_PyType_Lookup in Objects/typeobject.c). */
LW_SELDOM static void look_call_up(PyTypeObject *type)
{
    PyObject *function = _PyType_Lookup(type, call_word);
    called.function = function != NULL && PyFunction_Check(function) ? function : NULL;
    called.version = type->tp_version_tag;
}

/* As the interpreter does where it can, without a tuple of the arguments (slot_tp_call in Objects/typeobject.c, which is
   called for an instance whose class has a __call__ in Python), and like it keeping what the same type had. */
LW_HOT static PyObject *call_app(PyObject *app, PyObject *const *arguments)
{
    if (called.version == 0 || called.version != Py_TYPE(app)->tp_version_tag)
        look_call_up(Py_TYPE(app));
    PyObject *function = called.function;
    if (function == NULL)
        return PyObject_Vectorcall(app, arguments, 3, NULL);
    PyObject *passed[] = {app, arguments[0], arguments[1], arguments[2]};
    Py_INCREF(function);
    PyObject *result = PyObject_Vectorcall(function, passed, 4, NULL);
    Py_DECREF(function);
    return result;
}

LW_HOT PyObject *lw_request_ride(lw_loop_marks *marks, PyObject *app, PyObject *const *arguments,
                                 PyObject *name_of)
{
    lw_request *request = begin(arguments[0], name_of, marks);
    if (request == NULL)
        return NULL;
    request->by_context = true;
    if (request->slot == NULL) { /* its name has to be known beforehand, so its steps have to be seen */
        start_clock(request);
        (void)lw_request_serve(request, app, arguments, 3);
        return (PyObject *)request;
    }
    put_badge_on(request);
    if (request->badge == NULL)
        start_clock(request);
    if (marks->window.open)
        notice(request, marks);
    PyObject *awaitable = call_app(app, arguments);
    if (awaitable != NULL && lw_coroutine_carry(awaitable, (PyObject *)request))
        return awaitable;
    return await_instead(request, awaitable);
}

/* It goes, as a rule at the end of its last step, else long after that. */
LW_SELDOM static void notice_last_step(lw_request *request)
{
    lw_loop_marks *marks = lw_loop_marks_here();
    if (marks != NULL && marks->window.open && lw_badge_is_here(request->badge))
        notice(request, marks);
}

/* An exception may be under way, which ends the coroutine's frame. */
LW_HOT static inline void end_ride(lw_request *request)
{
    lw_badge *badge = request->badge;
    badge->wearer = NULL; /* first: whoever found one that goes would hold it */
    if (lw_attention_needed())
        notice_last_step(request);
    lw_badge_take_off(badge);
    end(request);
    request->badge = NULL;
    if (request->collected)
        request->clock = badge->clock; /* for whoever still has it */
    lw_badge_give_back(badge);
}

/* ---- the collector ---- */

LW_HOT static int clear_request(PyObject *self)
{
    lw_request *request = (lw_request *)self;
    give_badge_back(request); /* first: what ends with the rest must not find this one any more */
    Py_CLEAR(request->subject);
    Py_CLEAR(request->name_of);
    lw_request_forget_call(request);
    Py_CLEAR(request->inner);
    return 0;
}

/* It goes. If it has not come to its end, nobody has asked what it was called. */
LW_HOT static void drop(lw_request *request)
{
    give_badge_back(request);
    if (request->name_of != NULL && asks_name(request, slot_of(request)))
        find_name(request, true);
}

/* In a cycle: the last moment in which it still has all that it had. */
static void finalize(PyObject *self)
{
    lw_request *request = (lw_request *)self;
    request->collected = true;
    if (rides(request))
        end_ride(request);
    else
        drop(request);
}

LW_HOT static void dealloc(PyObject *self)
{
    lw_request *request = (lw_request *)self;
    PyObject_GC_UnTrack(self);
    if (rides(request)) {
        end_ride(request);
    } else {
        drop(request);
        lw_request_end(request->table, request->number, request->slot_number);
        clear_request(self);
    }
    deallocate(request);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    lw_request *request = (lw_request *)self;
    Py_VISIT(request->subject);
    Py_VISIT(request->name_of);
    Py_VISIT(request->function);
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++)
        Py_VISIT(request->arguments[i]);
    Py_VISIT(request->inner);
    return 0;
}

/* ---- the type ---- */

static PyObject *new_of_python(PyTypeObject *Py_UNUSED(type), PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"subject", "name_of", NULL};
    PyObject *subject = NULL, *name_of = NULL;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "|OO:Request", names, &subject, &name_of))
        return NULL;
    return (PyObject *)lw_request_new(subject, name_of == Py_None ? NULL : name_of);
}

static PyObject *number(PyObject *self, void *Py_UNUSED(unused))
{
    return PyLong_FromUnsignedLongLong(((lw_request *)self)->number);
}

static PyObject *blocking_ns(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLongLong(lw_request_blocking((lw_request *)self));
}

static PyObject *delay_ns(PyObject *self, PyObject *Py_UNUSED(none))
{
    return PyLong_FromUnsignedLongLong(lw_request_clock_of((lw_request *)self)->delay_ns);
}

static PyObject *end_for_python(PyObject *self, PyObject *Py_UNUSED(none))
{
    end((lw_request *)self);
    Py_RETURN_NONE;
}

static PyObject *inner_attribute(PyObject *self, void *name)
{
    const lw_request *request = (lw_request *)self;
    return request->inner == NULL ? Py_NewRef(Py_None) : PyObject_GetAttrString(request->inner, name);
}

static PyMethodDef methods[] = {
    {"blocking_ns", blocking_ns, METH_NOARGS,
     "How long its own code, child tasks included, has held the loop so far."},
    {"delay_ns", delay_ns, METH_NOARGS, "How long, at most, stalls of others have kept it waiting so far."},
    {"end", end_for_python, METH_NOARGS, "It is over: its place in the table is free for another."},
    {"send", lw_steps_send, METH_O, "send(value) -> the next value, as the coroutine's own"},
    {"throw", (PyCFunction)(void (*)(void))lw_steps_throw, METH_FASTCALL, "throw(exception) likewise"},
    {"close", lw_steps_close, METH_NOARGS, "close() likewise"},
    {NULL, NULL, 0, NULL},
};

/* Whoever looks at it in a traceback or a call graph sees the inner coroutine. */
static PyGetSetDef attributes[] = {
    {"number", number, NULL, "Unique in this process, from 1.", NULL},
    {"cr_await", inner_attribute, NULL, NULL, "cr_await"},
    {"cr_frame", inner_attribute, NULL, NULL, "cr_frame"},
    {"cr_running", inner_attribute, NULL, NULL, "cr_running"},
    {"cr_suspended", inner_attribute, NULL, NULL, "cr_suspended"},
    {"cr_state", inner_attribute, NULL, NULL, "cr_state"}, /* 3.15 */
    {"cr_code", inner_attribute, NULL, NULL, "cr_code"},
    {"cr_origin", inner_attribute, NULL, NULL, "cr_origin"},
    {"__name__", inner_attribute, NULL, NULL, "__name__"},
    {"__qualname__", inner_attribute, NULL, NULL, "__qualname__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods awaiting = {.am_await = PyObject_SelfIter, .am_send = lw_steps_send_value};

PyTypeObject lw_request_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Request",
    .tp_doc = "Request(subject=None, name_of=None): one request in flight, on the thread that serves it.",
    .tp_basicsize = sizeof(lw_request),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_as_async = &awaiting,
    .tp_iter = PyObject_SelfIter,
    .tp_iternext = lw_steps_next,
    .tp_methods = methods,
    .tp_getset = attributes,
    .tp_new = new_of_python,
    .tp_traverse = traverse,
    .tp_clear = clear_request,
    .tp_dealloc = dealloc,
    .tp_finalize = finalize,
};

int lw_request_prepare(void)
{
    if (!lw_word(&call_word, "__call__") || lw_badge_prepare() < 0 || PyType_Ready(&lw_request_type) < 0)
        return -1;
    lw_thread_at_fork(inherit);
    return lw_coroutine_prepare(step_begins);
}
