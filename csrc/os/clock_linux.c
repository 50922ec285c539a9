#define _GNU_SOURCE
#include "clock.h"

#include "../hot.h"

#include <errno.h>
#include <time.h>

static const uint64_t NS_PER_S = 1000000000u;

static uint64_t read_clock(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

LW_HOT uint64_t lw_clock_now(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

uint64_t lw_clock_unix(void)
{
    return read_clock(CLOCK_REALTIME);
}

void lw_clock_sleep_until(uint64_t when)
{
    struct timespec until = {.tv_sec = (time_t)(when / NS_PER_S), .tv_nsec = (long)(when % NS_PER_S)};

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR) {
    }
}
