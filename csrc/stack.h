/* One sample: the stack of a thread that goes on running while it is read.

   Frames are reused at the same addresses all the time, so looking twice proves little: a stack that never was can
   pass every plausibility check. What keeps such mixtures out is one gather of a predicted chain in this order:

       context and version
       frames, outermost to innermost      (A)
       the pointer to the current frame
       frames, innermost to outermost      (B)
       frames, innermost to outermost      (C)
       context and version
       headers of the code objects

   so that the frames that change fastest are read right before and after the pointer to them. The chain of the last
   sample is the prediction. It is accepted from the frame that the pointer names, downwards, when A, B and C agree on
   code, caller and owner of each frame, on the instruction of each caller, when every link leads to the next frame,
   and when one more gather a random moment later says the same. Random padding between A, B and C keeps the reads
   from falling into step with a loop in the program. Otherwise the chain is learnt anew and the gather repeated, a
   few times; then the sample is torn: counted, not shown.

   This is overwhelming evidence, not a proof: docs/limits.md has the figures. The watchdog's thread only. */
#ifndef LW_STACK_H
#define LW_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython/codes.h"
#include "cpython/context_request.h"
#include "cpython/frames.h"
#include "intern.h"
#include "os/memory.h"
#include "status.h"

enum { LW_STACK_DEPTH = 1024 }; /* frames; of a deeper stack the innermost ones are kept */

/* A frame of the prediction, and what is known of it from the last accepted sample. */
typedef struct lw_link {
    lw_raw_frame frame;
    lw_known_code known; /* its code, as it was known before the gather; address 0: not known, or a shim */
    uint32_t serial;     /* of its code, 0: not interned yet */
    uint32_t stack; /* number of the stack that ends with this frame; LW_NONE: a frame that is not shown */
} lw_link;

/* The prediction for one thread. Zero-initialised; owned by whoever watches the thread. */
typedef struct lw_chain {
    lw_link *links; /* innermost first; owned */
    size_t count, room;
    uintptr_t hint; /* see lw_current_frame_pieces */
    /* When the last sample was taken. */
    uintptr_t context;
    uint64_t version;
} lw_chain;

void lw_chain_clear(lw_chain *chain); /* frees what it owns; may be used again */

typedef struct lw_sampler lw_sampler; /* buffers and tables that all threads' samples share */

/* `intern` is borrowed. Opens the memory reader on the calling thread, the one that will sample.
   LW_SYSTEM or LW_NO_MEMORY. */
lw_status lw_sampler_create(lw_sampler **out, lw_intern *intern);
void lw_sampler_destroy(lw_sampler *sampler); /* accepts NULL */
/* The intern table was cleared: forget all numbers. Chains must be cleared, too. */
void lw_sampler_forget(lw_sampler *sampler);

/* Sample the thread. *stack is then the number of its stack.
   LW_TORN: it changed too fast, or is empty. LW_FULL: the intern table is full; clear it, forget, and go on.
   LW_SYSTEM: the memory reader has lost its descriptors and could not get new ones. */
lw_status lw_sampler_take(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack);

/* The request that a context works for (cpython/context_request.h). */
lw_status lw_sampler_request(lw_sampler *sampler, uintptr_t context, lw_seen_request *out);

/* The thread's current context and its version. */
lw_status lw_sampler_context(lw_sampler *sampler, const lw_thread_view *view, uintptr_t *context,
                             uint64_t *version);

#endif
