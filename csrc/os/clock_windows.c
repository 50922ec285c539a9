#include "clock.h"

#include <windows.h>

#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 2 /* Windows 10 1803; older headers lack it */
#endif

static const uint64_t NS_PER_S = 1000000000u, NS_PER_MS = 1000000u;
static const uint64_t UNIX_EPOCH = 116444736000000000u; /* in FILETIME's 100 ns since 1601 */

uint64_t lw_clock_now(void)
{
    LARGE_INTEGER ticks, frequency;

    /* time.monotonic() since 3.13; before, that one only ticked every 15 ms. Neither call can fail. */
    QueryPerformanceFrequency(&frequency);
    QueryPerformanceCounter(&ticks);
    uint64_t per_second = (uint64_t)frequency.QuadPart, count = (uint64_t)ticks.QuadPart;
    return count / per_second * NS_PER_S + count % per_second * NS_PER_S / per_second;
}

uint64_t lw_clock_unix(void)
{
    FILETIME now;

    GetSystemTimePreciseAsFileTime(&now);
    return (((uint64_t)now.dwHighDateTime << 32 | now.dwLowDateTime) - UNIX_EPOCH) * 100;
}

/* Sleep() alone is 15 ms at best. */
static void sleep_for(uint64_t ns)
{
    LARGE_INTEGER due = {.QuadPart = -(LONGLONG)((ns + 99) / 100)}; /* negative: from now */

    HANDLE timer =
        CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
    if (timer != NULL && SetWaitableTimer(timer, &due, 0, NULL, NULL, FALSE)) {
        WaitForSingleObject(timer, INFINITE);
    } else {
        Sleep((DWORD)((ns + NS_PER_MS - 1) / NS_PER_MS));
    }
    if (timer != NULL) {
        CloseHandle(timer);
    }
}

void lw_clock_sleep_until(uint64_t when)
{
    for (uint64_t now = lw_clock_now(); now < when; now = lw_clock_now()) {
        sleep_for(when - now);
    }
}
