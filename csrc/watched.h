/* One loop as the watchdog sees it: the marks that its thread writes, and all that the watchdog keeps beside them. */
#ifndef LW_WATCHED_H
#define LW_WATCHED_H

#include <stdbool.h>
#include <stdint.h>

#include "activity.h"
#include "cpython/frames.h"
#include "loop.h"
#include "poll.h"
#include "poll_uv.h"
#include "recorder.h"
#include "requests.h"
#include "stack.h"
#include "stall.h"

typedef struct lw_watchdog lw_watchdog;

typedef struct lw_watched {
    lw_loop_marks marks;
    /* The loop's thread only, between attach and detach. */
    lw_poll_target target;
    lw_poll_way way;
    lw_poll_uv *uv;        /* owned while attached that way */
    lw_watchdog *watchdog; /* a reference */

    /* Under the watchdog's lock from here on. */
    struct lw_watched *next;
    uintptr_t loop; /* which loop object it is; never followed; 0: one that is gone */
    bool attached;
    bool settled; /* it has stopped, and the looks before the last one have written out all of it */
    uint64_t attached_ns, detached_ns;
    uint64_t watched_ns; /* in earlier attachments */
    lw_thread_view view;
    lw_loop_record record;
    char thread[64];

    /* The watchdog's thread only. */
    lw_chain chain;
    lw_stall stall;
    lw_activity activity; /* of its thread, in the stall that goes on */
    uint64_t samples, torn, cut, outer, unsampled, sampling_ns;
    uint64_t summary_due_ns;
    uint64_t summary_version; /* iterations and attachments when the last one was written */
    struct {
        uint64_t version;    /* of the context when it was looked up: changes with the callback */
        uintptr_t variables; /* of the context then */
        lw_seen_request request;
        uint64_t charged_ns; /* up to here it is settled whose this stall was */
    } culprit;
    struct {
        uint64_t version; /* at the last look; LW_POLL_CONTEXT only */
        bool inside;      /* whether the thread was in a callback */
    } context;
} lw_watched;

/* What the watchdog shares with its loops while it looks at them. */
typedef struct lw_look {
    lw_sampler *sampler; /* NULL: no stacks, durations only */
    lw_recorder *recorder;
    lw_requests *requests;
    const lw_quota *quota; /* NULL: there is none */
    bool causes;           /* whether to ask what the thread is doing */
    uint64_t now;
    uint64_t patrol_ns, suspect_ns, interval_ns;
    uint32_t clearings; /* how often the intern table has been cleared */
    bool tables_full;   /* set when the intern table must be cleared */
    uint64_t sum_up_ns; /* set to how many ns later a summary is due that nobody may come to write; 0: none */
} lw_look;

/* Look at one loop: record the stalls that have ended, sample it when it is in a long iteration, sum up now and then.
   Returns how many ns later to look again, 0: not before it leaves its poll. On the watchdog's thread, locked. */
uint64_t lw_watched_look(lw_watched *watched, lw_look *look);

/* Write the last word on a loop whose thread has gone, or on all of them at the end. Likewise. */
void lw_watched_settle(lw_watched *watched, lw_look *look);

/* Its figures up to now. Any thread, locked. */
lw_summary_record lw_watched_summary(const lw_watched *watched, uint64_t now);

/* The intern table was cleared. Likewise. */
void lw_watched_forget_stacks(lw_watched *watched);

void lw_watched_free(lw_watched *watched);

#endif
