/* A stall from its first sample to its end: which stacks were seen how often, and when to say that it is still
   running. No I/O, no clock, no threads of its own: whoever calls says what time it is. */
#ifndef LW_STALL_H
#define LW_STALL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recorder.h"
#include "status.h"

enum {
    LW_STALL_STACKS = 256,  /* distinct stacks kept for one stall, unless the options say otherwise */
    LW_STALL_REQUESTS = 64, /* requests kept for one stall; a longer pile has no single culprit */
};

typedef struct lw_stall {
    uint64_t iteration; /* whose it is; 0: none */
    uint32_t samples, torn, omitted, outer;
    lw_stack_count *stacks; /* owned; most samples first; grows up to `most` */
    size_t count, room, most;
    lw_request_count *requests; /* owned; most samples first */
    size_t request_count, request_room;
    uint64_t open_due_ns; /* when an open record is to be written next; 0: none was yet */
} lw_stall;

/* A first sample is about to be taken of this iteration; whatever is left of another one is dropped. */
void lw_stall_begin(lw_stall *stall, uint64_t iteration);
void lw_stall_add(lw_stall *stall, uint32_t stack);
/* The sample was taken while this request's code ran. True: for the first time in this stall. */
bool lw_stall_add_request(lw_stall *stall, uint64_t request, uint32_t slot);
void lw_stall_add_torn(lw_stall *stall);
/* The stack that most of its samples have, of several the first to have had so many; `otherwise` when none was kept. */
uint32_t lw_stall_usual(const lw_stall *stall, uint32_t otherwise);
/* The numbers of its stacks are void: their samples count as omitted from now on. */
void lw_stall_forget_stacks(lw_stall *stall);
/* Frees what it owns; may be used again. */
void lw_stall_clear(lw_stall *stall);

/* Whether to write an open record now: at the threshold, then every 100 ms, and the longer it lasts the less often, to
   once in ten seconds, so that a process that hangs over night fills no disk. Answers true once each time. */
bool lw_stall_open_due(lw_stall *stall, uint64_t start_ns, uint64_t now, uint64_t threshold_ns);

/* What the recorder wants to know. Borrows the stall's stacks. */
lw_stall_record lw_stall_record_of(const lw_stall *stall, uint32_t loop, const lw_iteration *iteration);

#endif
