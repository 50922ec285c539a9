/* In the place of a server's `run(cycle, app)`, a coroutine function that is all of a request's task.

   Where the task itself is driven by our Request, nothing stands around the app: what a server awaits within its own code
   stays the app's own coroutine, which the interpreter enters without C in between. Measured on uvicorn, that is half of
   what a request costs. */
#ifndef LW_CPYTHON_SERVING_H
#define LW_CPYTHON_SERVING_H

#include <Python.h>

extern PyTypeObject lw_serving_type;

/* Make the type ready. -1 with an exception. */
int lw_serving_prepare(void);

#endif
