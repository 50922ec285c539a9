#include "text.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 16 * 1024 };

struct lw_text_block {
    lw_text_block *older; /* owned */
    size_t used, size;
    char chars[];
};

typedef struct kept_string {
    const char *chars; /* in a block; borrowed while it is only looked for */
    size_t size;
} kept_string;

static uint64_t hash_string(const void *entry)
{
    const kept_string *string = entry;
    uint64_t hash = 0xcbf29ce484222325u; /* FNV-1a; its low bits alone are poor, so it is mixed at the end */

    for (size_t i = 0; i < string->size; i++) {
        hash = (hash ^ (unsigned char)string->chars[i]) * 0x100000001b3u;
    }
    return lw_hash_number(hash, string->size);
}

static bool equal_strings(const void *left, const void *right)
{
    const kept_string *a = left, *b = right;

    return a->size == b->size && memcmp(a->chars, b->chars, a->size) == 0;
}

static const lw_table_kind STRINGS = {sizeof(kept_string), hash_string, equal_strings};

void lw_text_open(lw_text *text, size_t limit)
{
    lw_table_open(&text->strings, &STRINGS, UINT32_MAX);
    text->newest = NULL;
    text->used = 0;
    text->bytes = 0;
    text->limit = limit;
}

void lw_text_clear(lw_text *text)
{
    while (text->newest != NULL) {
        lw_text_block *older = text->newest->older;
        free(text->newest);
        text->newest = older;
    }
    lw_table_clear(&text->strings);
    lw_text_open(text, text->limit);
}

/* A block with room for `size` bytes in front of the others; a long string gets one of its own. */
static lw_text_block *block_with_room(lw_text *text, size_t size)
{
    lw_text_block *newest = text->newest;

    if (newest != NULL && newest->size - newest->used >= size) {
        return newest;
    }
    size_t room = size > BLOCK_BYTES ? size : BLOCK_BYTES;
    lw_text_block *block = malloc(sizeof *block + room);
    if (block == NULL) {
        return NULL;
    }
    block->older = newest;
    block->used = 0;
    block->size = room;
    text->newest = block;
    text->bytes += sizeof *block + room;
    return block;
}

lw_status lw_text_keep(lw_text *text, const char *chars, size_t size, const char **out)
{
    const char *end = memchr(chars, '\0', size);
    kept_string wanted = {chars, end == NULL ? size : (size_t)(end - chars)};
    uint32_t number;

    if (lw_table_find(&text->strings, &wanted, &number)) {
        *out = ((kept_string *)lw_table_at(&text->strings, number))->chars;
        return LW_OK;
    }
    if (wanted.size >= text->limit - text->used) {
        return LW_FULL;
    }
    lw_text_block *block = block_with_room(text, wanted.size + 1);
    if (block == NULL) {
        return LW_NO_MEMORY;
    }
    char *copy = block->chars + block->used;
    memcpy(copy, wanted.chars, wanted.size);
    copy[wanted.size] = '\0';
    wanted.chars = copy;
    lw_status status = lw_table_add(&text->strings, &wanted, &number);
    if (status != LW_OK) {
        return status; /* the copy is overwritten by the next one */
    }
    block->used += wanted.size + 1;
    text->used += wanted.size + 1;
    *out = copy;
    return LW_OK;
}

size_t lw_text_bytes(const lw_text *text)
{
    return text->bytes + lw_table_bytes(&text->strings);
}
