/* A `send` that tells of the start of a response whoever is to know, in its headers first of all. */
#ifndef LW_CPYTHON_TELLING_H
#define LW_CPYTHON_TELLING_H

#include <Python.h>

#include "request.h"

enum { LW_TOLD_HEADERS = 3 };

/* Make the type ready. -1 with an exception. */
int lw_telling_prepare(void);

/* A new one around `send`: `told`, if not NULL, is called with the request when a response or a websocket starts; with
   `headers`, the names of three headers, not NULL, the response has them, and in the last one what `where`, if not NULL,
   says of the request, as bytes. All are referred to. NULL with MemoryError. */
PyObject *lw_telling_new(PyObject *send, lw_request *request, PyObject *told, PyObject *headers,
                         PyObject *where);

#endif
