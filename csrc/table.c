#include "table.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 64, FIRST_PLACES = 128 };

static const uint32_t EMPTY = UINT32_MAX;

void lw_table_open(lw_table *table, const lw_table_kind *kind, uint32_t limit)
{
    memset(table, 0, sizeof *table);
    table->kind = kind;
    table->limit = limit < EMPTY ? limit : EMPTY - 1;
}

void lw_table_clear(lw_table *table)
{
    free(table->entries);
    free(table->numbers);
    lw_table_open(table, table->kind, table->limit);
}

void *lw_table_at(const lw_table *table, uint32_t number)
{
    return table->entries + (size_t)number * table->kind->entry_size;
}

size_t lw_table_bytes(const lw_table *table)
{
    return table->capacity * table->kind->entry_size + table->places * sizeof *table->numbers;
}

/* The place that holds an equal entry's number, or the empty one where it belongs. */
static uint32_t find_place(const lw_table *table, const void *entry)
{
    uint32_t mask = table->places - 1;
    uint32_t place = (uint32_t)table->kind->hash(entry) & mask;

    while (table->numbers[place] != EMPTY &&
           !table->kind->equal(lw_table_at(table, table->numbers[place]), entry)) {
        place = (place + 1) & mask;
    }
    return place;
}

bool lw_table_find(const lw_table *table, const void *entry, uint32_t *number)
{
    if (table->places == 0) {
        return false;
    }
    uint32_t place = find_place(table, entry);
    if (table->numbers[place] == EMPTY) {
        return false;
    }
    *number = table->numbers[place];
    return true;
}

/* By half: what a doubling leaves unused would be most of the memory of a long run. */
static bool grow_entries(lw_table *table)
{
    uint64_t capacity = table->capacity == 0 ? FIRST_CAPACITY : (uint64_t)table->capacity * 3 / 2;

    if (capacity > table->limit) {
        capacity = table->limit;
    }
    char *entries = realloc(table->entries, (size_t)capacity * table->kind->entry_size);
    if (entries == NULL) {
        return false;
    }
    table->entries = entries;
    table->capacity = (uint32_t)capacity;
    return true;
}

static bool grow_places(lw_table *table)
{
    uint32_t places = table->places == 0 ? FIRST_PLACES : table->places * 2;
    uint32_t *numbers = malloc(places * sizeof *numbers);

    if (numbers == NULL) {
        return false;
    }
    memset(numbers, 0xff, places * sizeof *numbers); /* EMPTY */
    free(table->numbers);
    table->numbers = numbers;
    table->places = places;
    for (uint32_t number = 0; number < table->count; number++) {
        numbers[find_place(table, lw_table_at(table, number))] = number;
    }
    return true;
}

lw_status lw_table_add(lw_table *table, const void *entry, uint32_t *number)
{
    if (table->count == table->limit) {
        return LW_FULL;
    }
    if (table->count == table->capacity && !grow_entries(table)) {
        return LW_NO_MEMORY;
    }
    /* at most three quarters full, or probing gets long */
    if (table->count >= table->places / 4 * 3 && !grow_places(table)) {
        return LW_NO_MEMORY;
    }
    table->numbers[find_place(table, entry)] = table->count;
    memcpy(lw_table_at(table, table->count), entry, table->kind->entry_size);
    *number = table->count++;
    return LW_OK;
}

uint64_t lw_hash_number(uint64_t hash, uint64_t number)
{
    /* the finishing rounds of MurmurHash3: every bit of the input reaches the low bits, which choose the
       place */
    hash ^= number + 0x9e3779b97f4a7c15u;
    hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdu;
    hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53u;
    return hash ^ (hash >> 33);
}
