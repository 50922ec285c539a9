#include "poll_select.h"

#include <stddef.h>

#include "../poll.h"

typedef struct select_hook {
    PyObject_HEAD PyObject *select; /* owned */
    const lw_loop_marks *marks;
    vectorcallfunc call;
} select_hook;

/* selector.select(timeout): None waits for ever, a number of seconds above 0 for that long. */
static bool may_wait(PyObject *const *arguments, size_t count)
{
    if (PyVectorcall_NARGS(count) == 0)
        return true;
    PyObject *timeout = arguments[0];
    return !(PyLong_CheckExact(timeout) && PyObject_Not(timeout) == 1);
}

/* What is ready now: a list as from any selector, NULL without an exception when it is empty. */
static PyObject *look(const select_hook *hook)
{
    PyObject *zero = PyLong_FromLong(0),
             *ready = zero == NULL ? NULL : PyObject_CallOneArg(hook->select, zero);
    Py_XDECREF(zero);
    if (ready != NULL && PyObject_Not(ready) == 1)
        Py_CLEAR(ready);
    return ready;
}

static PyObject *hook_call(PyObject *self, PyObject *const *arguments, size_t count, PyObject *names)
{
    select_hook *hook = (select_hook *)self;
    lw_poll_target *target = lw_poll_innermost;
    lw_loop_marks *marks = target != NULL && target->marks == hook->marks ? target->marks : NULL;
    if (marks == NULL)
        return PyObject_Vectorcall(hook->select, arguments, count, names);
    if (!may_wait(arguments, count)) {
        lw_loop_poll_passed(marks, lw_clock_now());
        return PyObject_Vectorcall(hook->select, arguments, count, names);
    }
    lw_loop_poll_entered(marks, lw_clock_now());
    PyObject *result = NULL;
    if (lw_loop_catches_up(marks)) {
        result = look(hook);
        if (result == NULL)
            lw_loop_caught_up(marks);
    }
    if (result == NULL && !PyErr_Occurred())
        result = PyObject_Vectorcall(hook->select, arguments, count, names);
    lw_loop_poll_returned(marks, lw_clock_now());
    return result;
}

static int hook_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((select_hook *)self)->select);
    return 0;
}

static int hook_clear(PyObject *self)
{
    Py_CLEAR(((select_hook *)self)->select);
    return 0;
}

static void hook_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    hook_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyTypeObject hook_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.SelectHook",
    .tp_basicsize = sizeof(select_hook),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(select_hook, call),
    .tp_call = PyVectorcall_Call,
    .tp_traverse = hook_traverse,
    .tp_clear = hook_clear,
    .tp_dealloc = hook_dealloc,
};

PyObject *lw_poll_select_new(PyObject *select, const lw_loop_marks *marks)
{
    if (PyType_Ready(&hook_type) < 0)
        return NULL;
    select_hook *hook = PyObject_GC_New(select_hook, &hook_type);
    if (hook == NULL)
        return NULL;
    hook->select = Py_NewRef(select);
    hook->marks = marks;
    hook->call = hook_call;
    PyObject_GC_Track(hook);
    return (PyObject *)hook;
}

bool lw_poll_select_check(PyObject *select)
{
    return Py_IS_TYPE(select, &hook_type);
}
