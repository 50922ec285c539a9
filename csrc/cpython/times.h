/* The headers of a response that tell a request's times, as docs/headers.md defines them. GIL held. */
#ifndef LW_CPYTHON_TIMES_H
#define LW_CPYTHON_TIMES_H

#include <Python.h>

#include "request.h"

enum {
    LW_TIMES_NAMES = 3,
    LW_TIMES_KEPT = 100, /* header lines that are kept ready: times below a millisecond, as by far most are */
};

/* What the headers are made of. Zero-initialised. */
typedef struct lw_times {
    PyObject *names; /* owned: a tuple of LW_TIMES_NAMES as bytes; NULL: no headers are wanted */
    PyObject *
        where; /* owned: gives from the request what the last header says of the place, as bytes; NULL: nothing */
    /* Owned: pairs of name and value, by hundredths of a millisecond; NULL until needed. */
    PyObject *blocking[LW_TIMES_KEPT], *delay[LW_TIMES_KEPT], *both[LW_TIMES_KEPT];
} lw_times;

int lw_times_traverse(const lw_times *times, visitproc visit, void *arg);
void lw_times_clear(lw_times *times);

/* A list of `given` (NULL: none) and the headers. New reference, NULL with an exception. */
PyObject *lw_times_headers(lw_times *times, PyObject *given, const lw_request *request);

#endif
