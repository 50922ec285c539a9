#include "steps.h"

#include <stddef.h>

typedef struct steps {
    PyObject_HEAD PyObject *inner; /* owned: what the awaitable's __await__ gave, or the coroutine itself */
    PyObject *whose;               /* owned */
    lw_step_function *resumed, *suspended;
} steps;

static PyTypeObject steps_type;

static PySendResult steps_send_value(PyObject *self, PyObject *value, PyObject **result)
{
    steps *driver = (steps *)self;
    driver->resumed(driver->whose);
    PySendResult outcome = PyIter_Send(driver->inner, value, result);
    driver->suspended(driver->whose);
    return outcome;
}

/* The value goes into StopIteration as the interpreter would put it: a tuple or an exception is not unpacked. */
static void raise_stop(PyObject *value)
{
    if (value == Py_None) {
        PyErr_SetNone(PyExc_StopIteration);
        return;
    }
    PyObject *stop = PyObject_CallOneArg(PyExc_StopIteration, value);
    if (stop != NULL) {
        PyErr_SetObject(PyExc_StopIteration, stop);
        Py_DECREF(stop);
    }
}

static PyObject *steps_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult outcome = steps_send_value(self, value, &result);
    if (outcome == PYGEN_NEXT)
        return result;
    if (outcome == PYGEN_RETURN) {
        raise_stop(result);
        Py_DECREF(result);
    }
    return NULL;
}

static PyObject *steps_next(PyObject *self)
{
    return steps_send(self, Py_None);
}

/* What `throw` does with an iterator that has none: raise the exception where it is awaited. */
static void raise_thrown(PyObject *const *arguments, Py_ssize_t count)
{
    if (count == 1 && PyExceptionInstance_Check(arguments[0]))
        PyErr_SetObject((PyObject *)Py_TYPE(arguments[0]), arguments[0]);
    else
        PyErr_SetObject(arguments[0], count > 1 ? arguments[1] : NULL);
}

/* A method of the inner one, NULL without an exception when it has none. */
static PyObject *inner_method(steps *driver, const char *name)
{
    PyObject *method = PyObject_GetAttrString(driver->inner, name);
    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return method;
}

static PyObject *call_timed(steps *driver, PyObject *method, PyObject *const *arguments, Py_ssize_t count)
{
    driver->resumed(driver->whose);
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)count, NULL);
    driver->suspended(driver->whose);
    Py_DECREF(method);
    return result;
}

static PyObject *steps_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    steps *driver = (steps *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    PyObject *method = inner_method(driver, "throw");
    if (method != NULL)
        return call_timed(driver, method, arguments, count);
    if (!PyErr_Occurred())
        raise_thrown(arguments, count);
    return NULL;
}

static PyObject *steps_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    steps *driver = (steps *)self;
    PyObject *method = inner_method(driver, "close");
    if (method != NULL)
        return call_timed(driver, method, NULL, 0);
    return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
}

static PyObject *steps_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *inner_attribute(PyObject *self, void *name)
{
    return PyObject_GetAttrString(((steps *)self)->inner, name);
}

static int steps_traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((steps *)self)->inner);
    Py_VISIT(((steps *)self)->whose);
    return 0;
}

static int steps_clear(PyObject *self)
{
    Py_CLEAR(((steps *)self)->inner);
    Py_CLEAR(((steps *)self)->whose);
    return 0;
}

static void steps_dealloc(PyObject *self)
{
    PyObject_GC_UnTrack(self);
    steps_clear(self);
    Py_TYPE(self)->tp_free(self);
}

static PyMethodDef steps_methods[] = {
    {"send", steps_send, METH_O, "send(value) -> the next value, as the coroutine's own"},
    {"throw", (PyCFunction)(void (*)(void))steps_throw, METH_FASTCALL, "throw(exception) likewise"},
    {"close", steps_close, METH_NOARGS, "close() likewise"},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef steps_attributes[] = {
    {"cr_await", inner_attribute, NULL, NULL, "cr_await"},
    {"cr_frame", inner_attribute, NULL, NULL, "cr_frame"},
    {"cr_running", inner_attribute, NULL, NULL, "cr_running"},
    {"cr_code", inner_attribute, NULL, NULL, "cr_code"},
    {"cr_origin", inner_attribute, NULL, NULL, "cr_origin"},
    {"__name__", inner_attribute, NULL, NULL, "__name__"},
    {"__qualname__", inner_attribute, NULL, NULL, "__qualname__"},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyAsyncMethods steps_async = {.am_await = steps_self, .am_send = steps_send_value};

static PyTypeObject steps_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Steps",
    .tp_basicsize = sizeof(steps),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_as_async = &steps_async,
    .tp_iter = steps_self,
    .tp_iternext = steps_next,
    .tp_methods = steps_methods,
    .tp_getset = steps_attributes,
    .tp_traverse = steps_traverse,
    .tp_clear = steps_clear,
    .tp_dealloc = steps_dealloc,
};

/* As `await` says it. */
#if PY_VERSION_HEX >= 0x030E0000
static const char not_awaitable[] = "'%.100s' object can't be awaited";
#else
static const char not_awaitable[] = "object %.100s can't be used in 'await' expression";
#endif

/* What `await` would iterate. New reference. */
static PyObject *iterator_of(PyObject *awaitable)
{
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    if (PyCoro_CheckExact(awaitable))
        return Py_NewRef(awaitable);
    if (methods != NULL && methods->am_await != NULL)
        return methods->am_await(awaitable);
    PyErr_Format(PyExc_TypeError, not_awaitable, Py_TYPE(awaitable)->tp_name);
    return NULL;
}

PyObject *lw_steps_new(PyObject *awaitable, PyObject *whose, lw_step_function *resumed,
                       lw_step_function *suspended)
{
    if (PyType_Ready(&steps_type) < 0)
        return NULL;
    PyObject *inner = iterator_of(awaitable);
    if (inner == NULL)
        return NULL;
    steps *driver = PyObject_GC_New(steps, &steps_type);
    if (driver == NULL) {
        Py_DECREF(inner);
        return NULL;
    }
    driver->inner = inner;
    driver->whose = Py_NewRef(whose);
    driver->resumed = resumed;
    driver->suspended = suspended;
    PyObject_GC_Track(driver);
    return (PyObject *)driver;
}
