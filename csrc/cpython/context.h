/* Which request a thread works for: the value of one ContextVar in its current context, read without the GIL. The
   reading itself is context_request.h; here is what the binding says beforehand. */
#ifndef LW_CPYTHON_CONTEXT_H
#define LW_CPYTHON_CONTEXT_H

#include <Python.h>

#include "context_request.h"

/* Learn the types of contexts and their nodes from a context with one variable and one with more than 32. What is learnt
   is kept for ever. After lw_badge_prepare, GIL held. -1 with an exception. */
int lw_context_learn(PyObject *one_variable, PyObject *many_variables);

/* The same look-up for this very thread, for the self-test: the request's number, 0 when there is none. -1 with
   RuntimeError when it cannot be told. GIL held. */
long long lw_context_here(void);

#endif
