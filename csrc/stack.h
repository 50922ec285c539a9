/* One sample: the stack of a thread that goes on running while it is read.

   Frames are reused at the same addresses all the time, so looking twice proves little: a stack that never was can
   pass every plausibility check. What keeps such mixtures out is one gather of a predicted chain in this order:

       frames, outermost to innermost      (A)
       the pointer to the current frame
       frames, innermost to outermost      (B)
       frames, innermost to outermost      (C)

   so that the frames that change fastest are read right before and after the pointer to them, and another one a random
   moment later:

       the pointer to the current frame
       frames, innermost to outermost      (D)
       headers of the code objects, but of those that cannot have been freed since they were last seen (code_watch.h)

   The chain of the last sample is the prediction. It is accepted from the frame that the first pointer names, downwards,
   when A to D agree on code, caller and owner of each frame and on the instruction and the stack of each caller, when
   every link leads to the next frame, when no caller looks as if it ran itself, when none of them, the innermost
   included, had been cleared in any look, and when the second pointer does not name a caller. These are for reads that
   fall into step with the program, and for a thread that is stopped in the middle by a busy machine: it shows the same
   frames from then on, be they of the moment of the first pointer or not. Random padding is against the former, too.
   Otherwise the chain is learnt anew and the gather repeated, a few times. If all fail, the outer frames are shown that
   every look of these and of one more gather saw the same (outer.h), once their codes are proven and the innermost of
   them is known to be in use: by the pointer to the current frame, or by the top of the data stack. If there are none,
   the sample is torn: counted, not shown.

   For frames further out than the innermost few, what the last accepted sample read there stands for A and C (chain.h):
   they have the very same bytes in B and D. A thread that returned to one of them and was back in time has called anew
   all those further in, which are looked at before, in between and after. Where the bytes are others, all is read again
   as above.

   That the context is the same before and after is not asked: a loop that runs many short callbacks enters one every
   few microseconds, and of those only the moments between them would be shown.

   This is overwhelming evidence, not a proof: docs/limits.md has the figures. The watchdog's thread only. */
#ifndef LW_STACK_H
#define LW_STACK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "chain.h"
#include "cpython/context_request.h"
#include "intern.h"
#include "os/memory.h"
#include "status.h"

/* Frames of Python that are kept of a stack at least, unless the options say otherwise; of a deeper one the innermost. */
enum { LW_STACK_DEPTH = 1024 };

typedef struct lw_sampler lw_sampler; /* buffers and tables that all threads' samples share */

/* `intern` is borrowed; `depth` as LW_STACK_DEPTH, 0: that. Opens the memory reader on the calling thread, the one that
   will sample. LW_SYSTEM or LW_NO_MEMORY. */
lw_status lw_sampler_create(lw_sampler **out, lw_intern *intern, uint32_t depth);
void lw_sampler_destroy(lw_sampler *sampler); /* accepts NULL */
/* The intern table was cleared: forget all numbers. Chains must be cleared, too. */
void lw_sampler_forget(lw_sampler *sampler);

/* Sample the thread. *stack is then the number of its stack.
   LW_TORN: it changed too fast, or is empty. LW_FULL: the intern table is full; clear it, forget, and go on.
   LW_SYSTEM: the memory reader has lost its descriptors and could not get new ones. */
lw_status lw_sampler_take(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack);

/* The request that a context works for, and where its variables are (cpython/context_request.h). */
lw_status lw_sampler_request(lw_sampler *sampler, uintptr_t context, lw_seen_request *out);
uintptr_t lw_sampler_variables(lw_sampler *sampler, uintptr_t context);

/* Whether a thread seen at this instruction runs bytecode for sure, and is in no long C call. */
bool lw_sampler_quick(lw_sampler *sampler, uintptr_t instruction);

/* Whether the thread is elsewhere than the last sample saw it, if it is left alone for a few microseconds, some times.
   Memory that is read is taken from the thread's core for a moment: code that runs all the time may look as if it stood
   at the call for which it needs that memory back. Takes 30 us of a thread that does stand. */
bool lw_sampler_moves(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain);

/* Who holds the GIL now. */
lw_status lw_sampler_gil(lw_sampler *sampler, const lw_thread_view *view, lw_gil_state *out);

/* The thread with this state, one of the same interpreter as `view`, as it can be sampled; see lw_thread_view_of. */
lw_status lw_sampler_other(lw_sampler *sampler, const lw_thread_view *view, uintptr_t state,
                           lw_thread_view *out, uint64_t *number);

/* The thread's current context and its version. */
lw_status lw_sampler_context(lw_sampler *sampler, const lw_thread_view *view, uintptr_t *context,
                             uint64_t *version);

#endif
