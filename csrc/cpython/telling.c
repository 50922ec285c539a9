#include "telling.h"

#include <stdbool.h>

#include "../hot.h"
#include "words.h"

typedef struct telling {
    PyObject_HEAD vectorcallfunc call;
    PyObject *send;      /* owned */
    lw_request *request; /* owned */
    PyObject *told;      /* owned, NULL: nobody */
    PyObject *owner;     /* owned: it has the times */
    lw_times *times;     /* borrowed from it, NULL: no headers */
} telling;

static PyTypeObject telling_type;

static struct {
    PyObject *type, *headers, *response, *websocket;
} words;

/* The message with the headers; itself it stays as it is. New reference. */
LW_HOT static PyObject *with_headers(const telling *self, PyObject *message)
{
    PyObject *given = PyDict_GetItemWithError(message, words.headers);
    if (given == NULL && PyErr_Occurred())
        return NULL;
    PyObject *headers = lw_times_headers(self->times, given, self->request);
    PyObject *copy = headers == NULL ? NULL : PyDict_Copy(message);
    if (copy != NULL && PyDict_SetItem(copy, words.headers, headers) < 0)
        Py_CLEAR(copy);
    Py_XDECREF(headers);
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
    PyObject *own = starts && self->times != NULL ? with_headers(self, message) : NULL;
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
    Py_VISIT(self->owner);
    return 0;
}

LW_HOT static int clear(PyObject *object)
{
    telling *self = (telling *)object;
    Py_CLEAR(self->send);
    Py_CLEAR(self->request);
    Py_CLEAR(self->told);
    Py_CLEAR(self->owner);
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

LW_HOT PyObject *lw_telling_new(PyObject *send_on, lw_request *request, PyObject *told, PyObject *owner,
                                lw_times *times)
{
    telling *self = PyObject_GC_New(telling, &telling_type);
    if (self == NULL)
        return NULL;
    self->call = send;
    self->send = Py_NewRef(send_on);
    self->request = (lw_request *)Py_NewRef((PyObject *)request);
    self->told = Py_XNewRef(told);
    self->owner = Py_NewRef(owner);
    self->times = times;
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
