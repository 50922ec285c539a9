/* Which records there are is said in records.c, where they go in parts.c and queue.c. This file knows what a
   reader has been told already.

   Every entry of the intern table, and every loop, carries the number of the generation in which it was
   written last. A new generation begins whenever a reader can no longer know what it was told: at a new
   part, or when lines were lost. All it refers to is then written once more. */
#include "recorder.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "parts.h"
#include "queue.h"
#include "records.h"

enum {
    BUFFER_BYTES = 1024 * 1024,
    RESERVED_BYTES = 1024, /* of these, for the records that must not be missed: reset and end */
    FIRST_CHAIN = 64,
    THREADS = 16, /* that a reader has been told of, and we remember that */
};

struct lw_recorder {
    lw_recorder_options options; /* without the directory */
    char *header;                /* owned; what options.header points to */
    lw_intern *intern;           /* borrowed */
    lw_parts *parts;             /* owned; NULL: no file */
    lw_queue *queue;             /* owned; NULL: no queue */
    lw_json buffer;
    uint32_t generation;
    uint32_t *chain; /* owned; scratch of tell_stack */
    size_t chain_capacity;
    struct {
        uint64_t number;
        char name[16];
        uint32_t part;
    } threads[THREADS];
    uint32_t thread_next; /* whose place is taken next */
};

static lw_status create_queue(lw_recorder *recorder)
{
    lw_json header;

    lw_status status = lw_queue_create(&recorder->queue, recorder->options.queue_bytes);
    if (status == LW_OK) {
        lw_json_open(&header, SIZE_MAX);
        lw_record_header(&header, &recorder->options, 0);
        lw_queue_write(recorder->queue, header.bytes, header.size, 0);
        lw_json_close(&header);
    }
    return status;
}

lw_status lw_recorder_create(lw_recorder **out, const lw_recorder_options *options, lw_intern *intern)
{
    const char *header = options->header == NULL ? "" : options->header;
    lw_status status = LW_NO_MEMORY;

    lw_recorder *recorder = calloc(1, sizeof *recorder);
    if (recorder == NULL) {
        return status;
    }
    lw_json_open(&recorder->buffer, BUFFER_BYTES);
    recorder->intern = intern;
    recorder->generation = 1;
    recorder->options = *options;
    recorder->header = malloc(strlen(header) + 1);
    if (recorder->header == NULL) {
        goto failed;
    }
    strcpy(recorder->header, header);
    recorder->options.header = recorder->header;
    if (options->directory != NULL) {
        status = lw_parts_create(&recorder->parts, &recorder->options);
        if (status != LW_OK) {
            goto failed;
        }
        recorder->options.directory = NULL;
    }
    if (options->queue) {
        status = create_queue(recorder);
        if (status != LW_OK) {
            goto failed;
        }
    }
    *out = recorder;
    return LW_OK;

failed:;
    int error = errno;
    lw_recorder_destroy(recorder);
    errno = error;
    return status;
}

void lw_recorder_destroy(lw_recorder *recorder)
{
    if (recorder != NULL) {
        lw_parts_destroy(recorder->parts);
        lw_queue_destroy(recorder->queue);
        lw_json_close(&recorder->buffer);
        free(recorder->chain);
        free(recorder->header);
        free(recorder);
    }
}

void lw_recorder_close(lw_recorder *recorder)
{
    if (recorder->parts != NULL) {
        lw_parts_close(recorder->parts);
    }
}

/* Whether the mark says that the reader knows this; from now on it does. */
static bool told(const lw_recorder *recorder, uint32_t *mark)
{
    bool known = *mark == recorder->generation;

    *mark = recorder->generation;
    return known;
}

/* The same of a phase, which may have begun anew. */
static bool told_phase(const lw_recorder *recorder, lw_loop_record *loop, lw_phase phase)
{
    if (loop->phase_told[phase] != loop->phases[phase]) {
        loop->phase_told[phase] = loop->phases[phase];
        loop->phase_part[phase] = 0;
    }
    return told(recorder, &loop->phase_part[phase]);
}

static void tell_loop(lw_recorder *recorder, lw_loop_record *loop)
{
    if (!told(recorder, &loop->part)) {
        lw_record_loop(&recorder->buffer, loop);
    }
    for (int phase = 0; phase < LW_PHASES; phase++) {
        if (loop->phases[phase] != 0 && !told_phase(recorder, loop, (lw_phase)phase)) {
            lw_record_phase(&recorder->buffer, loop->loop, (lw_phase)phase, loop->phases[phase]);
        }
    }
}

static void tell_frame(lw_recorder *recorder, uint32_t id)
{
    lw_frame *frame = lw_intern_frame_at(recorder->intern, id);

    if (told(recorder, &frame->part)) {
        return;
    }
    lw_code *code = lw_intern_code_at(recorder->intern, frame->code);
    if (!told(recorder, &code->part)) {
        lw_record_code(&recorder->buffer, frame->code, code);
    }
    lw_record_frame(&recorder->buffer, id, frame);
}

static bool remember(lw_recorder *recorder, size_t depth, uint32_t id)
{
    if (depth == recorder->chain_capacity) {
        size_t capacity = depth == 0 ? FIRST_CHAIN : depth * 2;
        uint32_t *chain = realloc(recorder->chain, capacity * sizeof *chain);
        if (chain == NULL) {
            return false;
        }
        recorder->chain = chain;
        recorder->chain_capacity = capacity;
    }
    recorder->chain[depth] = id;
    return true;
}

/* The stack, after those below it that the reader does not know: up to one that it does, then down again. */
static void tell_stack(lw_recorder *recorder, uint32_t id)
{
    size_t depth = 0;

    while (id != LW_NONE && !told(recorder, &lw_intern_stack_at(recorder->intern, id)->part)) {
        if (!remember(recorder, depth, id)) {
            recorder->buffer.full = true;
            return;
        }
        depth++;
        id = lw_intern_stack_at(recorder->intern, id)->parent;
    }
    while (depth > 0 && !recorder->buffer.full) {
        uint32_t next = recorder->chain[--depth];
        lw_stack *stack = lw_intern_stack_at(recorder->intern, next);
        tell_frame(recorder, stack->frame);
        lw_record_stack(&recorder->buffer, next, stack);
    }
}

/* Whether what was appended last has had its room. */
static bool fits(const lw_recorder *recorder, size_t limit)
{
    return !recorder->buffer.full && recorder->buffer.size <= limit;
}

/* The record that began at `start` goes, with all before it that it needed, and the marks of those are void. */
static void take_back(lw_recorder *recorder, size_t start)
{
    lw_json_rewind(&recorder->buffer, start);
    recorder->generation++;
}

/* The record that began at `start` is complete; or it did not fit, and is taken back and counted. */
static void finish(lw_recorder *recorder, size_t start, size_t limit)
{
    if (fits(recorder, limit)) {
        return;
    }
    take_back(recorder, start);
    if (recorder->parts != NULL) {
        lw_parts_miss(recorder->parts);
    }
    if (recorder->queue != NULL) {
        lw_queue_miss(recorder->queue);
    }
}

static void tell_thread(lw_recorder *recorder, const lw_holder_count *holder)
{
    size_t i = 0;

    while (i < THREADS && (recorder->threads[i].number != holder->thread ||
                           strcmp(recorder->threads[i].name, holder->name) != 0)) {
        i++;
    }
    if (i == THREADS) {
        i = recorder->thread_next++ % THREADS;
        recorder->threads[i].number = holder->thread;
        memcpy(recorder->threads[i].name, holder->name, sizeof holder->name);
        recorder->threads[i].part = 0;
    }
    if (!told(recorder, &recorder->threads[i].part)) {
        lw_record_thread(&recorder->buffer, holder);
    }
}

/* The stall refers to the first so many of its stacks and holders only. */
static void cut_stacks(lw_stall_record *stall, size_t stacks, size_t holders)
{
    for (size_t i = stacks; i < stall->stack_count; i++) {
        stall->omitted += stall->stacks[i].samples;
    }
    stall->stack_count = stacks;
    stall->cause.holder_count = holders;
}

/* What the stall refers to, until that has taken half of the room there was; the rest of its stacks is cut off. One
   that goes through many deep stacks would never fit otherwise, and seem to last for ever. */
static void tell_stall(lw_recorder *recorder, lw_loop_record *loop, lw_stall_record *stall)
{
    const lw_json *buffer = &recorder->buffer;
    size_t enough = buffer->size + (BUFFER_BYTES - buffer->size) / 2;
    size_t stacks = 0, holders = 0;

    tell_loop(recorder, loop);
    for (; holders < stall->cause.holder_count && buffer->size < enough; holders++) {
        tell_stack(recorder, stall->cause.holders[holders].stack);
        tell_thread(recorder, &stall->cause.holders[holders]);
    }
    for (; stacks < stall->stack_count && buffer->size < enough; stacks++) {
        tell_stack(recorder, stall->stacks[stacks].stack);
    }
    cut_stacks(stall, stacks, holders);
}

/* A stall as `write` writes it: if need be without any stack. */
static void record_stall(lw_recorder *recorder, lw_loop_record *loop, const lw_stall_record *stall,
                         void (*write)(lw_json *json, const lw_stall_record *stall))
{
    size_t start = recorder->buffer.size, limit = BUFFER_BYTES - RESERVED_BYTES;
    lw_stall_record told = *stall;

    tell_stall(recorder, loop, &told);
    write(&recorder->buffer, &told);
    if (!fits(recorder, limit)) {
        take_back(recorder, start);
        cut_stacks(&told, 0, 0);
        tell_loop(recorder, loop);
        write(&recorder->buffer, &told);
    }
    finish(recorder, start, limit);
}

void lw_recorder_open(lw_recorder *recorder, lw_loop_record *loop, const lw_stall_record *stall)
{
    record_stall(recorder, loop, stall, lw_record_open);
}

void lw_recorder_stall(lw_recorder *recorder, lw_loop_record *loop, const lw_stall_record *stall)
{
    record_stall(recorder, loop, stall, lw_record_stall);
}

void lw_recorder_summary(lw_recorder *recorder, lw_loop_record *loop, const lw_summary_record *summary)
{
    size_t start = recorder->buffer.size;

    tell_loop(recorder, loop);
    lw_record_summary(&recorder->buffer, summary);
    finish(recorder, start, BUFFER_BYTES - RESERVED_BYTES);
}

void lw_recorder_delayed(lw_recorder *recorder, lw_loop_record *loop, const lw_delayed *delayed)
{
    size_t start = recorder->buffer.size;

    tell_loop(recorder, loop);
    lw_record_delayed(&recorder->buffer, loop->loop, delayed);
    finish(recorder, start, BUFFER_BYTES - RESERVED_BYTES);
}

void lw_recorder_request(lw_recorder *recorder, uint64_t number, const char *endpoint)
{
    size_t start = recorder->buffer.size;

    lw_record_request(&recorder->buffer, number, endpoint);
    finish(recorder, start, BUFFER_BYTES - RESERVED_BYTES);
}

void lw_recorder_reset(lw_recorder *recorder)
{
    size_t start = recorder->buffer.size;

    lw_record_reset(&recorder->buffer);
    finish(recorder, start, BUFFER_BYTES);
}

void lw_recorder_end(lw_recorder *recorder, uint64_t now)
{
    size_t start = recorder->buffer.size;

    lw_record_end(&recorder->buffer, lw_recorder_dropped(recorder), now);
    finish(recorder, start, BUFFER_BYTES);
}

bool lw_recorder_flush(lw_recorder *recorder, uint64_t now)
{
    const lw_json *buffer = &recorder->buffer;
    bool filled = buffer->size > 0, stands = true;

    /* also when empty: there may be a loss to tell, and room for that again */
    if (recorder->parts != NULL) {
        stands = lw_parts_write(recorder->parts, buffer->bytes, buffer->size, now) && stands;
    }
    if (recorder->queue != NULL) {
        stands = lw_queue_write(recorder->queue, buffer->bytes, buffer->size, now) && stands;
    }
    if (!stands) {
        recorder->generation++;
    }
    lw_json_rewind(&recorder->buffer, 0);
    return filled;
}

uint64_t lw_recorder_dropped(const lw_recorder *recorder)
{
    if (recorder->parts != NULL) {
        return lw_parts_dropped(recorder->parts);
    }
    return recorder->queue != NULL ? lw_queue_dropped(recorder->queue) : 0;
}

size_t lw_recorder_take(lw_recorder *recorder, char *into, size_t size)
{
    return recorder->queue != NULL ? lw_queue_take(recorder->queue, into, size) : 0;
}
