#include "telling.h"

#include <stdbool.h>
#include <string.h>

#include "../hot.h"
#include "words.h"

enum { MILLISECONDS_BYTES = 24 };

typedef struct telling {
    PyObject_HEAD vectorcallfunc call;
    PyObject *send;                   /* owned */
    lw_request *request;              /* owned */
    PyObject *told, *headers, *where; /* owned, NULL: none */
} telling;

static PyTypeObject telling_type;

static struct {
    PyObject *type, *headers, *response, *websocket;
} words;

/* ---- the headers ---- */

/* With two decimals, whatever the locale, backwards from `end`: where it begins. */
LW_HOT static char *write_milliseconds(char *end, uint64_t nanoseconds)
{
    uint64_t hundredths = (nanoseconds + 5000) / 10000;
    for (unsigned digits = 0; digits < 3 || hundredths > 0; digits++) {
        if (digits == 2)
            *--end = '.';
        *--end = (char)('0' + hundredths % 10);
        hundredths /= 10;
    }
    return end;
}

static char *append(char *at, const char *bytes, size_t size)
{
    memcpy(at, bytes, size);
    return at + size;
}

/* "blocking;dur=47.12;desc=..., loop-delay;dur=0.00". A line of its own is the same as one more member of a line that is
   there (RFC 9110, section 5.3). New reference. */
LW_HOT static PyObject *server_timing(PyObject *blocking, PyObject *where, PyObject *delay)
{
    static const char first[] = "blocking;dur=", second[] = ", loop-delay;dur=";
    size_t place = where == NULL ? 0 : (size_t)PyBytes_GET_SIZE(where);
    size_t sizes[] = {(size_t)PyBytes_GET_SIZE(blocking), (size_t)PyBytes_GET_SIZE(delay)};
    size_t size = sizeof first - 1 + sizes[0] + place + sizeof second - 1 + sizes[1];
    PyObject *text = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (text == NULL)
        return NULL;
    char *at = append(PyBytes_AS_STRING(text), first, sizeof first - 1);
    at = append(at, PyBytes_AS_STRING(blocking), sizes[0]);
    if (where != NULL)
        at = append(at, PyBytes_AS_STRING(where), place);
    at = append(at, second, sizeof second - 1);
    append(at, PyBytes_AS_STRING(delay), sizes[1]);
    return text;
}

LW_HOT static PyObject *milliseconds(uint64_t nanoseconds)
{
    char text[MILLISECONDS_BYTES], *end = text + sizeof text, *begin = write_milliseconds(end, nanoseconds);
    return PyBytes_FromStringAndSize(begin, end - begin);
}

/* Add (name, value) to the headers. `value` is stolen, NULL: there was an exception. */
LW_HOT static bool add(PyObject *headers, PyObject *name, PyObject *value)
{
    PyObject *pair = value == NULL ? NULL : PyTuple_New(2);
    if (pair == NULL) {
        Py_XDECREF(value);
        return false;
    }
    PyTuple_SET_ITEM(pair, 0, Py_NewRef(name));
    PyTuple_SET_ITEM(pair, 1, value);
    bool added = PyList_Append(headers, pair) == 0;
    Py_DECREF(pair);
    return added;
}

/* What is said of the place: bytes, or NULL without an exception. */
static PyObject *place_of(const telling *self)
{
    PyObject *where =
        self->where == NULL ? NULL : PyObject_CallOneArg(self->where, (PyObject *)self->request);
    if (where == NULL || !PyBytes_Check(where)) {
        PyErr_Clear();
        Py_CLEAR(where);
    }
    return where;
}

LW_HOT static bool add_times(const telling *self, PyObject *headers)
{
    PyObject *blocking = milliseconds(lw_request_blocking(self->request));
    PyObject *delay = milliseconds(self->request->clock.delay_ns), *where = place_of(self);
    PyObject *timing = blocking == NULL || delay == NULL ? NULL : server_timing(blocking, where, delay);
    Py_XDECREF(where);
    bool added = add(headers, PyTuple_GET_ITEM(self->headers, 0), blocking);
    added &= add(headers, PyTuple_GET_ITEM(self->headers, 1), delay);
    return add(headers, PyTuple_GET_ITEM(self->headers, 2), timing) && added;
}

/* The message with the headers; itself it stays as it is. New reference. */
LW_HOT static PyObject *with_headers(const telling *self, PyObject *message)
{
    PyObject *given = PyDict_GetItemWithError(message, words.headers);
    if (given == NULL && PyErr_Occurred())
        return NULL;
    PyObject *headers = given == NULL ? PyList_New(0) : PySequence_List(given);
    PyObject *copy = headers == NULL ? NULL : PyDict_Copy(message);
    bool done = copy != NULL && add_times(self, headers) && PyDict_SetItem(copy, words.headers, headers) == 0;
    Py_XDECREF(headers);
    if (!done)
        Py_CLEAR(copy);
    return copy;
}

/* ---- the call ---- */

static void tell(const telling *self)
{
    PyObject *result = PyObject_CallOneArg(self->told, (PyObject *)self->request);
    if (result == NULL)
        PyErr_Clear();
    Py_XDECREF(result);
}

/* Whatever is wrong with a message is the server's to say: such a one is passed on as it is. */
LW_HOT static PyObject *send(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
    const telling *self = (telling *)object;
    if (PyVectorcall_NARGS(flags) != 1 || names != NULL || !PyDict_Check(arguments[0]))
        return PyObject_Vectorcall(self->send, arguments, flags & ~PY_VECTORCALL_ARGUMENTS_OFFSET, names);
    PyObject *message = arguments[0], *kind = PyDict_GetItemWithError(message, words.type);
    PyErr_Clear();
    bool starts = lw_is_word(kind, words.response);
    if (self->told != NULL && (starts || lw_is_word(kind, words.websocket)))
        tell(self);
    PyObject *own = starts && self->headers != NULL ? with_headers(self, message) : NULL;
    if (own == NULL)
        PyErr_Clear();
    PyObject *awaitable = PyObject_CallOneArg(self->send, own == NULL ? message : own);
    Py_XDECREF(own);
    return awaitable;
}

/* ---- the type ---- */

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    telling *self = (telling *)object;
    Py_VISIT(self->send);
    Py_VISIT(self->request);
    Py_VISIT(self->told);
    Py_VISIT(self->headers);
    Py_VISIT(self->where);
    return 0;
}

LW_HOT static int clear(PyObject *object)
{
    telling *self = (telling *)object;
    Py_CLEAR(self->send);
    Py_CLEAR(self->request);
    Py_CLEAR(self->told);
    Py_CLEAR(self->headers);
    Py_CLEAR(self->where);
    return 0;
}

LW_HOT static void dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    clear(object);
    PyObject_GC_Del(object);
}

static PyTypeObject telling_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Telling",
    .tp_doc =
        "A `send` that tells of the start of a response whoever is to know, in its headers first of all.",
    .tp_basicsize = sizeof(telling),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL |
                Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_vectorcall_offset = offsetof(telling, call),
    .tp_call = PyVectorcall_Call,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_dealloc = dealloc,
};

LW_HOT PyObject *lw_telling_new(PyObject *send_on, lw_request *request, PyObject *told, PyObject *headers,
                                PyObject *where)
{
    telling *self = PyObject_GC_New(telling, &telling_type);
    if (self == NULL)
        return NULL;
    self->call = send;
    self->send = Py_NewRef(send_on);
    self->request = (lw_request *)Py_NewRef((PyObject *)request);
    self->told = Py_XNewRef(told);
    self->headers = Py_XNewRef(headers);
    self->where = Py_XNewRef(where);
    PyObject_GC_Track(self);
    return (PyObject *)self;
}

int lw_telling_prepare(void)
{
    bool known = lw_word(&words.type, "type") && lw_word(&words.headers, "headers") &&
                 lw_word(&words.response, "http.response.start") &&
                 lw_word(&words.websocket, "websocket.accept");
    return known && PyType_Ready(&telling_type) == 0 ? 0 : -1;
}
