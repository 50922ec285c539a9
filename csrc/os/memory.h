/* Reading memory of this process that may vanish while it is read, or was never there.
   memory_linux.c (pwritev into a file in memory, or into a pipe: the kernel answers EFAULT for a bad address), and
   memory_each.c for macOS and Windows (memory_copy.h). Nothing here may fault, block or take a lock. */
#ifndef LW_OS_MEMORY_H
#define LW_OS_MEMORY_H

#include <stddef.h>
#include <stdint.h>

#include "../status.h"

typedef struct lw_piece {
    uintptr_t address; /* in the process; read, never written */
    size_t size;       /* bytes */
} lw_piece;

typedef struct lw_memory lw_memory; /* used by one thread: the one that opened it */

/* LW_SYSTEM when the system gives neither, LW_NO_MEMORY. */
lw_status lw_memory_open(lw_memory **out);
void lw_memory_close(lw_memory *memory); /* accepts NULL */

/* Copy the pieces, in the order given and as they are at the moment each is reached, one after the other
   into `into` (room for the sum of their sizes). The copies of one call are made as close together in time
   as the system allows: one system call for up to 1024 pieces and 64 KB, or one pipe, of bytes.
   LW_FAULT when a piece is not all there (`into` then holds garbage), LW_SYSTEM when the descriptors are no
   longer ours; the memory must then be closed and opened anew. */
lw_status lw_memory_read(lw_memory *memory, const lw_piece *pieces, size_t count, void *into);

/* So many bytes into which reading costs least: the place for what is read over and over. Only lw_memory_read writes
   there; they are the memory's own, and what was read is void when it is asked again. NULL: there is no room. */
char *lw_memory_buffer(lw_memory *memory, size_t size);

#endif
