/* What the interpreter's coroutines do for us, through two slots of their type (Objects/genobject.c of CPython 3.11 to
   3.15). Both are called as they were, and what was in them before is called from ours.

   tp_traverse: a coroutine may own one of our objects, which goes when the coroutine does. It stands where the origin of
   the coroutine is kept in debug mode (cr_origin), which the collector does not look at, since it is a tuple of strings:
   ours it has to see. Nobody else does: the attribute `cr_origin` tells of tuples alone.

   am_send: what runs a task's step (PyIter_Send in Modules/_asynciomodule.c). It is ours only while somebody has to know
   who takes steps, see attention.h; what a coroutine awaits is sent to by the interpreter itself, but for 3.11. */
#ifndef LW_CPYTHON_COROUTINE_H
#define LW_CPYTHON_COROUTINE_H

#include <Python.h>

#include <stdbool.h>

/* Have the slots ready; `stepping` is called before a step that somebody has to know of, in its context, with the GIL. -1
   with an exception. */
int lw_coroutine_prepare(void (*stepping)(void));

/* Have it own that object; takes the reference. False: it is no coroutine of the interpreter's own type, or one that knows
   its origin; the reference stays the caller's. With the GIL. */
bool lw_coroutine_carry(PyObject *coroutine, PyObject *object);

#endif
