#include "layout.h" /* Python.h comes first */

#include "request.h"

#include <string.h>

#include "../hot.h"
#include "../loopwatch.h"
#include "../os/clock.h"
#include "../os/thread.h"
#include "context_watch.h"
#include "steps.h"
#include "words.h"

enum { SPARE_MOST = 32 };

static PyObject *scope_word;
static lw_requests *table;  /* lives as long as the process */
static uint64_t stepped_ns; /* when some step last ended */
static bool inherited;      /* from the process that forked this one */
static bool
    asked_to_watch; /* contexts; only where somebody is told of times, since it costs every callback a little */
static bool watches; /* from 3.14 on: whoever runs in its context works for a request */
static struct {
    lw_request *kept[SPARE_MOST]; /* owned: without any reference, and nothing in them */
    unsigned count;
} spare;

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
    return slot != NULL && lw_slot_is_of(slot, request->clock.number) ? slot : NULL;
}

static inline lw_request_clock *clock_of(lw_request *request)
{
    return request->badge == NULL ? &request->clock : &request->badge->clock;
}

const lw_request_clock *lw_request_clock_of(const lw_request *request)
{
    return clock_of((lw_request *)request);
}

#if PY_VERSION_HEX >= 0x030E0000
_Static_assert(offsetof(PyGenObject, gi_frame_state) >= offsetof(lw_request, frame_state) &&
                   offsetof(PyGenObject, gi_frame_state) < offsetof(lw_request, inner),
               "where a coroutine has the state of its frame");
#endif

/* One that is over is as good as a new one, and still in the cache. */
LW_HOT static lw_request *allocate(void)
{
    if (spare.count > 0) {
        lw_request *request = spare.kept[--spare.count];
        return (lw_request *)PyObject_Init((PyObject *)request, &lw_request_type);
    }
    lw_request *request = PyObject_GC_New(lw_request, &lw_request_type);
    if (request != NULL)
        memset(request->frame_state, FRAME_CLEARED, sizeof request->frame_state);
    return request;
}

LW_HOT static void deallocate(lw_request *request)
{
    if (spare.count == SPARE_MOST ||
        request->collected) /* which the collector notes in its own head of it, too */
        PyObject_GC_Del(request);
    else
        spare.kept[spare.count++] = request;
}

LW_HOT lw_request *lw_request_new(PyObject *subject, PyObject *name_of)
{
    lw_requests *requests = lw_request_table();
    lw_request *request = requests == NULL ? NULL : allocate();
    if (request == NULL)
        return NULL;
    request->clock = (lw_request_clock){0};
    request->table = requests;
    request->subject = Py_XNewRef(subject);
    request->name_of = Py_XNewRef(name_of);
    request->badge = NULL;
    request->function = request->inner = NULL;
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++)
        request->arguments[i] = NULL;
    request->entered = request->driven = request->tells = request->told = request->collected = false;
    request->timed = true;
    request->clock.number = lw_request_begin(requests, &request->clock.slot);
    request->slot = lw_request_slot(requests, request->clock.number, request->clock.slot);
    lw_loop_marks *marks = lw_loop_marks_here();
    if (marks != NULL)
        lw_loop_request_begun(marks, request->slot != NULL);
    PyObject_GC_Track(request);
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

LW_HOT PyObject *lw_request_subject(const lw_request *request)
{
    if (request->driven && request->subject != NULL)
        return PyObject_GetAttr(request->subject, scope_word);
    return Py_NewRef(request->subject == NULL ? Py_None : request->subject);
}

/* Other people's code may be at fault: then it has none. Leaves the exception that is under way. */
LW_SELDOM static void find_name(lw_request *request, bool over)
{
    PyObject *kind, *value, *traceback;
    if (request->name_of == NULL)
        return;
    PyErr_Fetch(&kind, &value, &traceback);
    PyObject *subject = lw_request_subject(request);
    PyObject *name = subject == NULL ? NULL
                                     : PyObject_CallFunctionObjArgs(request->name_of, subject,
                                                                    over ? Py_True : Py_False, NULL);
    Py_XDECREF(subject);
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
    stepped_ns = lw_clock_now();
    lw_request_suspended(clock_of(request), lw_loop_marks_here(), stepped_ns);
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

/* Only what runs on a watched loop is timed: a thread that inherits the context does not hold it. */
LW_HOT static void context_switched(void *context)
{
    bool on_loop = lw_loop_marks_here() != NULL;
    if (!on_loop && lw_context_current() == NULL)
        return;
    lw_request *following = on_loop ? served_by(context) : NULL;
    switch_to(following);
    Py_XDECREF(following);
}

LW_HOT void lw_request_enter(lw_request *request)
{
    request->entered = true;
    request->badge = lw_badge_put_on(request, &request->clock);
    if (request->badge != NULL && watches && lw_loop_marks_here() != NULL)
        switch_to(request);
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
    return slot == NULL || !request->timed ? own : own + lw_slot_child_ns(slot);
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

LW_HOT void lw_request_drive(lw_request *request, PyObject *coroutine)
{
    request->driven = true;
    request->timed = steps_tell();
    request->inner = coroutine;
}

LW_HOT int lw_request_serve(lw_request *request, PyObject *function, PyObject *const *arguments, size_t count)
{
    if (request->function != NULL || request->inner != NULL) {
        PyErr_SetString(PyExc_RuntimeError, "a request is served once");
        return -1;
    }
    request->timed = steps_tell();
    request->function = Py_NewRef(function);
    for (size_t i = 0; i < count; i++)
        request->arguments[i] = Py_NewRef(arguments[i]);
    return 0;
}

/* What it has left behind may stall the loop when nobody can say any more what it was called. Servers leave timers, so
   that most have left something, and to ask costs a microsecond: so many a second are all that is spent on it. */
LW_HOT static bool leaves_something(const lw_request *request)
{
    enum { ASKED_MOST = 100 };
    static const uint64_t second_ns = 1000000000;
    static uint64_t since_ns, asked;
    if (request->badge == NULL || request->badge->clock.loop == NULL)
        return false; /* what it leaves cannot stall a loop that is watched */
    if (stepped_ns - since_ns >= second_ns) {
        since_ns = stepped_ns;
        asked = 0;
    }
    if (asked == ASKED_MOST || !lw_badge_is_shared(request->badge))
        return false;
    asked++;
    return true;
}

/* Its slot is free for another. */
LW_HOT static void end(lw_request *request)
{
    if (asks_name(request, slot_of(request)) || leaves_something(request))
        find_name(request, true);
    Py_CLEAR(request->subject);
    Py_CLEAR(request->name_of);
    lw_request_end(request->table, request->clock.number, request->clock.slot);
}

LW_HOT void lw_request_over(lw_request *request)
{
    leave(request);
    end(request);
    give_badge_back(request);
}

void lw_request_failed(lw_request *request)
{
    PyObject *kind, *value, *traceback;
    PyErr_Fetch(&kind, &value, &traceback);
    lw_request_over(request);
    PyErr_Restore(kind, value, traceback);
}

LW_HOT void lw_request_forget_call(lw_request *request)
{
    Py_CLEAR(request->function);
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++)
        Py_CLEAR(request->arguments[i]);
}

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

/* If it has not come to its end, nobody has asked what it was called. */
LW_HOT static void drop(lw_request *request)
{
    give_badge_back(request);
    if (request->name_of != NULL && asks_name(request, slot_of(request)))
        find_name(request, true);
}

/* In a cycle: the last moment in which it still has all that it had. */
static void finalize(PyObject *self)
{
    ((lw_request *)self)->collected = true;
    drop((lw_request *)self);
}

LW_HOT static void dealloc(PyObject *self)
{
    lw_request *request = (lw_request *)self;
    PyObject_GC_UnTrack(self);
    drop(request);
    lw_request_end(request->table, request->clock.number, request->clock.slot);
    clear_request(self);
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
    return PyLong_FromUnsignedLongLong(((lw_request *)self)->clock.number);
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

/* Of one that is driven what it drives: so do those see a coroutine who ask for its class. */
static PyObject *class_of(PyObject *self, void *Py_UNUSED(unused))
{
    const lw_request *request = (lw_request *)self;
    bool is_task = request->driven && request->inner != NULL;
    return Py_NewRef((PyObject *)Py_TYPE(is_task ? request->inner : self));
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
    {"__class__", class_of, NULL, NULL, NULL},
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
    if (!lw_word(&scope_word, "scope") || lw_badge_prepare() < 0 || PyType_Ready(&lw_request_type) < 0)
        return -1;
    lw_thread_at_fork(inherit);
    return 0;
}
