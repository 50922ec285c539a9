/* The nodes of the table that holds a context's variables, as in Python/hamt.c of CPython 3.11 to 3.15, which keeps them
   to itself. A bitmap node has pairs for the set bits, an array node a deeper node for each of 32; five bits of the 32-bit
   folded hash choose at each level. Python.h comes first. */
#ifndef LW_CPYTHON_HAMT_H
#define LW_CPYTHON_HAMT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { LW_HAMT_LEVELS = 7, LW_HAMT_BITS = 5, LW_HAMT_WIDTH = 1 << LW_HAMT_BITS };

typedef struct lw_hamt_bitmap {
    PyObject_VAR_HEAD uint32_t bitmap;
    PyObject *array[1]; /* key and value, or NULL and a deeper node */
} lw_hamt_bitmap;

typedef struct lw_hamt_array {
    PyObject_HEAD PyObject *array[LW_HAMT_WIDTH];
    Py_ssize_t count;
} lw_hamt_array;

/* Which of the 32 at this level. */
static inline unsigned lw_hamt_bit(uint32_t hash, unsigned level)
{
    return hash >> (level * LW_HAMT_BITS) & (LW_HAMT_WIDTH - 1);
}

/* Where the array of a bitmap node has the pair of that bit. False: it has none. */
static inline bool lw_hamt_pair(uint32_t bitmap, unsigned bit, size_t *index)
{
    uint32_t below = bitmap & ((UINT32_C(1) << bit) - 1);
    *index = 0;
    for (; below != 0; below &= below - 1)
        *index += 2;
    return bitmap & UINT32_C(1) << bit;
}

#endif
