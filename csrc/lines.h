/* Line tables: which line and columns an instruction came from. The bytes of a code object's co_linetable, as
   described in CPython's Objects/locations.md (3.11+; InternalDocs/code_objects.md from 3.13). Pure functions. */
#ifndef LW_LINES_H
#define LW_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum { LW_LINE_NONE = -1 };

typedef struct lw_place {
    int32_t line, end_line;     /* from 1; LW_LINE_NONE: no line */
    int32_t column, end_column; /* UTF-8 bytes from 0; LW_LINE_NONE: not known */
} lw_place;

/* The place of code unit number `unit` (two bytes each). With `nearest`, a unit without a line (some clean-up after
   an exception has none) takes the line of the closest earlier unit that has one, without columns.
   LW_FAULT when the table makes no sense or ends before the unit. */
lw_status lw_lines_find(const uint8_t *table, size_t size, int32_t first_line, uint32_t unit, bool nearest,
                        lw_place *out);

#endif
