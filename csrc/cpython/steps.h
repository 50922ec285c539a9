/* An awaitable that makes a call when it is first resumed, drives what that gave, and tells when each step begins and
   ends and when all is over: what takes a `try` around an `await`, without a frame of Python.

   Whoever looks at it in a traceback or a call graph sees the inner coroutine: cr_await, cr_frame, cr_running, cr_code,
   cr_origin, __name__ and __qualname__ are its own. */
#ifndef LW_CPYTHON_STEPS_H
#define LW_CPYTHON_STEPS_H

#include <Python.h>

/* Told, with the object that the awaitable was made for: before anything else; before and after each step; and after the
   last one, maybe with an exception set, which they leave alone, and maybe more than once. They must not raise. */
typedef struct lw_step_hooks {
    void (*begun)(PyObject *whose);
    void (*resumed)(PyObject *whose);
    void (*suspended)(PyObject *whose);
    void (*over)(PyObject *whose);
} lw_step_hooks;

/* A new awaitable around function(*arguments), which has to give a coroutine or something else that `await` takes; where
   it raises, or gives none, awaiting raises. `hooks` is borrowed for good. NULL with MemoryError. GIL held. */
PyObject *lw_steps_new(PyObject *function, PyObject *arguments, PyObject *whose, const lw_step_hooks *hooks);

#endif
