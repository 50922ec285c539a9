/* Being told when a loop starts and stops running on a thread.

   Every loop calls `_set_running_loop(loop)` and `_set_running_loop(None)` on its own thread. The function is
   _asyncio's, one C function; asyncio looks it up at each call, uvloop and others keep the object that they found
   when they were imported. So it is not the name that is hooked but the function itself: the entry of its method
   definition (Modules/_asynciomodule.c), which every caller goes through whenever it was imported, and nothing that
   Python code can see is replaced. */
#ifndef LW_CPYTHON_RUNNING_LOOP_H
#define LW_CPYTHON_RUNNING_LOOP_H

#include <Python.h>

/* Call `changed` after every successful call of `function`, `_asyncio._set_running_loop`, in the main interpreter.
   `changed` must not raise. -1 with RuntimeError when it is no such function. Again: no effect. GIL held. */
int lw_running_loop_hook(PyObject *function, void (*changed)(PyObject *loop));

/* Undo it. GIL held. */
void lw_running_loop_unhook(void);

#endif
