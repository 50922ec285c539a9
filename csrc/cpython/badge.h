/* What a context wears so that one sees whom it works for: the value of our ContextVar.

   ContextVar.set copies the path to the variable in the context's table, and reset copies it back; in a server that was
   half of what telling requests apart cost, over a microsecond of 60 a request. As a rule, though, all requests of a
   server begin with the very same table, the one that its loop was started with. So a badge keeps the table that it is
   in, and the next request that begins with that one table gets both: two pointers change, nothing is made.

   A badge is used again only when nobody else has it any more: neither the badge, nor its table, nor any node on the way
   to it belongs to somebody else, as to a task that the request has left behind. Its table keeps the values alive that
   the usual table has, and is forgotten with that one.

   All of it with the GIL. */
#ifndef LW_CPYTHON_BADGE_H
#define LW_CPYTHON_BADGE_H

#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>

#include "../request_clock.h"

struct lw_request;

typedef struct lw_badge {
    /* All that a request that rides needs when it ends comes first. */
    PyObject_HEAD bool in_root; /* of the table `with`: nothing else is on the way to it */
    PyObject *with;             /* owned: a table that it is in; NULL: none, or any */
    struct lw_request *wearer;  /* borrowed; NULL when it is over */
    PyObject *before; /* owned: the table that its context had; NULL: it has it again, or it is not known */
    const void *context;     /* where it was put on; only compared */
    const void *made_of;     /* the table without it; likewise */
    PyObject *outer;         /* owned: what was worn before, NULL: nothing */
    _Atomic uint64_t number; /* of the request; written last and cleared first; 0: nobody's */
    lw_request_clock clock;  /* read by the watchdog, too */
} lw_badge;

/* Make the type and the variable. -1 with an exception. */
int lw_badge_prepare(void);

extern PyTypeObject lw_badge_type;

/* The ContextVar. New reference. */
PyObject *lw_badge_variable(void);

/* The current context works for the request with this number and slot from now on, whose clock begins in the badge. New
   reference, NULL without an exception: there is no memory. */
lw_badge *lw_badge_put_on(struct lw_request *wearer, uint64_t number, uint32_t slot);

/* Whether the current context is as requests here usually find it, which is to wear nothing. False says nothing. */
bool lw_badge_none_here(void);

/* It does not any more, where this still is the same context: it is as it was, or wears what it wore before. What has
   inherited it wears the badge on. */
void lw_badge_take_off(lw_badge *badge);

/* Whether this is the context where it was put on, not one that has inherited it. */
bool lw_badge_is_here(const lw_badge *badge);

/* Whether somebody else still wears a badge that was taken off, or something else does that it is in: its request has left
   tasks or callbacks behind. */
bool lw_badge_is_shared(const lw_badge *badge);

/* It has no wearer any more. Takes the reference. */
void lw_badge_give_back(lw_badge *badge);

/* What a context wears: borrowed, NULL: nothing, or it cannot be told. */
lw_badge *lw_badge_worn(PyObject *context);

/* Whether badges are used again from now on; at first they are not, since that writes into contexts: the self-test has to
   have seen that it works here. What was said before. */
bool lw_badge_reuse(bool reuse);

/* Keep no table any longer: a loop has ended, and what it was started with may go. */
void lw_badge_forget(void);

#endif
