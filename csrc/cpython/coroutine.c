#include "layout.h" /* Python.h comes first */

#include "coroutine.h"

#include <stdatomic.h>

#include "../attention.h"
#include "../hot.h"

static traverseproc traverse_before;
static sendfunc send_before;
static void (*told)(void);

/* The slot is read by whoever has the GIL, and written by any thread. */
static _Atomic(sendfunc) *send_slot(void)
{
    return (_Atomic(sendfunc) *)&PyCoro_Type.tp_as_async->am_send;
}

static PySendResult send(PyObject *self, PyObject *value, PyObject **result)
{
    if (lw_attention_needed()) {
        told();
    } else {
        atomic_store(send_slot(), send_before);
        if (lw_attention_needed()) /* since then */
            atomic_store(send_slot(), send);
    }
    return send_before(self, value, result);
}

static void look_at_steps(void)
{
    atomic_store(send_slot(), send);
}

static int traverse(PyObject *self, visitproc visit, void *arg)
{
    Py_VISIT(((PyCoroObject *)self)->cr_origin_or_finalizer);
    return traverse_before(self, visit, arg);
}

/* warnings.py looks for its lines, when it was never awaited. */
static PyObject *origin(PyObject *self, void *Py_UNUSED(unused))
{
    PyObject *known = ((PyCoroObject *)self)->cr_origin_or_finalizer;
    return Py_NewRef(known != NULL && PyTuple_CheckExact(known) ? known : Py_None);
}

static bool hide_ours(void)
{
    static PyGetSetDef attribute = {"cr_origin", origin, NULL, NULL, NULL};
    PyObject *names = lw_layout_type_names(&PyCoro_Type);
    PyObject *descriptor = names == NULL ? NULL : PyDescr_NewGetSet(&PyCoro_Type, &attribute);
    bool hidden = descriptor != NULL && PyDict_SetItemString(names, attribute.name, descriptor) == 0;
    PyType_Modified(&PyCoro_Type);
    Py_XDECREF(descriptor);
    Py_XDECREF(names);
    return hidden;
}

int lw_coroutine_prepare(void (*stepping)(void))
{
    if (told != NULL)
        return 0;
    if (!hide_ours())
        return -1;
    told = stepping;
    traverse_before = PyCoro_Type.tp_traverse;
    PyCoro_Type.tp_traverse = traverse;
    send_before = atomic_load(send_slot());
    lw_attention_call(look_at_steps);
    return 0;
}

LW_HOT bool lw_coroutine_carry(PyObject *coroutine, PyObject *object)
{
    PyCoroObject *carrier = (PyCoroObject *)coroutine;
    if (!PyCoro_CheckExact(coroutine) || carrier->cr_origin_or_finalizer != NULL)
        return false;
    carrier->cr_origin_or_finalizer = object;
    return true;
}
