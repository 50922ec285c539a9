/* What a loop's thread is doing, sample by sample: whether it runs, and who keeps it from that. The watchdog's thread
   only. */
#ifndef LW_ACTIVITY_H
#define LW_ACTIVITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cause.h"
#include "os/quota.h"
#include "os/task.h"
#include "recorder.h"
#include "stack.h"

enum { LW_HOLDERS = 8 }; /* kept for one stall */

/* Zero-initialised; lw_activity_begin before the first sample. */
typedef struct lw_activity {
    lw_task *task; /* owned; NULL: the system tells nothing, causes are unknown */
    uint64_t thread;
    /* The last sample. */
    uint64_t at_ns, cpu_ns;   /* before its stack was read */
    uint64_t delay_ns, times; /* when that was last asked for */
    uint32_t stack;
    uintptr_t instruction;
    bool
        stands; /* stack and instruction are those of a sample that was accepted, of the stall that goes on */
    /* Since the stall's first sample. */
    unsigned stood; /* samples in a row in which the code did not move */
    bool begun;
    lw_tally tally;
    uint64_t first_at_ns, first_cpu_ns, first_delay_ns, first_throttled_ns;
    bool delay_known, throttled_known;
    uint64_t callback_version, callback_ns,
        longest_ns; /* of the callback that runs: its context, since when */
    /* Other threads that held the GIL. */
    uintptr_t holder; /* whose chain it is */
    lw_chain holder_chain;
    lw_holder_count holders[LW_HOLDERS]; /* most samples first */
    size_t holder_count;
} lw_activity;

/* A stall's first sample comes next, on the thread with this number. */
void lw_activity_begin(lw_activity *activity, uint64_t thread);
/* The thread is not looked at for a while: give back what the system has for that. */
void lw_activity_rest(lw_activity *activity);
void lw_activity_clear(lw_activity *activity); /* frees what it owns; may be used again */
/* The numbers of stacks are void. */
void lw_activity_forget_stacks(lw_activity *activity);

/* Take a sample as lw_sampler_take does, and put the time since the last one, or since `start`, to a cause. A thread
   that has used no CPU since the last sample still has the stack of then: it is not read again. */
lw_status lw_activity_sample(lw_activity *activity, lw_sampler *sampler, const lw_quota *quota,
                             const lw_thread_view *view, lw_chain *chain, uint64_t start, uint32_t *stack);

/* What is to be recorded of the stall that goes on, or has ended, at `end`. False: nothing is known. Borrows the
   holders. */
bool lw_activity_report(const lw_activity *activity, const lw_quota *quota, uint64_t end,
                        lw_cause_record *out);

#endif
