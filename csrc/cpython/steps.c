#include "steps.h"

#include <stdbool.h>
#include <stddef.h>

typedef struct steps {
    PyObject_HEAD PyObject *function, *arguments; /* owned; NULL once called */
    PyObject *inner;                              /* owned: what is iterated; NULL before the first step */
    PyObject *whose;                              /* owned */
    const lw_step_hooks *hooks;
} steps;

static PyTypeObject steps_type;

/* As `await` says it. */
#if PY_VERSION_HEX >= 0x030E0000
static const char not_awaitable[] = "'%.100s' object can't be awaited";
#else
static const char not_awaitable[] = "object %.100s can't be used in 'await' expression";
#endif

/* A generator function's, which types.coroutine has marked. */
static bool is_generator_coroutine(PyObject *object)
{
    if (!PyGen_CheckExact(object))
        return false;
    PyObject *code = PyObject_GetAttrString(object, "gi_code");
    bool marked = code != NULL && ((PyCodeObject *)code)->co_flags & CO_ITERABLE_COROUTINE;
    Py_XDECREF(code);
    return marked;
}

/* What `await` would iterate. New reference. */
static PyObject *iterator_of(PyObject *awaitable)
{
    PyAsyncMethods *methods = Py_TYPE(awaitable)->tp_as_async;
    if (PyCoro_CheckExact(awaitable) || is_generator_coroutine(awaitable))
        return Py_NewRef(awaitable);
    if (methods != NULL && methods->am_await != NULL)
        return methods->am_await(awaitable);
    PyErr_Format(PyExc_TypeError, not_awaitable, Py_TYPE(awaitable)->tp_name);
    return NULL;
}

/* Make the call, once. False with an exception set. */
static bool begin(steps *driver)
{
    if (driver->inner != NULL)
        return true;
    if (driver->function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return false;
    }
    PyObject *function = driver->function, *arguments = driver->arguments;
    driver->function = driver->arguments = NULL;
    PyObject *awaitable = PyObject_Call(function, arguments, NULL);
    Py_DECREF(function);
    Py_DECREF(arguments);
    if (awaitable == NULL)
        return false;
    driver->inner = iterator_of(awaitable);
    Py_DECREF(awaitable);
    return driver->inner != NULL;
}

static PySendResult steps_send_value(PyObject *self, PyObject *value, PyObject **result)
{
    steps *driver = (steps *)self;
    PySendResult outcome = PYGEN_ERROR;
    *result = NULL;
    if (driver->function != NULL)
        driver->hooks->begun(driver->whose);
    driver->hooks->resumed(driver->whose);
    if (begin(driver))
        outcome = PyIter_Send(driver->inner, value, result);
    driver->hooks->suspended(driver->whose);
    if (outcome != PYGEN_NEXT)
        driver->hooks->over(driver->whose);
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

/* As `await` calls it before 3.13. A NULL without an exception is the end with None, and spares making one. */
static PyObject *steps_next(PyObject *self)
{
    PyObject *result = NULL;
    PySendResult outcome = steps_send_value(self, Py_None, &result);
    if (outcome != PYGEN_RETURN)
        return result;
    if (result != Py_None)
        raise_stop(result);
    Py_DECREF(result);
    return NULL;
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
    if (driver->inner == NULL)
        return NULL;
    PyObject *method = PyObject_GetAttrString(driver->inner, name);
    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return method;
}

static PyObject *call_timed(steps *driver, PyObject *method, PyObject *const *arguments, Py_ssize_t count)
{
    driver->hooks->resumed(driver->whose);
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)count, NULL);
    driver->hooks->suspended(driver->whose);
    Py_DECREF(method);
    return result;
}

/* Nothing more will come: it is as good as run to its end. */
static void finish(steps *driver)
{
    Py_CLEAR(driver->function);
    Py_CLEAR(driver->arguments);
    driver->hooks->over(driver->whose);
}

static PyObject *steps_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    steps *driver = (steps *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    PyObject *result = NULL, *method = inner_method(driver, "throw");
    if (method != NULL)
        result = call_timed(driver, method, arguments, count);
    else if (!PyErr_Occurred())
        raise_thrown(arguments, count);
    if (result == NULL)
        finish(driver);
    return result;
}

static PyObject *steps_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    steps *driver = (steps *)self;
    PyObject *result = NULL, *method = inner_method(driver, "close");
    if (method != NULL)
        result = call_timed(driver, method, NULL, 0);
    else if (!PyErr_Occurred())
        result = Py_NewRef(Py_None);
    finish(driver);
    return result;
}

static PyObject *steps_self(PyObject *self)
{
    return Py_NewRef(self);
}

static PyObject *inner_attribute(PyObject *self, void *name)
{
    steps *driver = (steps *)self;
    return driver->inner == NULL ? Py_NewRef(Py_None) : PyObject_GetAttrString(driver->inner, name);
}

static int steps_traverse(PyObject *self, visitproc visit, void *arg)
{
    steps *driver = (steps *)self;
    Py_VISIT(driver->function);
    Py_VISIT(driver->arguments);
    Py_VISIT(driver->inner);
    Py_VISIT(driver->whose);
    return 0;
}

static int steps_clear(PyObject *self)
{
    steps *driver = (steps *)self;
    Py_CLEAR(driver->function);
    Py_CLEAR(driver->arguments);
    Py_CLEAR(driver->inner);
    Py_CLEAR(driver->whose);
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

PyObject *lw_steps_new(PyObject *function, PyObject *arguments, PyObject *whose, const lw_step_hooks *hooks)
{
    if (PyType_Ready(&steps_type) < 0)
        return NULL;
    steps *driver = PyObject_GC_New(steps, &steps_type);
    if (driver == NULL)
        return NULL;
    driver->function = Py_NewRef(function);
    driver->arguments = Py_NewRef(arguments);
    driver->inner = NULL;
    driver->whose = Py_NewRef(whose);
    driver->hooks = hooks;
    PyObject_GC_Track(driver);
    return (PyObject *)driver;
}
