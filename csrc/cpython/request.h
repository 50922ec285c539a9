/* One request being served, as Python sees it: what its context carries, and what whoever serves it awaits.

   Its context, and all that inherit it, wear its badge (badge.h), so that the watchdog finds whom a thread works for
   (context_request.h). Awaited, it calls a function and drives what that gives (steps.c), tells when each step
   begins and ends, and gives its slot back when all is over. All of it on the thread that serves it, with the GIL. */
#ifndef LW_CPYTHON_REQUEST_H
#define LW_CPYTHON_REQUEST_H

#include <Python.h>

#include <stdbool.h>

#include "../request_clock.h"
#include "../requests.h"
#include "badge.h"

enum { LW_REQUEST_ARGUMENTS = 3 };

typedef struct lw_request {
    PyObject_HEAD PyObject *subject, *name_of;            /* owned; NULL when it is over */
    PyObject *function, *arguments[LW_REQUEST_ARGUMENTS]; /* owned; NULL once called */
    /* Whoever looks at a task from outside (`python -m asyncio pstree`, from 3.14 on) takes what it drives for a
       coroutine: here it reads that this one has no frame any more. */
    int8_t frame_state[8];
    PyObject *inner;        /* owned: what it iterates; NULL before the first step */
    lw_request_clock clock; /* while it has a badge, that one's goes on */
    lw_badge *badge;        /* owned: between its first step and its end */
    lw_requests *table;
    lw_slot *slot;  /* borrowed from the table, which may give it to another meanwhile; NULL: it has none */
    bool entered;   /* the first step has begun */
    bool driven;    /* it is all of a server's task, and its subject has the scope */
    bool timed;     /* its steps are its time; else the context watcher tells */
    bool tells;     /* its response is to say its times */
    bool told;      /* somebody is told of its response */
    bool collected; /* it was in a cycle */
} lw_request;

extern PyTypeObject lw_request_type;

/* Make the types ready. -1 with an exception. */
int lw_request_prepare(void);

/* The table of this process; a forked child gets its own. NULL with MemoryError. */
lw_requests *lw_request_table(void);

/* A new one that begins now. `name_of(subject, over)` says what it is called, as `GET /items/{id}`, or gives None while
   that is not known; `over` when it has ended. It is asked only when a stall refers to the request, which is rare: then
   at its next step, and at its end. NULL with MemoryError. */
lw_request *lw_request_new(PyObject *subject, PyObject *name_of);

/* Have it call function(*arguments), at most LW_REQUEST_ARGUMENTS, when it is first awaited: that has to give a coroutine
   or something else that `await` takes. -1 with RuntimeError when it has had something to call already. */
int lw_request_serve(lw_request *request, PyObject *function, PyObject *const *arguments, size_t count);

/* Have it drive a coroutine that is all of a task; `subject` has the request's scope as `scope`. Takes the reference. */
void lw_request_drive(lw_request *request, PyObject *coroutine);

/* What names it: of one that is driven its scope; None when it is over. New reference, NULL with an exception. */
PyObject *lw_request_subject(const lw_request *request);

/* The one that this thread's context works for. New reference; NULL: none that is still under way. */
lw_request *lw_request_here(void);

/* It has nothing to call (any more). */
void lw_request_forget_call(lw_request *request);

/* Its code runs, or waits, from now on. */
void lw_request_step_begins(lw_request *request);
void lw_request_step_ends(lw_request *request);

/* From now on this context works for it. Without memory it does not. */
void lw_request_enter(lw_request *request);
/* All is over: undo that where this still is the same context, and give its slot back. Again: no effect. No exception is
   set, or, with the second, maybe one, which stays. */
void lw_request_over(lw_request *request);
void lw_request_failed(lw_request *request);

/* From now on the time of requests that begin is exact, that of their child tasks included, where the version can tell
   (3.14); else, and until then, of these only stalls count. */
void lw_request_time_exactly(void);

/* Its times so far. */
const lw_request_clock *lw_request_clock_of(const lw_request *request);
/* How long its own code, child tasks included, has held the loop so far. */
uint64_t lw_request_blocking(const lw_request *request);

/* The stack of its longest stall so far. False: none was seen. */
bool lw_request_stack(const lw_request *request, uint32_t *stack, uint32_t *clearings);

#endif
