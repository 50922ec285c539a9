/* The fall-back for asyncio where there is no import slot: a callable that stands in for `selector.select`, as an
   instance attribute that hides the method. Deleting the attribute undoes it. The wait for the GIL after the poll is
   hidden inside the call, so it does not count as busy here. */
#ifndef LW_CPYTHON_POLL_SELECT_H
#define LW_CPYTHON_POLL_SELECT_H

#include <Python.h>

#include <stdbool.h>

#include "../loop.h"

/* A new callable around the bound method `select`, for the loop whose marks these are; they are only compared with
   those of the loop that runs on the calling thread, never followed. NULL with an exception set. GIL held. */
PyObject *lw_poll_select_new(PyObject *select, const lw_loop_marks *marks);

/* Whether it is such a callable. */
bool lw_poll_select_check(PyObject *select);

#endif
