/* One request's time on the loop: how long its own code held it, and how long stalls of others kept it waiting.

   Lies inside the extension's Request objects, or in the badge that one has put on. Written by the thread that works for
   the request; the watchdog reads the first members out of the running process's memory (cpython/context_request.h). */
#ifndef LW_REQUEST_CLOCK_H
#define LW_REQUEST_CLOCK_H

#include <stdint.h>

#include "loop.h"
#include "requests.h"

typedef struct lw_request_clock {
    uint64_t number;
    uint32_t slot;
    uint32_t endpoint;
    uint64_t since_ns; /* its code has been running since then; 0: it is suspended */
    uint64_t own_ns;   /* in steps that have ended */
    uint64_t delay_ns;
    const lw_loop_marks *loop;        /* where its last step was; only compared */
    uint64_t iteration, iteration_ns; /* of the last step, and its own time within that iteration */
    uint64_t waited_for;              /* the last stall that it was found to have waited for */
} lw_request_clock;

/* Its code runs from now on, on the loop with these marks (NULL: on none that is watched): if the loop is catching up
   after a stall of others, it was one of those that waited. `slot`: its own; without one (NULL) it counts as none of them,
   since nobody knows whether the stall was its own child's. */
void lw_request_resumed(lw_request_clock *clock, lw_loop_marks *marks, const lw_slot *slot, uint64_t now);

/* The same without the time: its code runs in the iteration that goes on, or has run there. */
void lw_request_ready(lw_request_clock *clock, lw_loop_marks *marks, const lw_slot *slot);

/* Its code waits from now on. No effect when it does already. */
void lw_request_suspended(lw_request_clock *clock, const lw_loop_marks *marks, uint64_t now);

/* Its own time so far. */
uint64_t lw_request_own(const lw_request_clock *clock, uint64_t now);

#endif
