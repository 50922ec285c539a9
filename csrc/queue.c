#include "queue.h"

#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "loss.h"
#include "os/thread.h"

enum { FIRST_CAPACITY = 16 * 1024, NOTICE_BYTES = 256 };

struct lw_queue {
    lw_mutex *lock; /* owned; guards all the rest, for a copy in memory at most */
    char *bytes;    /* owned; the lines lie from `start` to `end` */
    size_t start, end, capacity, limit;
    lw_loss loss; /* once lines are lost, none is taken in before the taker can be told */
};

lw_status lw_queue_create(lw_queue **out, size_t limit)
{
    lw_queue *queue = calloc(1, sizeof *queue);

    if (queue == NULL) {
        return LW_NO_MEMORY;
    }
    queue->lock = lw_mutex_create();
    if (queue->lock == NULL) {
        free(queue);
        return LW_NO_MEMORY;
    }
    queue->limit = limit;
    *out = queue;
    return LW_OK;
}

void lw_queue_destroy(lw_queue *queue)
{
    if (queue != NULL) {
        lw_mutex_destroy(queue->lock);
        free(queue->bytes);
        free(queue);
    }
}

static size_t held(const lw_queue *queue)
{
    return queue->end - queue->start;
}

/* How many bytes of whole lines stand in the first `most` of `size`. */
static size_t measure_lines(const char *lines, size_t size, size_t most)
{
    if (most >= size) {
        return size;
    }
    while (most > 0 && lines[most - 1] != '\n') {
        most--;
    }
    return most;
}

/* With the lock held: room for `more` bytes behind `end`, within the limit. */
static bool make_room(lw_queue *queue, size_t more)
{
    size_t needed = held(queue) + more;
    size_t capacity = queue->capacity == 0 ? FIRST_CAPACITY : queue->capacity;

    if (queue->start > 0) {
        memmove(queue->bytes, queue->bytes + queue->start, held(queue));
        queue->end = held(queue);
        queue->start = 0;
    }
    if (needed <= queue->capacity) {
        return true;
    }
    while (capacity < needed) {
        capacity *= 2;
    }
    char *bytes = realloc(queue->bytes, capacity);
    if (bytes == NULL) {
        return false;
    }
    queue->bytes = bytes;
    queue->capacity = capacity;
    return true;
}

/* With the lock held: append as many whole lines as there is room for; returns their bytes. */
static size_t put(lw_queue *queue, const char *lines, size_t size)
{
    size_t fitting = measure_lines(lines, size, queue->limit - held(queue));

    if (fitting == 0 || !make_room(queue, fitting)) {
        return 0;
    }
    memcpy(queue->bytes + queue->end, lines, fitting);
    queue->end += fitting;
    return fitting;
}

/* With the lock held: tell the taker what it has missed; false when there is no room for that yet. */
static bool resume(lw_queue *queue, uint64_t now)
{
    lw_json notice;

    if (held(queue) > queue->limit / 2) {
        return false;
    }
    lw_json_open(&notice, NOTICE_BYTES);
    lw_loss_tell(&queue->loss, &notice, now);
    bool told = !notice.full && put(queue, notice.bytes, notice.size) == notice.size;
    lw_json_close(&notice);
    if (told) {
        lw_loss_told(&queue->loss);
    }
    return told;
}

bool lw_queue_write(lw_queue *queue, const char *lines, size_t size, uint64_t now)
{
    lw_mutex_lock(queue->lock);
    size_t written = queue->loss.ids ? 0 : put(queue, lines, size);
    lw_loss_add_lines(&queue->loss, lines + written, size - written);
    bool resumed = queue->loss.untold && resume(queue, now);
    lw_mutex_unlock(queue->lock);
    return !resumed;
}

void lw_queue_miss(lw_queue *queue)
{
    lw_mutex_lock(queue->lock);
    lw_loss_add(&queue->loss);
    lw_mutex_unlock(queue->lock);
}

uint64_t lw_queue_dropped(lw_queue *queue)
{
    lw_mutex_lock(queue->lock);
    uint64_t records = queue->loss.records;
    lw_mutex_unlock(queue->lock);
    return records;
}

/* With the lock held and lines there: the first one is lost. */
static void skip_line(lw_queue *queue)
{
    const char *first = queue->bytes + queue->start;
    const char *end = memchr(first, '\n', held(queue));
    size_t size = (size_t)(end + 1 - first);

    lw_loss_add_lines(&queue->loss, first, size);
    queue->start += size;
}

size_t lw_queue_take(lw_queue *queue, char *into, size_t size)
{
    size_t taken = 0;

    lw_mutex_lock(queue->lock);
    while (taken == 0 && held(queue) > 0) {
        taken = measure_lines(queue->bytes + queue->start, held(queue), size);
        if (taken == 0) {
            skip_line(queue);
        }
    }
    if (taken > 0) {
        memcpy(into, queue->bytes + queue->start, taken);
        queue->start += taken;
    }
    lw_mutex_unlock(queue->lock);
    return taken;
}
