/* All that the binding sees of the core.

   One watchdog per process, with one native thread that never takes the GIL and never calls the Python API. The
   calling side holds the GIL in every function here unless it says otherwise; none of them runs Python code. */
#ifndef LW_LOOPWATCH_H
#define LW_LOOPWATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "os/event.h"
#include "poll.h"
#include "requests.h"
#include "status.h"

typedef struct lw_watchdog lw_watchdog; /* owned by who started it, and by each loop that it watches */

typedef struct lw_options {
    uint64_t pid, parent_pid;
    uint64_t threshold_ns; /* iterations of at least this length are stalls */
    uint64_t interval_ns;  /* between two samples of a stall; 0: one after the other */
    const char *directory; /* for the recording file; NULL: none. Copied */
    const char *header;    /* JSON members for its header, without braces. Copied */
    uint64_t part_bytes;   /* size cap of one part of the file */
    uint32_t parts;        /* how many parts are kept */
    uint32_t stacks;       /* distinct stacks kept for one stall; 0: the default */
    uint32_t stack_depth;  /* frames kept of a stack, the innermost; 0: the default */
    lw_requests *requests; /* in flight in this process; borrowed, lives for ever */
    bool sample;           /* false: durations only, where the stack walk cannot be trusted */
    bool causes;           /* false: it is not asked what the thread was doing */
    bool queue;            /* keep records in memory for lw_watchdog_take */
    lw_event *news;        /* set when records have come into the queue; borrowed, lives for ever */
} lw_options;

typedef struct lw_loop_options {
    uintptr_t loop;     /* which loop object; never followed */
    bool fresh;         /* it has not been attached before: whichever was, at this address, is gone */
    const char *kind;   /* "asyncio", "uvloop", "other"; lives for ever */
    const char *thread; /* its name; copied */
    lw_poll_way way;
    int descriptor; /* what it polls; -1: not known */
    void *uv_loop;  /* LW_POLL_UV: the uv_loop_t and the shared object that holds libuv */
    const char *uv_library;
    uint64_t contexts_extra; /* see lw_loop_marks */
    bool inside;             /* one of its callbacks runs now */
} lw_loop_options;

/* Start the thread. LW_NO_MEMORY, LW_SYSTEM. What fails later, on the thread itself (a directory that cannot be
   written), costs what depends on it and no more: see lw_watchdog_trouble. */
lw_status lw_watchdog_start(lw_watchdog **out, const lw_options *options);

/* End the thread: write what is left, close the file. Loops of this thread must be detached; those of other threads
   go on unwatched. Blocks for as long as a write to the disk does; may be called without the GIL. */
void lw_watchdog_stop(lw_watchdog *watchdog);

/* Which loop objects it has watched that have not been detached yet, on any thread: that of this index, 0 when there
   are no more. They are alive as long as the GIL is held. */
uintptr_t lw_watchdog_loop(lw_watchdog *watchdog, unsigned index);

/* Give up the starter's reference; stops first if need be. */
void lw_watchdog_release(lw_watchdog *watchdog);

/* errno of the first thing that failed on the thread, 0: all is well. */
int lw_watchdog_trouble(const lw_watchdog *watchdog);

/* Records from the queue, whole lines; 0 when there are none. Any thread, also after stop. */
size_t lw_watchdog_take(lw_watchdog *watchdog, char *into, size_t size);

/* The figures of all loops up to now, those included that have stopped and are remembered: `summary` records. Returns
   the bytes used, 0 when not all fit. Of a loop that is not among them all is in the queue, and will be all. Any
   thread. */
size_t lw_watchdog_sum_up(lw_watchdog *watchdog, char *into, size_t size);

/* The frames of a stack (lw_slot_stack), innermost first, each as file, function and line, with a 0 behind each of the
   three; as many as fit. Returns the bytes used, 0 when the stack is not known any more. Any thread. */
size_t lw_watchdog_stack(lw_watchdog *watchdog, uint32_t stack, uint32_t clearings, char *into, size_t size);

/* Watch the loop that is about to run, or runs, on this thread; inside the one that is watched already, if any.
   LW_NO_MEMORY; LW_UNSUPPORTED when the way does not serve: try another. */
lw_status lw_loop_attach(lw_watchdog *watchdog, const lw_loop_options *options);

/* The innermost loop of this thread has stopped. No effect when there is none. */
void lw_loop_detach(void);

/* How many loops are watched or were when their watchdog stopped, on all threads. */
unsigned lw_loops_attached(void);

/* The loop object that is watched on this thread, innermost (depth 0) or further out; 0: none there. */
uintptr_t lw_loop_attached(unsigned depth);

/* In the child of a fork: no loop is watched on this thread. The watchdog's thread does not exist here, and its memory
   is given up, for it may be half-written. Only stores; every fork(3) calls it by itself. */
void lw_watchdog_forget(void);

#endif
