/* One watched loop: when it polls, when it runs, and every iteration that was long.

   The loop's own thread writes the marks, without any lock and without the GIL; the watchdog reads them.
   An iteration runs from the return of one poll to the entry of the next; a poll that does not wait belongs to the one
   that it starts. The first one begins at attach
   (uvloop runs callbacks before its first poll), the last one ends at detach (after loop.stop() or SystemExit
   there may be no further poll). */
#ifndef LW_LOOP_H
#define LW_LOOP_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/alarm.h"
#include "os/clock.h"

enum {
    LW_LOOP_HISTOGRAM = 24, /* entries: powers of two from 1 us to 8 s */
    LW_LOOP_FINISHED = 128, /* long iterations that wait for the watchdog, a power of two */
    LW_LOOP_DELAYED = 64,   /* counts of delayed requests that do, likewise */
    LW_LOOP_WINDOW = 8,     /* iterations after a stall in which the loop catches up, at most */
};

/* An iteration of at least the threshold that has ended. */
typedef struct lw_iteration {
    uint64_t number;
    uint64_t start_ns;
    uint64_t end_ns;
    uint64_t callbacks;
    bool allowed;
} lw_iteration;

/* How many requests had to wait for a stall. */
typedef struct lw_delayed {
    uint64_t iteration;
    uint64_t requests;
} lw_delayed;

/* Where a loop that serves requests stands; each phase's entry is the time when it began, 0: not yet, of the server that
   runs now. */
typedef enum lw_phase { LW_PHASE_STARTUP, LW_PHASE_SERVING, LW_PHASE_SHUTDOWN, LW_PHASES } lw_phase;

/* What a loop's thread rings when it leaves its poll. Shared by all loops of one watchdog. */
typedef struct lw_bell {
    _Atomic bool armed; /* the alarm is set, or the watchdog is awake, or it is gone for good */
    lw_alarm *alarm;    /* borrowed from the watchdog */
    uint64_t patrol_ns; /* how long after leaving the poll it rings */
    /* A loop that is the only one may put the alarm off with each iteration, since the one before was in time. */
    _Atomic bool alone;
    uint64_t suspect_ns; /* how long after that it rings then: when the iteration is to be looked at */
    _Atomic uint64_t put_off_ns; /* when it last was; by the loop's thread */
    _Atomic uint64_t looked_ns;  /* when the watchdog last looked */
} lw_bell;

/* Cumulative figures. Written by the loop's thread; the watchdog may read one while it is behind another. */
typedef struct lw_loop_counters {
    _Atomic uint64_t iterations;
    _Atomic uint64_t busy_ns;
    _Atomic uint64_t stalls;
    _Atomic uint64_t stalled_ns;
    _Atomic uint64_t longest_ns;
    _Atomic uint64_t lost;
    _Atomic uint64_t lost_ns;
    _Atomic uint64_t histogram[LW_LOOP_HISTOGRAM];
} lw_loop_counters;

typedef struct lw_loop_marks {
    /* written by the loop's thread, read by the watchdog */
    _Atomic uint64_t iteration;  /* number of the current or, while polling, the last one */
    _Atomic uint64_t started_ns; /* when it started */
    _Atomic bool polling;
    bool sampled;              /* who runs in a stall is seen; constant between attach and detach */
    _Atomic uint64_t requests; /* begun on this loop */
    _Atomic uint64_t phases[LW_PHASES];
    /* After a stall, until the loop has caught up: whoever takes a step meanwhile was ready and had to wait. It has
       caught up when a poll finds nothing, or when it enters another one that may wait. The loop's thread only. */
    struct {
        bool open;
        unsigned left;                   /* iterations */
        uint64_t iteration, duration_ns; /* of the stall */
        uint64_t requests;               /* that have waited for it */
    } window;
    _Atomic uint64_t requests_untracked; /* of them, without a slot */
    _Atomic uint64_t
        culprit; /* by the watchdog: the request whose code it saw last in a stall, 0: no request's */

    uint64_t version; /* context version when the iteration started; settled once its number is stored */
    /* the loop's thread only */
    uint64_t allowed_ns; /* time inside allowed() in this iteration, up to allowed_since_ns */
    uint64_t allowed_since_ns;
    unsigned allowed_depth;
    /* constants between attach and detach */
    uint64_t threshold_ns;
    const volatile uint64_t *context_version; /* of this thread's state; borrowed from the interpreter */
    uint64_t contexts_extra;                  /* that it enters beside those of its callbacks, an iteration */
    lw_bell *bell;                            /* borrowed from the watchdog */

    lw_loop_counters counters;
    /* a ring with one writer (the loop's thread) and one reader (the watchdog) */
    _Atomic uint64_t finished_written;
    _Atomic uint64_t finished_read;
    lw_iteration finished[LW_LOOP_FINISHED];
    /* and another one */
    _Atomic uint64_t delayed_written;
    _Atomic uint64_t delayed_read;
    lw_delayed delayed[LW_LOOP_DELAYED];
} lw_loop_marks;

/* A poll that may wait is entered: the iteration has ended at `now`. On the loop's thread, with or without the GIL. */
void lw_loop_poll_entered(lw_loop_marks *marks, uint64_t now);

/* The same of a poll of which only its end tells whether it waits: then say lw_loop_caught_up as well. */
void lw_loop_poll_begun(lw_loop_marks *marks, uint64_t now);

/* Whether a stall has just ended, or the loop is not done yet with what has come in meanwhile. Whoever is about to poll,
   and may wait, looks first what is ready (a poll with a timeout of 0): when nothing is, nobody else has waited for it.
   On the loop's thread, with or without the GIL. */
bool lw_loop_catches_up(const lw_loop_marks *marks);
void lw_loop_caught_up(lw_loop_marks *marks);

/* That poll has returned: an iteration starts at `now`. On the loop's thread, with or without the GIL. */
void lw_loop_poll_returned(lw_loop_marks *marks, uint64_t now);

/* A poll that only looks what is there is about to begin: one iteration ends at `now` and the next starts, the poll at
   its front, since nothing of it is idle. It spares a second reading of the clock, and the watchdog goes on to see a
   loop that runs. On the loop's thread, with or without the GIL. */
void lw_loop_poll_passed(lw_loop_marks *marks, uint64_t now);

/* Callbacks that this iteration had begun when the context version was `version`. On the loop's thread, or on the
   watchdog's while the iteration is known to go on. */
uint64_t lw_loop_callbacks(const lw_loop_marks *marks, uint64_t version);

/* Wake the watchdog a patrol from now, unless it is going to look anyway. Any thread; a system call at most once
   a patrol. */
void lw_bell_ring(lw_bell *bell);

/* The next finished long iteration, oldest first; false when there is none. On the watchdog's thread. */
bool lw_loop_take_finished(lw_loop_marks *marks, lw_iteration *out);

/* The next count of delayed requests, oldest first, of those written before `until` (lw_loop_delayed_written); false
   when there is none. On the watchdog's thread. */
bool lw_loop_take_delayed(lw_loop_marks *marks, uint64_t until, lw_delayed *out);
uint64_t lw_loop_delayed_written(const lw_loop_marks *marks);

/* A request has begun on this loop, which therefore serves, or the loop has come to a phase. The first time counts, but
   a start-up after a shutdown is that of another server, for which all phases begin anew. On its thread. */
void lw_loop_request_begun(lw_loop_marks *marks, bool tracked);
void lw_loop_enter_phase(lw_loop_marks *marks, lw_phase phase, uint64_t now);

/* Enter and leave a block whose stalls are accepted; they nest. On the loop's thread. */
void lw_loop_allow(lw_loop_marks *marks, uint64_t now);
void lw_loop_disallow(lw_loop_marks *marks, uint64_t now);

#endif
