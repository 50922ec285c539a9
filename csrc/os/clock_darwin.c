#include "clock.h"

#include <time.h>

static const uint64_t NS_PER_S = 1000000000u;

uint64_t lw_clock_now(void)
{
    /* what time.monotonic() reads; CLOCK_MONOTONIC goes on while the machine sleeps, and this does not */
    return clock_gettime_nsec_np(CLOCK_UPTIME_RAW);
}

uint64_t lw_clock_unix(void)
{
    return clock_gettime_nsec_np(CLOCK_REALTIME);
}

void lw_clock_sleep_until(uint64_t when)
{
    for (uint64_t now = lw_clock_now(); now < when; now = lw_clock_now()) {
        uint64_t rest = when - now;
        struct timespec pause = {.tv_sec = (time_t)(rest / NS_PER_S), .tv_nsec = (long)(rest % NS_PER_S)};
        nanosleep(&pause, NULL);
    }
}
