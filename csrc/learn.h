/* Learning the frames of a thread that runs: walking from the current one outwards, link by link.

   What is walked may be of several moments, so it is a prediction and no sample; stack.h says how one is made of it.
   The watchdog's thread only. */
#ifndef LW_LEARN_H
#define LW_LEARN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chain.h"
#include "cpython/frames.h"
#include "os/memory.h"
#include "status.h"

enum { LW_LEARN_CHUNK_MOST = 32768 }; /* bytes of the newest frames copied at once */

/* Scratch for walks. */
typedef struct lw_learner {
    lw_link *walked; /* owned; room for `depth` */
    size_t depth;    /* links of a chain */
    char chunk[LW_LEARN_CHUNK_MOST];
} lw_learner;

/* LW_NO_MEMORY. */
lw_status lw_learner_open(lw_learner *learner, size_t depth);
void lw_learner_close(lw_learner *learner); /* also of one that failed to open */

/* Where a walk ends: below the loop, or at the outermost frame (a greenlet's stack never meets the loop's frame).
   A generator without a caller is suspended: it may read so each time, although it was running in between. */
bool lw_learn_is_end(const lw_thread_view *view, const lw_raw_frame *frame);

/* Learn where the thread is now: drop what was predicted above its current frame, or walk from there.
   LW_FAULT, LW_TORN: it changed meanwhile, and the chain is what it was. LW_NO_MEMORY. */
lw_status lw_learn(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain);

/* The same from the frame at this address. */
lw_status lw_learn_from(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain,
                        uintptr_t address);

/* The first `kept` frames of `walked` were seen on top of the chain, and the last of them leads elsewhere than its link
   before `rejoin` did: walk on from there. */
lw_status lw_learn_on(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain,
                      size_t kept, size_t rejoin);

#endif
