/* Who holds the GIL, read from where the interpreter keeps it. No Python.h here. */
#ifndef LW_CPYTHON_GIL_H
#define LW_CPYTHON_GIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../os/memory.h"

/* Where one interpreter keeps its GIL, and that it collects garbage. */
typedef struct lw_gil_view {
    uintptr_t start, end; /* the whole of it, with the futexes that threads wait for */
    uintptr_t locked, holder, collecting;
} lw_gil_view;

typedef struct lw_gil_state {
    uintptr_t holder; /* the PyThreadState that holds it; 0: nobody does */
    bool collecting;  /* whoever holds it is in a cyclic garbage collection */
} lw_gil_state;

/* Of the calling thread's interpreter; with the GIL held. */
void lw_gil_view_take(lw_gil_view *out);

enum { LW_GIL_PIECES = 3, LW_GIL_BYTES = 16 };
void lw_gil_pieces(const lw_gil_view *view, lw_piece out[LW_GIL_PIECES]);
void lw_gil_decode(const void *bytes, lw_gil_state *out);

/* Whether what is read there says that the calling thread holds the GIL, as it must. */
bool lw_gil_reads_right(void);

/* Whether whoever waits at this address waits for the GIL. */
bool lw_gil_has(const lw_gil_view *view, uintptr_t address);

#endif
