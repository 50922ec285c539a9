/* The kernel copies from our own task and answers an error for a bad address: one call a piece. */
#include "memory.h"

#include <mach/mach.h>
#include <mach/mach_vm.h>
#include <stdlib.h>

struct lw_memory {
    mach_port_t task; /* borrowed: this process */
    char *buffer;     /* owned */
};

lw_status lw_memory_open(lw_memory **out)
{
    lw_memory *memory = calloc(1, sizeof *memory);

    if (memory == NULL) {
        return LW_NO_MEMORY;
    }
    memory->task = mach_task_self();
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
        mach_vm_size_t got = 0;
        kern_return_t result = mach_vm_read_overwrite(memory->task, pieces[i].address, pieces[i].size,
                                                      (mach_vm_address_t)to, &got);
        if (result != KERN_SUCCESS || got != pieces[i].size) {
            return LW_FAULT;
        }
        to += pieces[i].size;
    }
    return LW_OK;
}
