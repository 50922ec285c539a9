#include "context_watch.h"

static _Thread_local PyObject *current; /* owned */

void *lw_context_current(void)
{
    return current;
}

void lw_context_set_current(void *object)
{
    PyObject *before = current;
    current = Py_XNewRef((PyObject *)object);
    Py_XDECREF(before);
}

#if PY_VERSION_HEX >= 0x030E0000

static void (*told)(void *context);

static int on_event(PyContextEvent event, PyObject *context)
{
    if (event == Py_CONTEXT_SWITCHED)
        told(context == Py_None ? NULL : context);
    return 0;
}

int lw_context_watch(void (*switched)(void *context))
{
    if (told != NULL)
        return 0;
    told = switched;
    if (PyContext_AddWatcher(on_event) >= 0)
        return 0;
    told = NULL;
    return -1;
}

#else

int lw_context_watch(void (*switched)(void *context))
{
    (void)switched;
    return 1;
}

#endif
