/* A growing array of distinct entries of one size, found by value: an entry's number is its place.

   Open addressing over the numbers, so the entries themselves lie densely packed in the order they came.
   Nothing is ever removed. No locks, one thread. */
#ifndef LW_TABLE_H
#define LW_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

/* What a table holds. Entries are compared by `equal`; equal ones have the same hash. */
typedef struct lw_table_kind {
    size_t entry_size;
    uint64_t (*hash)(const void *entry);
    bool (*equal)(const void *left, const void *right);
} lw_table_kind;

typedef struct lw_table {
    const lw_table_kind *kind;
    char *entries;     /* owned */
    uint32_t *numbers; /* owned; a power of two of them, UINT32_MAX: empty */
    uint32_t count, capacity, limit;
    uint32_t places; /* of `numbers` */
} lw_table;

/* An empty table that holds no memory yet; never more than `limit` entries. */
void lw_table_open(lw_table *table, const lw_table_kind *kind, uint32_t limit);

/* Forget all entries and give the memory back; the table can be used again. */
void lw_table_clear(lw_table *table);

/* The number of an entry equal to this one; false when there is none. */
bool lw_table_find(const lw_table *table, const void *entry, uint32_t *number);

/* Append a copy of an entry that lw_table_find did not find. LW_FULL, LW_NO_MEMORY: nothing has changed. */
lw_status lw_table_add(lw_table *table, const void *entry, uint32_t *number);

void *lw_table_at(const lw_table *table, uint32_t number);

size_t lw_table_bytes(const lw_table *table);

/* Mix numbers into a hash: start from 0 and feed one after the other. */
uint64_t lw_hash_number(uint64_t hash, uint64_t number);

#endif
