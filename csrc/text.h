/* Distinct strings, each kept once, at an address that never moves: so two equal ones have the same address.

   The same few files and names come again in thousands of codes. No locks, one thread. */
#ifndef LW_TEXT_H
#define LW_TEXT_H

#include <stddef.h>
#include <stdint.h>

#include "status.h"
#include "table.h"

typedef struct lw_text_block lw_text_block;

typedef struct lw_text {
    lw_table strings;
    lw_text_block *newest;     /* owned, with all older ones */
    size_t used, bytes, limit; /* of the characters: used by strings, in all blocks, most that may be used */
} lw_text;

/* Empty, holding no memory yet; at most `limit` bytes of characters, their ends included. */
void lw_text_open(lw_text *text, size_t limit);

/* Forget all strings and give the memory back; the text can be used again. */
void lw_text_clear(lw_text *text);

/* The one copy of these characters, with a 0 behind them; what lies behind a 0 among them is cut off.
   Valid until clear. LW_FULL, LW_NO_MEMORY. */
lw_status lw_text_keep(lw_text *text, const char *chars, size_t size, const char **out);

size_t lw_text_bytes(const lw_text *text);

#endif
