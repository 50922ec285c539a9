#include "poll.h"

static _Thread_local lw_poll_target *current;

lw_poll_target *lw_poll_current(void)
{
    return current;
}

void lw_poll_set_current(lw_poll_target *target)
{
    current = target;
}
