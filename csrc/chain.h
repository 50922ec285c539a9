/* The frames that a thread is expected to have, as its last sample found them, cut into pieces to be read.

   Frames that lie close together are one piece, a span. Of the outermost spans the bytes that the last accepted sample
   found there are kept: they are settled. What has the same bytes is the same frames, and need not be looked at one by
   one. The watchdog's thread only. */
#ifndef LW_CHAIN_H
#define LW_CHAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython/codes.h"
#include "cpython/frames.h"
#include "status.h"

enum {
    LW_LOOKS = 4,      /* at each frame, in one sample */
    LW_NEAR = 8,       /* innermost frames that are read one by one */
    LW_SPAN_GAP = 192, /* bytes between two frames, at most, that are read in one piece */
};

/* A frame of the prediction, and what is known of it from the last accepted sample. */
typedef struct lw_link {
    lw_raw_frame frame;
    lw_known_code known; /* its code, as it was known before the gather; address 0: not known, or a shim */
    uint32_t serial;     /* of its code, 0: not interned yet */
    uint32_t stack; /* number of the stack that ends with this frame; LW_NONE: a frame that is not shown */
    bool leaves;    /* see lw_code_place; or it stands before its first instruction */
    uint64_t freed; /* lw_codes_freed before its code was last proven; 0: it is to be proven each time */
} lw_link;

typedef struct lw_span {
    uintptr_t address;
    size_t size;
    size_t outer, inner; /* its frames, counted from the outermost of the chain */
    size_t at[LW_LOOKS]; /* where its bytes are, in the sample under way */
} lw_span;

/* The prediction for one thread. Zero-initialised; owned by whoever watches the thread. */
typedef struct lw_chain {
    lw_link *links; /* innermost first; owned */
    size_t count, room;
    lw_current_hint hint;
    uintptr_t loose_end; /* where the last walk ended, if not below the loop */
    /* The same frames as spans: outermost first; owned. */
    lw_span *spans;
    size_t span_count, span_room;
    bool cut_anew;          /* the links are others than when they were cut */
    size_t settled;         /* spans, from the outermost on */
    uint64_t settled_freed; /* lw_codes_freed before all their codes were proven */
    char *kept;             /* their bytes, one after the other; owned */
    size_t kept_size, kept_room;
    /* When the last sample was taken. */
    uintptr_t context;
    uint64_t version;
    lw_gil_state gil;
    uintptr_t innermost, instruction; /* address of that frame, and where it was */
    bool moved;                       /* the thread went on while it was read */
    bool outer;                       /* of a stack that changes too fast, the outer frames only */
    bool cut;                         /* it was deeper than what is kept */
} lw_chain;

void lw_chain_clear(lw_chain *chain); /* frees what it owns; may be used again */

/* The links from `keep_from` on stay, under those of `head`; of more than `most` the outermost go. LW_NO_MEMORY. */
lw_status lw_chain_set(lw_chain *chain, const lw_link *head, size_t head_count, size_t keep_from,
                       size_t most);

/* The first link from `from` on that is a frame at this address; the chain's length when there is none. */
size_t lw_chain_find(const lw_chain *chain, size_t from, uintptr_t address);

/* Cut the links into spans, if they have changed since. LW_NO_MEMORY. */
lw_status lw_chain_cut(lw_chain *chain);

/* The links of a span: [lw_span_first, lw_span_end). */
size_t lw_span_first(const lw_chain *chain, const lw_span *span);
size_t lw_span_end(const lw_chain *chain, const lw_span *span);

/* The innermost link that is settled: all further out are, too; the chain's length when none is. */
size_t lw_chain_open(const lw_chain *chain);

/* Whether all that is settled has the same bytes in this look. What has not, and what is further in, is settled no
   more. */
bool lw_chain_same(lw_chain *chain, const char *bytes, unsigned look);

/* No link up to this one is settled. */
void lw_chain_unsettle(lw_chain *chain, size_t link);

/* The next span is settled, with these bytes. Without memory it is not: false. */
bool lw_chain_settle(lw_chain *chain, const char *bytes);

#endif
