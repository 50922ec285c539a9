/* Lines in memory, from the watchdog's thread to any other that takes them. Bounded: when nobody takes
   them, lines are dropped until half of the room is free again. */
#ifndef LW_QUEUE_H
#define LW_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

typedef struct lw_queue lw_queue;

/* At most `limit` bytes. LW_NO_MEMORY. */
lw_status lw_queue_create(lw_queue **out, size_t limit);
void lw_queue_destroy(lw_queue *queue); /* accepts NULL; nobody may be taking */

/* Append whole lines. False when the taker has missed some and now takes on again: ids that it was told
   before no longer stand. */
bool lw_queue_write(lw_queue *queue, const char *lines, size_t size, uint64_t now);

/* A record that was not even formatted. */
void lw_queue_miss(lw_queue *queue);

uint64_t lw_queue_dropped(lw_queue *queue);

/* Move whole lines out, oldest first, at most `size` bytes; returns how many bytes, 0 when there are none.
   A line longer than `size` is dropped. Any thread. */
size_t lw_queue_take(lw_queue *queue, char *into, size_t size);

#endif
