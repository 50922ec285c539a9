/* This very thread's stack as the sampler sees it, for the self-test at import and for tests: it takes the way of
   every sample, from the gather to the interned names. */
#ifndef LW_CPYTHON_WALK_H
#define LW_CPYTHON_WALK_H

#include <Python.h>

/* A list of (file, qualified name, line, end line, column, end column), outermost first; what a place has not is None.
   NULL with RuntimeError when the stack cannot be read. GIL held. */
PyObject *lw_walk_here(void);

/* (line, end line, column, end column) of a code unit in a line table, as code.co_positions() has it.
   NULL with ValueError when the table makes no sense. GIL held. */
PyObject *lw_walk_place(PyObject *line_table, int first_line, unsigned unit);

#endif
