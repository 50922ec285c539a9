#include "running_loop.h"

#include <stddef.h>

static PyMethodDef *hooked; /* borrowed: static in _asyncio */
static PyCFunction original;
static void (*told)(PyObject *loop);

/* Other interpreters share the definition, but not our state. */
static PyObject *set_running_loop(PyObject *self, PyObject *loop)
{
    PyObject *result = original(self, loop);
    if (result != NULL && told != NULL && PyInterpreterState_Get() == PyInterpreterState_Main())
        told(loop);
    return result;
}

int lw_running_loop_hook(PyObject *function, void (*changed)(PyObject *loop))
{
    if (hooked != NULL)
        return 0;
    if (!PyCFunction_Check(function) || PyCFunction_GET_FLAGS(function) != METH_O) {
        PyErr_SetString(PyExc_RuntimeError, "asyncio's _set_running_loop is not the one that is known");
        return -1;
    }
    PyMethodDef *definition = ((PyCFunctionObject *)function)->m_ml;
    /* Never taken back to NULL: a thread may stand between our entry and its use of it. */
    original = definition->ml_meth;
    told = changed;
    definition->ml_meth = set_running_loop;
    hooked = definition;
    return 0;
}

void lw_running_loop_unhook(void)
{
    if (hooked == NULL)
        return;
    /* Somebody may have hooked it after us; then we stay in the chain, and silent. */
    if (hooked->ml_meth == set_running_loop) {
        hooked->ml_meth = original;
        hooked = NULL;
    }
    told = NULL;
}
