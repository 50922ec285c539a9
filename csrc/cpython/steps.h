/* A request as an awaitable: it makes its call when it is first resumed, drives what that gave, and knows when each step
   begins and ends and when all is over: what takes a `try` around an `await`, without a frame of Python.

   Slots and methods of lw_request_type; they behave as those of the coroutine inside. */
#ifndef LW_CPYTHON_STEPS_H
#define LW_CPYTHON_STEPS_H

#include <Python.h>

#include <stdbool.h>

#include "request.h"

/* Have a request drive what `await` takes, which it was given. Takes the reference. False with TypeError, or whatever making
   an iterator of it raises. */
bool lw_steps_drive(lw_request *request, PyObject *awaitable);

PySendResult lw_steps_send_value(PyObject *self, PyObject *value, PyObject **result);
/* As `await` calls it before 3.13. NULL without an exception is the end with None, and spares making one. */
PyObject *lw_steps_next(PyObject *self);
PyObject *lw_steps_send(PyObject *self, PyObject *value);
PyObject *lw_steps_throw(PyObject *self, PyObject *const *arguments, Py_ssize_t count);
PyObject *lw_steps_close(PyObject *self, PyObject *none);

#endif
