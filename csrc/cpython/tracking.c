#include "tracking.h"

#include <stdbool.h>

#include "../hot.h"
#include "request.h"
#include "telling.h"
#include "words.h"

typedef struct tracking {
    PyObject_HEAD vectorcallfunc call;
    PyObject *app, *other, *name_of; /* owned */
    PyObject *excluded;              /* owned, NULL for None */
    lw_times times;
    bool tells; /* times, in responses */
} tracking;

LW_HOT_DATA static PyObject *told_of_responses; /* owned, NULL: nobody */
LW_HOT_DATA static unsigned telling;            /* how many of these say times in their responses */

LW_HOT_DATA static struct {
    PyObject *type, *http, *path, *headers, *asgi, *websocket, *request;
} words;

void lw_tracking_tell(PyObject *function)
{
    if (function != Py_None)
        lw_request_time_exactly();
    Py_XSETREF(told_of_responses, function == Py_None ? NULL : Py_NewRef(function));
}

/* What a scope has under a key: a new reference. NULL without an exception when there is nothing. */
LW_HOT static PyObject *look_up(PyObject *scope, PyObject *key)
{
    if (PyDict_CheckExact(scope))
        return Py_XNewRef(PyDict_GetItemWithError(scope, key));
    PyObject *value = PyObject_GetItem(scope, key);
    if (value == NULL && PyErr_ExceptionMatches(PyExc_KeyError))
        PyErr_Clear();
    return value;
}

/* 1: this path is left alone; -1 with an exception. */
static int is_excluded(const tracking *self, PyObject *scope)
{
    if (self->excluded == NULL)
        return 0;
    PyObject *path = look_up(scope, words.path);
    if (path == NULL && PyErr_Occurred())
        return -1;
    if (path == NULL)
        path = PyUnicode_FromString("");
    PyObject *found = path == NULL ? NULL : PyObject_CallOneArg(self->excluded, path);
    Py_XDECREF(path);
    int excluded = found == NULL ? -1 : PyObject_IsTrue(found);
    Py_XDECREF(found);
    return excluded;
}

/* What its response is to say its times with: nothing where a middleware further out does that already. */
LW_HOT static lw_times *times_for(tracking *self, lw_request *request, bool http)
{
    if (self->times.names == NULL || !http || request->tells)
        return NULL;
    lw_request_time_exactly();
    request->tells = true;
    return &self->times;
}

/* Who is to be told of its response: nobody where a middleware further out tells already. Borrowed. */
LW_HOT static PyObject *told_for(lw_request *request)
{
    if (told_of_responses == NULL || request->told)
        return NULL;
    request->told = true;
    return told_of_responses;
}

/* Whether two scopes have the very same object under a key. Leaves no exception. */
static bool share(PyObject *scope, PyObject *other, PyObject *key)
{
    PyObject *value = look_up(scope, key), *its = value == NULL ? NULL : look_up(other, key);
    bool same = value != NULL && value == its;
    Py_XDECREF(value);
    Py_XDECREF(its);
    PyErr_Clear();
    return same;
}

/* The request that this context works for, if that is all it is known by and it is the one of this scope, or of the scope
   that this one was copied from, maybe with other headers. A new reference; NULL without an exception: it is not. */
LW_HOT static PyObject *of_context(PyObject *scope)
{
    lw_request *request = lw_request_here();
    PyObject *own = request != NULL && request->by_context ? Py_XNewRef(request->subject) : NULL;
    if (own == NULL || (own != scope && !share(scope, own, words.headers) && !share(scope, own, words.asgi)))
        Py_CLEAR(request);
    Py_XDECREF(own);
    return (PyObject *)request;
}

/* The `send` that its app is to have: the server's, or around it one that tells of its response whoever is to know. New
   reference, NULL with an exception. */
LW_HOT static PyObject *send_for(tracking *self, lw_request *request, PyObject *send, bool http)
{
    lw_times *times = times_for(self, request, http);
    PyObject *told = told_for(request);
    if (times == NULL && told == NULL)
        return Py_NewRef(send);
    return lw_telling_new(send, request, told, (PyObject *)self, times);
}

/* The request of a scope that has none yet. */
LW_HOT static PyObject *serve(tracking *self, PyObject *const *arguments, bool http)
{
    lw_request *request = lw_request_new(arguments[0], self->name_of);
    if (request == NULL)
        return NULL;
    PyObject *send = send_for(self, request, arguments[2], http);
    PyObject *passed[] = {arguments[0], arguments[1], send};
    bool served = send != NULL && PyObject_SetItem(arguments[0], words.request, (PyObject *)request) == 0 &&
                  lw_request_serve(request, self->app, passed, 3) == 0;
    Py_XDECREF(send);
    if (!served)
        Py_CLEAR(request);
    return (PyObject *)request;
}

/* A scope that has its request already. */
LW_HOT static PyObject *pass_on(tracking *self, PyObject *const *arguments, PyObject *known, bool http)
{
    if (!Py_IS_TYPE(known, &lw_request_type))
        return PyObject_Vectorcall(self->app, arguments, 3, NULL);
    PyObject *send = send_for(self, (lw_request *)known, arguments[2], http);
    if (send == NULL)
        return NULL;
    PyObject *passed[] = {arguments[0], arguments[1], send};
    PyObject *awaitable = PyObject_Vectorcall(self->app, passed, 3, NULL);
    Py_DECREF(send);
    return awaitable;
}

LW_HOT static PyObject *track(tracking *self, PyObject *const *arguments)
{
    PyObject *scope = arguments[0], *kind = look_up(scope, words.type);
    if (kind == NULL) {
        if (!PyErr_Occurred())
            PyErr_SetObject(PyExc_KeyError, words.type);
        return NULL;
    }
    bool http = lw_is_word(kind, words.http), ours = http || lw_is_word(kind, words.websocket);
    Py_DECREF(kind);
    if (!ours)
        return PyObject_Vectorcall(self->other, arguments, 3, NULL);
    int excluded = is_excluded(self, scope);
    if (excluded != 0)
        return excluded < 0 ? NULL : PyObject_Vectorcall(self->app, arguments, 3, NULL);
    lw_loop_marks *marks = telling == 0 && told_of_responses == NULL ? lw_request_may_ride() : NULL;
    PyObject *known = NULL;
    if (marks == NULL || !lw_badge_none_here()) { /* else its scope has none either: those are awaited */
        known = look_up(scope, words.request);
        if (known == NULL && !PyErr_Occurred())
            known = of_context(scope);
        if (known == NULL && PyErr_Occurred())
            return NULL;
    }
    if (known == NULL)
        return marks != NULL ? lw_request_ride(marks, self->app, arguments, self->name_of)
                             : serve(self, arguments, http);
    PyObject *awaitable =
        known == Py_None ? serve(self, arguments, http) : pass_on(self, arguments, known, http);
    Py_DECREF(known);
    return awaitable;
}

/* As daphne calls. */
LW_SELDOM static PyObject *call_by_names(tracking *self, PyObject *const *arguments, size_t count,
                                         PyObject *names)
{
    static char *const parameters[] = {"scope", "receive", "send"};
    PyObject *given[3] = {NULL, NULL, NULL};
    Py_ssize_t named = names == NULL ? 0 : PyTuple_GET_SIZE(names);
    bool fits = count + (size_t)named == 3;
    for (size_t i = 0; fits && i < 3; i++) {
        if (i < count)
            given[i] = arguments[i];
        for (Py_ssize_t n = 0; i >= count && n < named; n++)
            if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, n), parameters[i]) == 0)
                given[i] = arguments[count + (size_t)n];
        fits = given[i] != NULL;
    }
    if (fits)
        return track(self, given);
    PyErr_SetString(PyExc_TypeError, "an ASGI app is called with scope, receive and send");
    return NULL;
}

LW_HOT static PyObject *call(PyObject *self, PyObject *const *arguments, size_t flags, PyObject *names)
{
    size_t count = (size_t)PyVectorcall_NARGS(flags);
    if (count == 3 && names == NULL)
        return track((tracking *)self, arguments);
    return call_by_names((tracking *)self, arguments, count, names);
}

/* ---- the type ---- */

static PyObject *given_or_null(PyObject *object)
{
    return object == Py_None ? NULL : Py_NewRef(object);
}

static PyObject *new_tracking(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"app", "other", "name_of", "headers", "where", "excluded", NULL};
    PyObject *app, *other, *name_of, *headers, *where, *excluded;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "OOOOOO:Tracking", names, &app, &other, &name_of,
                                     &headers, &where, &excluded))
        return NULL;
    if (headers != Py_None && (!PyTuple_Check(headers) || PyTuple_GET_SIZE(headers) != LW_TIMES_NAMES)) {
        PyErr_SetString(PyExc_TypeError, "headers: a tuple of three names, or None");
        return NULL;
    }
    tracking *self = (tracking *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->call = call;
    self->app = Py_NewRef(app);
    self->other = Py_NewRef(other);
    self->name_of = Py_NewRef(name_of);
    self->times.names = given_or_null(headers);
    self->tells = self->times.names != NULL;
    telling += self->tells;
    self->times.where = given_or_null(where);
    self->excluded = given_or_null(excluded);
    return (PyObject *)self;
}

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    tracking *self = (tracking *)object;
    Py_VISIT(self->app);
    Py_VISIT(self->other);
    Py_VISIT(self->name_of);
    Py_VISIT(self->excluded);
    return lw_times_traverse(&self->times, visit, arg);
}

static int clear(PyObject *object)
{
    tracking *self = (tracking *)object;
    Py_CLEAR(self->app);
    Py_CLEAR(self->other);
    Py_CLEAR(self->name_of);
    Py_CLEAR(self->excluded);
    lw_times_clear(&self->times);
    return 0;
}

static void dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    telling -= ((tracking *)object)->tells;
    clear(object);
    Py_TYPE(object)->tp_free(object);
}

PyDoc_STRVAR(
    doc,
    "Tracking(app, other, name_of, headers, where, excluded)\n\n"
    "An ASGI app around another one, each of whose requests and websockets is one of ours. What it gives\n"
    "is to be awaited at once, in the context of the call: it is the app's own coroutine, or, where times\n"
    "are to be told or the app gives none, a request.\n\n"
    "A scope has its request under `REQUEST`, so nothing is done twice. `headers` are the names of the "
    "three\n"
    "headers that say a response's times, None: there are none; `where`, if not None, gives from the "
    "request\n"
    "what the last of them says of the place, as bytes. Scopes that `excluded` (None: nothing is) finds by\n"
    "their path are left alone, those of other kinds are passed to `other`.");

PyTypeObject lw_tracking_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Tracking",
    .tp_doc = doc,
    .tp_basicsize = sizeof(tracking),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL,
    .tp_vectorcall_offset = offsetof(tracking, call),
    .tp_call = PyVectorcall_Call,
    .tp_new = new_tracking,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_dealloc = dealloc,
};

int lw_tracking_prepare(void)
{
    bool known = lw_word(&words.type, "type") && lw_word(&words.path, "path") &&
                 lw_word(&words.headers, "headers") && lw_word(&words.asgi, "asgi") &&
                 lw_word(&words.http, "http") && lw_word(&words.websocket, "websocket") &&
                 lw_word(&words.request, LW_REQUEST_KEY);
    return known && PyType_Ready(&lw_tracking_type) == 0 && lw_telling_prepare() == 0 ? 0 : -1;
}
