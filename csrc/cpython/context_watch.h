/* Being told whenever a thread enters or leaves a context: 3.14 and later. */
#ifndef LW_CPYTHON_CONTEXT_WATCH_H
#define LW_CPYTHON_CONTEXT_WATCH_H

#include <Python.h>

/* Call `switched` with the thread's new current context (NULL: none) on each switch, in this interpreter. It must not
   raise. 0: done; 1: this version has no such thing; -1 with an exception. Again: no effect. GIL held. */
int lw_context_watch(void (*switched)(void *context));

/* What the calling thread works for just now, NULL: nothing. A reference is held to it. GIL held. */
void *lw_context_current(void);
void lw_context_set_current(void *object);

#endif
