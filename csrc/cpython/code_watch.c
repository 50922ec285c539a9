#include <Python.h>

#include "code_watch.h"

#include <stdatomic.h>

static _Atomic uint64_t freed;

uint64_t lw_codes_freed(void)
{
    return atomic_load(&freed);
}

#if PY_VERSION_HEX >= 0x030C0000

/* Called before the memory goes back (Objects/codeobject.c, code_dealloc). */
static int on_event(PyCodeEvent event, PyCodeObject *code)
{
    (void)code;
    if (event == PY_CODE_EVENT_DESTROY)
        atomic_fetch_add(&freed, 1);
    return 0;
}

void lw_code_watch(void)
{
    if (atomic_load(&freed) != 0)
        return;
    if (PyCode_AddWatcher(on_event) < 0)
        PyErr_Clear(); /* others have taken all there are */
    else
        atomic_store(&freed, 1);
}

#else

void lw_code_watch(void)
{
}

#endif
