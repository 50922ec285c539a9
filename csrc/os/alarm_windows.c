/* A waitable timer: any thread sets it, one waits for it. */
#include "alarm.h"

#include <stdlib.h>
#include <windows.h>

#ifndef CREATE_WAITABLE_TIMER_HIGH_RESOLUTION
#define CREATE_WAITABLE_TIMER_HIGH_RESOLUTION 2 /* Windows 10 1803; older headers lack it */
#endif

struct lw_alarm {
    HANDLE timer; /* owned */
};

lw_status lw_alarm_open(lw_alarm **out)
{
    lw_alarm *alarm = malloc(sizeof *alarm);

    if (alarm == NULL) {
        return LW_NO_MEMORY;
    }
    alarm->timer =
        CreateWaitableTimerExW(NULL, NULL, CREATE_WAITABLE_TIMER_HIGH_RESOLUTION, TIMER_ALL_ACCESS);
    if (alarm->timer == NULL) {
        alarm->timer = CreateWaitableTimerExW(NULL, NULL, 0, TIMER_ALL_ACCESS); /* 15 ms coarse */
    }
    if (alarm->timer == NULL) {
        free(alarm);
        return LW_SYSTEM;
    }
    *out = alarm;
    return LW_OK;
}

void lw_alarm_close(lw_alarm *alarm)
{
    if (alarm != NULL) {
        CloseHandle(alarm->timer);
        free(alarm);
    }
}

void lw_alarm_set(lw_alarm *alarm, uint64_t after_ns)
{
    LARGE_INTEGER due = {.QuadPart = -(LONGLONG)((after_ns + 99) / 100)}; /* negative: from now; 0: at once */

    SetWaitableTimer(alarm->timer, &due, 0, NULL, NULL, FALSE);
}

bool lw_alarm_is_quiet(void)
{
    return true;
}

void lw_alarm_wait(lw_alarm *alarm)
{
    WaitForSingleObject(alarm->timer, INFINITE);
}
