#include "steps.h"

#include <stddef.h>

#include "../hot.h"
#include "request.h"

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

/* What `await` would iterate, for other than coroutines. New reference. */
static PyObject *iterator_of(PyObject *awaitable)
{
    const PyAsyncMethods *slots = Py_TYPE(awaitable)->tp_as_async;
    if (is_generator_coroutine(awaitable))
        return Py_NewRef(awaitable);
    if (slots != NULL && slots->am_await != NULL)
        return slots->am_await(awaitable);
    PyErr_Format(PyExc_TypeError, not_awaitable, Py_TYPE(awaitable)->tp_name);
    return NULL;
}

LW_HOT bool lw_steps_drive(lw_request *request, PyObject *awaitable)
{
    if (PyCoro_CheckExact(awaitable)) {
        request->inner = awaitable;
        return true;
    }
    request->inner = iterator_of(awaitable);
    Py_DECREF(awaitable);
    return request->inner != NULL;
}

/* Make the call, once. False with an exception set. */
LW_HOT static bool begin(lw_request *request)
{
    if (request->function == NULL) {
        PyErr_SetString(PyExc_RuntimeError, "cannot reuse already awaited coroutine");
        return false;
    }
    /* Taken out of it first: what is called may close it. */
    PyObject *function = request->function, *arguments[LW_REQUEST_ARGUMENTS];
    size_t count = 0;
    request->function = NULL;
    for (size_t i = 0; i < LW_REQUEST_ARGUMENTS; i++) {
        arguments[i] = request->arguments[i];
        request->arguments[i] = NULL;
        count += arguments[i] != NULL;
    }
    PyObject *awaitable = PyObject_Vectorcall(function, arguments, count, NULL);
    Py_DECREF(function);
    for (size_t i = 0; i < count; i++)
        Py_DECREF(arguments[i]);
    return awaitable != NULL && lw_steps_drive(request, awaitable);
}

LW_HOT PySendResult lw_steps_send_value(PyObject *self, PyObject *value, PyObject **result)
{
    lw_request *request = (lw_request *)self;
    PySendResult outcome = PYGEN_ERROR;
    *result = NULL;
    if (!request->entered)
        lw_request_enter(request);
    if (request->timed)
        lw_request_step_begins(request);
    if (request->inner != NULL || begin(request))
        outcome = PyIter_Send(request->inner, value, result);
    if (request->timed)
        lw_request_step_ends(request);
    if (outcome != PYGEN_NEXT)
        lw_request_over(request);
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

PyObject *lw_steps_send(PyObject *self, PyObject *value)
{
    PyObject *result = NULL;
    PySendResult outcome = lw_steps_send_value(self, value, &result);
    if (outcome == PYGEN_NEXT)
        return result;
    if (outcome == PYGEN_RETURN) {
        raise_stop(result);
        Py_DECREF(result);
    }
    return NULL;
}

LW_HOT PyObject *lw_steps_next(PyObject *self)
{
    PyObject *result = NULL;
    PySendResult outcome = lw_steps_send_value(self, Py_None, &result);
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
static PyObject *inner_method(const lw_request *request, const char *name)
{
    if (request->inner == NULL)
        return NULL;
    PyObject *method = PyObject_GetAttrString(request->inner, name);
    if (method == NULL && PyErr_ExceptionMatches(PyExc_AttributeError))
        PyErr_Clear();
    return method;
}

static PyObject *call_timed(lw_request *request, PyObject *method, PyObject *const *arguments,
                            Py_ssize_t count)
{
    if (request->timed)
        lw_request_step_begins(request);
    PyObject *result = PyObject_Vectorcall(method, arguments, (size_t)count, NULL);
    if (request->timed)
        lw_request_step_ends(request);
    Py_DECREF(method);
    return result;
}

/* Nothing more will come: it is as good as run to its end. */
static void finish(lw_request *request)
{
    lw_request_forget_call(request);
    lw_request_over(request);
}

PyObject *lw_steps_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count)
{
    lw_request *request = (lw_request *)self;
    if (count < 1 || count > 3) {
        PyErr_Format(PyExc_TypeError, "throw expected 1 to 3 arguments, got %zd", count);
        return NULL;
    }
    PyObject *result = NULL, *method = inner_method(request, "throw");
    if (method != NULL)
        result = call_timed(request, method, arguments, count);
    else if (!PyErr_Occurred())
        raise_thrown(arguments, count);
    if (result == NULL)
        finish(request);
    return result;
}

PyObject *lw_steps_close(PyObject *self, PyObject *Py_UNUSED(none))
{
    lw_request *request = (lw_request *)self;
    PyObject *result = NULL, *method = inner_method(request, "close");
    if (method != NULL)
        result = call_timed(request, method, NULL, 0);
    else if (!PyErr_Occurred())
        result = Py_NewRef(Py_None);
    finish(request);
    return result;
}
