#include "intern.h"

#include <stdlib.h>

#include "table.h"
#include "text.h"

struct lw_intern {
    lw_text text; /* files and names */
    lw_table codes, frames, stacks;
};

/* The texts of a code are kept once each, so their addresses tell them apart. */
static uint64_t hash_code(const void *entry)
{
    const lw_code *code = entry;
    uint64_t hash = lw_hash_number(0, (uintptr_t)code->file);

    hash = lw_hash_number(hash, (uintptr_t)code->name);
    return lw_hash_number(hash, code->first_line);
}

static bool equal_codes(const void *left, const void *right)
{
    const lw_code *a = left, *b = right;

    return a->file == b->file && a->name == b->name && a->first_line == b->first_line;
}

static uint64_t hash_frame(const void *entry)
{
    const lw_frame *frame = entry;
    uint64_t hash = lw_hash_number(0, (uint64_t)frame->code << 32 | frame->line);

    hash = lw_hash_number(hash, (uint64_t)frame->column << 32 | frame->end_column);
    return lw_hash_number(hash, frame->end_line);
}

static bool equal_frames(const void *left, const void *right)
{
    const lw_frame *a = left, *b = right;

    return a->code == b->code && a->line == b->line && a->end_line == b->end_line && a->column == b->column &&
           a->end_column == b->end_column;
}

static uint64_t hash_stack(const void *entry)
{
    const lw_stack *stack = entry;

    return lw_hash_number(0, (uint64_t)stack->parent << 32 | stack->frame);
}

static bool equal_stacks(const void *left, const void *right)
{
    const lw_stack *a = left, *b = right;

    return a->parent == b->parent && a->frame == b->frame;
}

static const lw_table_kind CODES = {sizeof(lw_code), hash_code, equal_codes};
static const lw_table_kind FRAMES = {sizeof(lw_frame), hash_frame, equal_frames};
static const lw_table_kind STACKS = {sizeof(lw_stack), hash_stack, equal_stacks};

lw_status lw_intern_create(lw_intern **out, const lw_intern_limits *limits)
{
    lw_intern *intern = malloc(sizeof *intern);

    if (intern == NULL) {
        return LW_NO_MEMORY;
    }
    lw_text_open(&intern->text, limits->text);
    lw_table_open(&intern->codes, &CODES, limits->codes);
    lw_table_open(&intern->frames, &FRAMES, limits->frames);
    lw_table_open(&intern->stacks, &STACKS, limits->stacks);
    *out = intern;
    return LW_OK;
}

void lw_intern_clear(lw_intern *intern)
{
    lw_text_clear(&intern->text);
    lw_table_clear(&intern->codes);
    lw_table_clear(&intern->frames);
    lw_table_clear(&intern->stacks);
}

void lw_intern_destroy(lw_intern *intern)
{
    if (intern != NULL) {
        lw_intern_clear(intern);
        free(intern);
    }
}

static lw_status find_or_add(lw_table *table, const void *entry, uint32_t *id)
{
    return lw_table_find(table, entry, id) ? LW_OK : lw_table_add(table, entry, id);
}

lw_status lw_intern_code(lw_intern *intern, const char *file, size_t file_size, const char *name,
                         size_t name_size, uint32_t first_line, uint32_t *id)
{
    lw_code code = {.first_line = first_line};

    lw_status status = lw_text_keep(&intern->text, file, file_size, &code.file);
    if (status == LW_OK) {
        status = lw_text_keep(&intern->text, name, name_size, &code.name);
    }
    if (status == LW_OK) {
        status = find_or_add(&intern->codes, &code, id);
    }
    return status;
}

lw_status lw_intern_frame(lw_intern *intern, const lw_frame *place, uint32_t *id)
{
    lw_frame frame = *place;

    frame.part = 0;
    return find_or_add(&intern->frames, &frame, id);
}

lw_status lw_intern_stack(lw_intern *intern, uint32_t parent, uint32_t frame, uint32_t *id)
{
    lw_stack stack = {.parent = parent, .frame = frame};

    return find_or_add(&intern->stacks, &stack, id);
}

lw_code *lw_intern_code_at(lw_intern *intern, uint32_t id)
{
    return lw_table_at(&intern->codes, id);
}

lw_frame *lw_intern_frame_at(lw_intern *intern, uint32_t id)
{
    return lw_table_at(&intern->frames, id);
}

lw_stack *lw_intern_stack_at(lw_intern *intern, uint32_t id)
{
    return lw_table_at(&intern->stacks, id);
}

uint32_t lw_intern_stacks(const lw_intern *intern)
{
    return intern->stacks.count;
}

size_t lw_intern_bytes(const lw_intern *intern)
{
    return sizeof *intern + lw_text_bytes(&intern->text) + lw_table_bytes(&intern->codes) +
           lw_table_bytes(&intern->frames) + lw_table_bytes(&intern->stacks);
}
