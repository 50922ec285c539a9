/* Stands in for loop.c: writes down what poll_uv.c reports, for test_poll_uv.py to look at. */
#include "loop.h"

enum { MOST_ENTRIES = 100000 };

typedef struct entry {
    uint64_t at;
    uint64_t reported_at; /* when the call came */
    uint64_t returned;    /* 1: the poll returned, 0: it was entered */
} entry;

entry log_entries[MOST_ENTRIES];
uint64_t log_count;

static void add(uint64_t now, uint64_t returned)
{
    if (log_count < MOST_ENTRIES) {
        log_entries[log_count++] = (entry){now, lw_clock_now(), returned};
    }
}

void lw_loop_poll_entered(lw_loop_marks *marks, uint64_t now)
{
    (void)marks;
    add(now, 0);
}

void lw_loop_poll_begun(lw_loop_marks *marks, uint64_t now)
{
    lw_loop_poll_entered(marks, now);
}

void lw_loop_poll_returned(lw_loop_marks *marks, uint64_t now)
{
    (void)marks;
    add(now, 1);
}

void lw_loop_caught_up(lw_loop_marks *marks)
{
    (void)marks;
}
