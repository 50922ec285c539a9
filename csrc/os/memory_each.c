/* Memory where the kernel copies from our own process and answers an error for a bad address: one call a piece. */
#include "memory.h"

#include <stdlib.h>

#include "memory_copy.h"

struct lw_memory {
    char *buffer; /* owned */
};

lw_status lw_memory_open(lw_memory **out)
{
    *out = calloc(1, sizeof **out);
    return *out == NULL ? LW_NO_MEMORY : LW_OK;
}

void lw_memory_close(lw_memory *memory)
{
    if (memory != NULL) {
        free(memory->buffer);
        free(memory);
    }
}

char *lw_memory_buffer(lw_memory *memory, size_t size)
{
    char *buffer = realloc(memory->buffer, size);

    if (buffer != NULL) {
        memory->buffer = buffer;
    }
    return buffer;
}

lw_status lw_memory_read(lw_memory *memory, const lw_piece *pieces, size_t count, void *into)
{
    char *to = into;

    (void)memory;
    for (size_t i = 0; i < count; i++) {
        if (!lw_memory_copy(pieces[i], to)) {
            return LW_FAULT;
        }
        to += pieces[i].size;
    }
    return LW_OK;
}
