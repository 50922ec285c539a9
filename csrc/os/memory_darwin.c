#include "memory_copy.h"

#include <mach/mach.h>
#include <mach/mach_vm.h>

bool lw_memory_copy(lw_piece piece, void *into)
{
    mach_vm_size_t got = 0;

    return mach_vm_read_overwrite(mach_task_self(), piece.address, piece.size, (mach_vm_address_t)into,
                                  &got) == KERN_SUCCESS &&
           got == piece.size;
}
