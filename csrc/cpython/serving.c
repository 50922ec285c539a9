#include "serving.h"

#include <stddef.h>

#include "../hot.h"
#include "request.h"
#include "tracking.h"

typedef struct serving {
    PyObject_HEAD vectorcallfunc call;
    PyObject *original;   /* owned */
    PyObject *attributes; /* owned: its __dict__, NULL: there is none yet */
} serving;

/* The request itself where the app is one that has its requests known; whatever else there is goes as it went. */
LW_HOT static PyObject *call(PyObject *object, PyObject *const *arguments, size_t flags, PyObject *names)
{
    PyObject *original = ((serving *)object)->original, *name_of, *app = NULL;
    if (PyVectorcall_NARGS(flags) == 2 && names == NULL)
        app = lw_tracking_within_request(arguments[1], &name_of);
    if (app == NULL)
        return PyObject_Vectorcall(original, arguments, flags, names);
    PyObject *passed[] = {arguments[0], app};
    PyObject *coroutine = PyObject_Vectorcall(original, passed, 2, NULL);
    if (coroutine == NULL || !PyCoro_CheckExact(coroutine))
        return coroutine;
    lw_request *request = lw_request_new(arguments[0], name_of);
    if (request == NULL) {
        PyErr_Clear();
        return coroutine;
    }
    lw_request_drive(request, coroutine);
    return (PyObject *)request;
}

/* ---- the type ---- */

static PyObject *new_serving(PyTypeObject *type, PyObject *arguments, PyObject *keywords)
{
    static char *names[] = {"original", NULL};
    PyObject *original;
    if (!PyArg_ParseTupleAndKeywords(arguments, keywords, "O:Serving", names, &original))
        return NULL;
    serving *self = (serving *)type->tp_alloc(type, 0);
    if (self == NULL)
        return NULL;
    self->call = call;
    self->original = Py_NewRef(original);
    return (PyObject *)self;
}

/* As functions do. */
static PyObject *bind(PyObject *self, PyObject *instance, PyObject *Py_UNUSED(owner))
{
    return instance == NULL || instance == Py_None ? Py_NewRef(self) : PyMethod_New(self, instance);
}

static int traverse(PyObject *object, visitproc visit, void *arg)
{
    serving *self = (serving *)object;
    Py_VISIT(self->original);
    Py_VISIT(self->attributes);
    return 0;
}

static int clear(PyObject *object)
{
    serving *self = (serving *)object;
    Py_CLEAR(self->original);
    Py_CLEAR(self->attributes);
    return 0;
}

static void dealloc(PyObject *object)
{
    PyObject_GC_UnTrack(object);
    clear(object);
    Py_TYPE(object)->tp_free(object);
}

static PyGetSetDef attributes[] = {
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyDoc_STRVAR(doc, "Serving(original)\n\n"
                  "A method `run(cycle, app)` in the place of the original, a coroutine function whose\n"
                  "coroutine is all of a task. Where `app` is a `Tracking` it gives a request, which drives\n"
                  "that coroutine. `cycle` has the scope of the request as `scope`.");

PyTypeObject lw_serving_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Serving",
    .tp_doc = doc,
    .tp_basicsize = sizeof(serving),
    .tp_flags =
        Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL | Py_TPFLAGS_METHOD_DESCRIPTOR,
    .tp_vectorcall_offset = offsetof(serving, call),
    .tp_call = PyVectorcall_Call,
    .tp_descr_get = bind,
    .tp_dictoffset = offsetof(serving, attributes),
    .tp_getset = attributes,
    .tp_new = new_serving,
    .tp_traverse = traverse,
    .tp_clear = clear,
    .tp_dealloc = dealloc,
};

int lw_serving_prepare(void)
{
    return PyType_Ready(&lw_serving_type);
}
