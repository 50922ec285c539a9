/* The kernel copies from our own process and answers an error for a bad address: one call a piece. */
#include "memory.h"

#include <stdlib.h>
#include <windows.h>

struct lw_memory {
    HANDLE process; /* this one; a constant that needs no closing */
    char *buffer;   /* owned */
};

lw_status lw_memory_open(lw_memory **out)
{
    lw_memory *memory = calloc(1, sizeof *memory);

    if (memory == NULL) {
        return LW_NO_MEMORY;
    }
    memory->process = GetCurrentProcess();
    *out = memory;
    return LW_OK;
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

    for (size_t i = 0; i < count; i++) {
        SIZE_T got = 0;
        if (!ReadProcessMemory(memory->process, (const void *)pieces[i].address, to, pieces[i].size, &got) ||
            got != pieces[i].size) {
            return LW_FAULT;
        }
        to += pieces[i].size;
    }
    return LW_OK;
}
