/* What memory_each.c needs of a system: one file per system, memory_darwin.c and memory_windows.c. */
#ifndef LW_OS_MEMORY_COPY_H
#define LW_OS_MEMORY_COPY_H

#include <stdbool.h>

#include "memory.h"

/* Copy one piece of this process's memory. False when it is not all there; what is at `into` then is garbage. */
bool lw_memory_copy(lw_piece piece, void *into);

#endif
