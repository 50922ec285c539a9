/* An awaitable that drives another one and times its steps: from each resume to the next suspend. Before 3.14 there is
   nothing better; from 3.14 on a context watcher sees child tasks as well, and nothing is wrapped.

   Whoever awaits it, or looks at it in a traceback or a call graph, sees the inner coroutine: cr_await, cr_frame,
   cr_running, cr_code, cr_origin, __name__ and __qualname__ are its own. */
#ifndef LW_CPYTHON_STEPS_H
#define LW_CPYTHON_STEPS_H

#include <Python.h>

/* Told before and after each step, with the object that the awaitable was made for. They must not raise. */
typedef void lw_step_function(PyObject *whose);

/* A new awaitable around `awaitable`, a coroutine or anything that `await` takes. NULL with TypeError when it is none.
   GIL held. */
PyObject *lw_steps_new(PyObject *awaitable, PyObject *whose, lw_step_function *resumed,
                       lw_step_function *suspended);

#endif
