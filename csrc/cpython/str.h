/* Reading a str object out of memory that may vanish, as WTF-8. */
#ifndef LW_CPYTHON_STR_H
#define LW_CPYTHON_STR_H

#include <stddef.h>
#include <stdint.h>

#include "../os/memory.h"
#include "../status.h"

enum { LW_STR_MOST = 4096 }; /* characters; a longer name is cut */

typedef struct lw_str {
    size_t size;
    char bytes[4 * LW_STR_MOST]; /* not terminated; lone surrogates as three bytes each */
} lw_str;

/* The str object at `address`. LW_FAULT when it is not there, LW_TORN when what lies there is no compact str. */
lw_status lw_str_read(lw_memory *memory, uintptr_t address, lw_str *out);

#endif
