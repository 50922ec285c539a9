/* An ASGI app around another one, each of whose HTTP requests and websockets is one of ours. */
#ifndef LW_CPYTHON_TRACKING_H
#define LW_CPYTHON_TRACKING_H

#include <Python.h>

/* Key of an ASGI scope: its Request, so that a second middleware further in knows that there is one. */
#define LW_REQUEST_KEY "loopwatch.request"

extern PyTypeObject lw_tracking_type;

/* Make the types ready. -1 with an exception. */
int lw_tracking_prepare(void);

/* Call `function` with the request when a response starts, on the loop's thread; None: call nothing. GIL held. */
void lw_tracking_tell(PyObject *function);

#endif
