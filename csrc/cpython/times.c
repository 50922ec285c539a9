#include "times.h"

#include <stdbool.h>
#include <string.h>

#include "../hot.h"

enum { MILLISECONDS_BYTES = 24 };

int lw_times_traverse(const lw_times *times, visitproc visit, void *arg)
{
    Py_VISIT(times->names);
    Py_VISIT(times->where);
    return 0; /* pairs of bytes refer to nothing else */
}

void lw_times_clear(lw_times *times)
{
    Py_CLEAR(times->names);
    Py_CLEAR(times->where);
    for (size_t i = 0; i < LW_TIMES_KEPT; i++) {
        Py_CLEAR(times->blocking[i]);
        Py_CLEAR(times->delay[i]);
        Py_CLEAR(times->both[i]);
    }
}

/* ---- values ---- */

static uint64_t hundredths(uint64_t nanoseconds)
{
    return (nanoseconds + 5000) / 10000;
}

/* Milliseconds with two decimals, whatever the locale. Their length. */
static size_t write_milliseconds(char into[MILLISECONDS_BYTES], uint64_t hundredths)
{
    char *end = into + MILLISECONDS_BYTES, *begin = end;
    for (unsigned digits = 0; digits < 3 || hundredths > 0; digits++) {
        if (digits == 2)
            *--begin = '.';
        *--begin = (char)('0' + hundredths % 10);
        hundredths /= 10;
    }
    memmove(into, begin, (size_t)(end - begin));
    return (size_t)(end - begin);
}

static PyObject *milliseconds(uint64_t hundredths)
{
    char text[MILLISECONDS_BYTES];
    size_t size = write_milliseconds(text, hundredths);
    return PyBytes_FromStringAndSize(text, (Py_ssize_t)size);
}

static char *append(char *at, const char *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* "blocking;dur=47.12;desc=..., loop-delay;dur=0.00". A line of its own is the same as one more member of a line that is
   there (RFC 9110, section 5.3). New reference. */
static PyObject *server_timing(uint64_t blocking, uint64_t delay, PyObject *where)
{
    static const char first[] = "blocking;dur=", second[] = ", loop-delay;dur=";
    char times[2][MILLISECONDS_BYTES];
    size_t sizes[] = {write_milliseconds(times[0], blocking), write_milliseconds(times[1], delay)};
    size_t place = where == NULL ? 0 : (size_t)PyBytes_GET_SIZE(where);
    size_t size = sizeof first - 1 + sizes[0] + place + sizeof second - 1 + sizes[1];
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (text == NULL)
        return NULL;
    char *at = append(PyBytes_AS_STRING(text), first, sizeof first - 1);
    at = append(at, times[0], sizes[0]);
    if (where != NULL)
        at = append(at, PyBytes_AS_STRING(where), place);
    at = append(at, second, sizeof second - 1);
    append(at, times[1], sizes[1]);
    return text;
}

/* What is said of the place: bytes, or NULL without an exception. */
static PyObject *place_of(const lw_times *times, const lw_request *request)
{
    PyObject *where = times->where == NULL ? NULL : PyObject_CallOneArg(times->where, (PyObject *)request);
    if (where == NULL || !PyBytes_Check(where)) {
        PyErr_Clear();
        Py_CLEAR(where);
    }
    return where;
}

/* ---- pairs of name and value ---- */

/* `value` is stolen, NULL: there was an exception. */
static PyObject *pair(const lw_times *times, size_t name, PyObject *value)
{
    PyObject *both = value == NULL ? NULL : PyTuple_Pack(2, PyTuple_GET_ITEM(times->names, name), value);
    Py_XDECREF(value);
    return both;
}

LW_HOT static PyObject *time_pair(const lw_times *times, size_t name, PyObject **kept, uint64_t hundredths)
{
    if (hundredths >= LW_TIMES_KEPT)
        return pair(times, name, milliseconds(hundredths));
    if (kept[hundredths] == NULL)
        kept[hundredths] = pair(times, name, milliseconds(hundredths));
    return Py_XNewRef(kept[hundredths]);
}

LW_HOT static PyObject *timing_pair(lw_times *times, const lw_request *request, uint64_t blocking,
                                    uint64_t delay)
{
    if (times->where == NULL && delay == 0 && blocking < LW_TIMES_KEPT) {
        if (times->both[blocking] == NULL)
            times->both[blocking] = pair(times, 2, server_timing(blocking, delay, NULL));
        return Py_XNewRef(times->both[blocking]);
    }
    PyObject *where = place_of(times, request),
             *timing = pair(times, 2, server_timing(blocking, delay, where));
    Py_XDECREF(where);
    return timing;
}

/* Our pairs: `ours` is filled with new references. False with an exception. */
LW_HOT static bool make_pairs(lw_times *times, const lw_request *request, PyObject *ours[LW_TIMES_NAMES])
{
    uint64_t blocking = hundredths(lw_request_blocking(request));
    uint64_t delay = hundredths(lw_request_clock_of(request)->delay_ns);
    ours[0] = time_pair(times, 0, times->blocking, blocking);
    ours[1] = time_pair(times, 1, times->delay, delay);
    ours[2] = timing_pair(times, request, blocking, delay);
    if (ours[0] != NULL && ours[1] != NULL && ours[2] != NULL)
        return true;
    for (size_t i = 0; i < LW_TIMES_NAMES; i++)
        Py_XDECREF(ours[i]);
    return false;
}

LW_HOT PyObject *lw_times_headers(lw_times *times, PyObject *given, const lw_request *request)
{
    PyObject *ours[LW_TIMES_NAMES], *headers = NULL;
    if (!make_pairs(times, request, ours))
        return NULL;
    PyObject *before = given == NULL ? PyTuple_New(0) : PySequence_Fast(given, "headers: not iterable");
    Py_ssize_t count = before == NULL ? 0 : PySequence_Fast_GET_SIZE(before);
    if (before != NULL)
        headers = PyList_New(count + LW_TIMES_NAMES);
    for (Py_ssize_t i = 0; headers != NULL && i < count; i++)
        PyList_SET_ITEM(headers, i, Py_NewRef(PySequence_Fast_GET_ITEM(before, i)));
    Py_XDECREF(before);
    for (Py_ssize_t i = 0; i < LW_TIMES_NAMES; i++) {
        if (headers != NULL)
            PyList_SET_ITEM(headers, count + i, ours[i]);
        else
            Py_DECREF(ours[i]);
    }
    return headers;
}
