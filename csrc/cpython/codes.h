/* Code objects seen in frames: who they are, and which line an instruction of theirs is on.

   A code object may be freed, and another one built at its address, at any moment. A *known* code is one whose
   names were read while it was alive. Whether the one at that address is still the same is proven by bytes that
   the sampler gathers along with the frames:
   - 3.12 and later: the header, with a version that no two code objects share;
   - 3.11: the header before and after the frames, and the first bytes of line table and qualified name.
   From 3.12 on the interpreter also tells when code is freed (code_watch.h): while none is, nothing need be proven twice.
   A freed block keeps type and version; only the reference count's word gives it away.

   The watchdog's thread only. */
#ifndef LW_CPYTHON_CODES_H
#define LW_CPYTHON_CODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../intern.h"
#include "../lines.h"
#include "../os/memory.h"
#include "../status.h"
#include "frames.h"

enum {
    LW_PROOF_PIECES = 3,  /* most pieces of one proof */
    LW_PROOF_BYTES = 544, /* most bytes of one proof */
};

typedef struct lw_known_code {
    uintptr_t address; /* 0: free entry of the table */
    uint64_t identity; /* the version, or a hash of the contents */
    uint32_t serial;   /* never given twice */
    uint32_t intern;   /* number in the intern table */
    uint32_t units;    /* length of the code in units of two bytes */
    int32_t first_line;
    uint32_t locals;                     /* slots of a frame before its stack */
    uint32_t first_traceable;            /* unit before which a frame is not complete yet */
    uintptr_t line_table, name;          /* its bytes and qualified-name objects */
    uint32_t line_table_size, name_size; /* bytes */
} lw_known_code;

typedef struct lw_codes lw_codes;

/* `intern` and `memory` are borrowed. LW_NO_MEMORY. */
lw_status lw_codes_create(lw_codes **out, lw_intern *intern);
void lw_codes_destroy(lw_codes *codes); /* accepts NULL */
void lw_codes_forget(lw_codes *codes);  /* everything; after lw_intern_clear */

/* The known code at an address, NULL when there is none. Valid until the next lw_codes_learn or _forget. */
const lw_known_code *lw_codes_find(const lw_codes *codes, uintptr_t address);

/* Pieces to gather before the frames (3.11 only) and after them. `known` may be NULL: the header alone then. */
size_t lw_code_before_pieces(uintptr_t address, lw_piece out[1]);
size_t lw_code_proof_pieces(const lw_known_code *known, uintptr_t address, lw_piece out[LW_PROOF_PIECES]);

/* What the gathered bytes say: LW_OK, this is `known`; LW_FAULT, it is another or an unknown one; LW_TORN, there is
   no living code object. `before` is not looked at on 3.12 and later. */
lw_status lw_code_prove(const lw_known_code *known, const void *before, const void *proof);

/* Read names and all of the code object at `address`, and make it known. Then gather again: what is known must be
   older than the frames that refer to it. LW_FULL: the tables must be cleared first. */
lw_status lw_codes_learn(lw_codes *codes, lw_memory *memory, uintptr_t address);

/* The unit that a frame is at, -1 before the first. LW_TORN when the instruction is not within the code. */
lw_status lw_code_unit(const lw_known_code *known, const lw_raw_frame *frame, int32_t *unit);
/* Whether the frame has not begun yet, so that sys._getframe would not show it. */
bool lw_code_incomplete(const lw_known_code *known, const lw_raw_frame *frame, int32_t unit);

/* What stands at a unit of a known code. */
typedef struct lw_code_place {
    uint32_t frame; /* number of the interned frame */
    bool leaves;    /* it returns or yields, as far as the version tells */
} lw_code_place;

lw_status lw_codes_place(lw_codes *codes, lw_memory *memory, const lw_known_code *known, int32_t unit,
                         lw_code_place *out);

/* Whether a frame of this code that uses so many slots has not been cleared (3.12 and later). */
bool lw_code_frame_alive(const lw_known_code *known, intptr_t slots);

/* Whether the instruction at this address is over at once: whoever is seen at it runs bytecode, and no long C call. */
bool lw_code_is_quick(lw_memory *memory, uintptr_t instruction);

/* Whether a frame at a place that leaves it or not can have called another one, without C code in between: it has
   left itself, but not for good. One before its first instruction counts as at a place that leaves. */
bool lw_code_can_call(const lw_known_code *known, const lw_raw_frame *frame, bool leaves);

/* Whether it is the frame of a generator or coroutine that has been left and waits for another one. */
bool lw_code_awaits(lw_memory *memory, const lw_raw_frame *frame);

#endif
