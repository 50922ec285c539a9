/* Code objects, places in them and whole stacks as small numbers, so that a sample costs nothing to keep.

   Three tables. A *code* is a file, a qualified name and a first line. A *frame* is a place in a code: line,
   end line and columns. A *stack* is a frame on top of another stack: a tree whose nodes are shared by all the
   stacks that have passed there, named by its innermost node.

   All tables are bounded; when one is full, lw_intern_clear starts anew and the recorder says so. Each entry
   carries a mark that tells whether the recorder has written it to the current part.

   No locks: the watchdog's thread only. No I/O. */
#ifndef LW_INTERN_H
#define LW_INTERN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define LW_NONE UINT32_MAX /* no stack, no line, no column */

typedef struct lw_code {
    const char *file; /* owned by the table; UTF-8, lone surrogates as three bytes each (WTF-8) */
    const char *name; /* likewise */
    uint32_t first_line;
    uint32_t part; /* the recorder's own mark; 0: not written yet */
} lw_code;

typedef struct lw_frame {
    uint32_t code;
    uint32_t line, end_line;     /* LW_NONE: the place has no line */
    uint32_t column, end_column; /* UTF-8 bytes from 0; LW_NONE: not known */
    uint32_t part;
} lw_frame;

typedef struct lw_stack {
    uint32_t parent; /* LW_NONE: outermost */
    uint32_t frame;
    uint32_t part;
} lw_stack;

typedef struct lw_intern lw_intern;

typedef struct lw_intern_limits {
    uint32_t codes, frames, stacks; /* most entries of each */
    size_t text;                    /* most bytes of names */
} lw_intern_limits;

lw_status lw_intern_create(lw_intern **out, const lw_intern_limits *limits);
void lw_intern_destroy(lw_intern *intern); /* accepts NULL */
void lw_intern_clear(lw_intern *intern);   /* every number given so far is void */

/* The number of the entry with these values, a new one if there is none yet. The strings are copied.
   LW_FULL when the table has no room, LW_NO_MEMORY; *id is then untouched. */
lw_status lw_intern_code(lw_intern *intern, const char *file, size_t file_size, const char *name,
                         size_t name_size, uint32_t first_line, uint32_t *id);
lw_status lw_intern_frame(lw_intern *intern, const lw_frame *place, uint32_t *id); /* `part` is ignored */
lw_status lw_intern_stack(lw_intern *intern, uint32_t parent, uint32_t frame, uint32_t *id);

/* An entry by its number, which must be one given since the last clear. Valid until the next call that adds
   an entry. */
lw_code *lw_intern_code_at(lw_intern *intern, uint32_t id);
lw_frame *lw_intern_frame_at(lw_intern *intern, uint32_t id);
lw_stack *lw_intern_stack_at(lw_intern *intern, uint32_t id);

uint32_t lw_intern_stacks(const lw_intern *intern); /* how many there are */
size_t lw_intern_bytes(const lw_intern *intern);    /* memory in use, all tables */

#endif
