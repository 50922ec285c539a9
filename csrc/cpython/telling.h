/* A `send` that tells of the start of a response whoever is to know, in its headers first of all. */
#ifndef LW_CPYTHON_TELLING_H
#define LW_CPYTHON_TELLING_H

#include <Python.h>

#include "request.h"
#include "times.h"

/* Make the type ready. -1 with an exception. */
int lw_telling_prepare(void);

/* A new one around `send`: `told`, if not NULL, is called with the request when a response or a websocket starts; with
   `times`, of the object `owner`, not NULL, the response has their headers. All are referred to. NULL with
   MemoryError. */
PyObject *lw_telling_new(PyObject *send, lw_request *request, PyObject *told, PyObject *owner,
                         lw_times *times);

#endif
