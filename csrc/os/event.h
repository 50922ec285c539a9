/* Something that one thread waits for and another announces. event_posix.c, event_windows.c. */
#ifndef LW_OS_EVENT_H
#define LW_OS_EVENT_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lw_event lw_event; /* owned by its creator; not set at first */

/* NULL when there is no memory. */
lw_event *lw_event_create(void);
void lw_event_destroy(lw_event *event); /* accepts NULL; nobody may be waiting */

/* Announce: one wait, the one under way or the next, returns true. Any thread. */
void lw_event_set(lw_event *event);

/* Wait until it is announced, at most that long. Any thread; without the GIL. */
bool lw_event_wait(lw_event *event, uint64_t most_ns);

#endif
