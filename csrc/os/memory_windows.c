#include "memory_copy.h"

#include <windows.h>

bool lw_memory_copy(lw_piece piece, void *into)
{
    SIZE_T got = 0;

    return ReadProcessMemory(GetCurrentProcess(), (const void *)piece.address, into, piece.size, &got) &&
           got == piece.size;
}
