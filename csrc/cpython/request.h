/* One request being served, as Python sees it: what its context carries, and what whoever serves it awaits.

   Its context, and all that inherit it, wear its badge (badge.h), so that the watchdog finds whom a thread works for
   (context_request.h). It lasts in one of two ways, on the thread that serves it, with the GIL:

   - It rides on the coroutine of an app, which owns it, until that goes (coroutine.h). Its steps cost nothing, and are
     noticed only when it matters who takes them (attention.h); of its time no more is known than its stalls.
   - It is awaited: it calls a function and drives what that gives (steps.c), tells when each step begins and ends, and so
     knows its time. */
#ifndef LW_CPYTHON_REQUEST_H
#define LW_CPYTHON_REQUEST_H

#include <Python.h>

#include <stdbool.h>

#include "../poll.h"
#include "../request_clock.h"
#include "../requests.h"
#include "badge.h"

enum { LW_REQUEST_ARGUMENTS = 3 };

typedef struct lw_request {
    PyObject_HEAD PyObject *subject, *name_of; /* owned; NULL when it is over */
    lw_badge *badge;                           /* owned: between its first step and its end */
    lw_requests *table;
    lw_slot *slot; /* borrowed from the table, which may give it to another meanwhile; NULL: it has none */
    uint64_t number;
    uint32_t slot_number;
    bool entered;    /* the first step has begun */
    bool by_context; /* whoever is further in knows it by its context alone: its scope does not have it */
    bool awaited;    /* it is, or is to be: it does not ride */
    bool timed;      /* its time is that of its steps and of stalls seen; else the context watcher tells */
    bool tells;      /* its response is to say its times */
    bool told;       /* somebody is told of its response */
    bool collected;  /* it was in a cycle */
    PyObject *function, *arguments[LW_REQUEST_ARGUMENTS]; /* owned; NULL once called */
    PyObject *inner;        /* owned: what it iterates; NULL before the first step */
    lw_request_clock clock; /* set while it has no badge; else that one's goes on */
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

/* A new one that rides on the coroutine which app(*arguments) gives, three of them, and which is to be awaited at once in
   this context: that works for the request from now on. Its subject is the first of the arguments. If the app gives anything
   else, it is the request that is to be awaited. What is to be awaited as a new reference, NULL with an exception. */
PyObject *lw_request_ride(lw_loop_marks *marks, PyObject *app, PyObject *const *arguments, PyObject *name_of);

/* The marks of the loop here, if requests may ride on it as long as nobody asks for their times, else NULL. Its stalls have
   to be sampled, since samples are all that is known of their own part then; and the first request of a loop does not ride,
   since an app may make the middleware that asks within it. */
static inline lw_loop_marks *lw_request_may_ride(void)
{
    lw_loop_marks *marks = lw_loop_marks_here();
    bool may =
        marks != NULL && marks->sampled && atomic_load_explicit(&marks->requests, memory_order_relaxed) != 0;
    return may ? marks : NULL;
}

/* The one that this thread's context works for. New reference; NULL: none that is still under way. */
lw_request *lw_request_here(void);

/* It has nothing to call (any more). */
void lw_request_forget_call(lw_request *request);

/* Its code runs, or waits, from now on. */
void lw_request_step_begins(lw_request *request);
void lw_request_step_ends(lw_request *request);

/* From now on this context works for it. Without memory it does not. */
void lw_request_enter(lw_request *request);
/* All is over: undo that where this still is the same context, and give its slot back. Again: no effect. An exception that
   is under way stays. */
void lw_request_over(lw_request *request);

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
