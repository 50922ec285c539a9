#include "poll.h"

#include "hot.h"

static _Thread_local lw_poll_target *current;

LW_HOT lw_poll_target *lw_poll_current(void)
{
    return current;
}

void lw_poll_set_current(lw_poll_target *target)
{
    current = target;
}
