/* GetThreadTimes is good to a tick of 15.6 ms, so the cycles of the thread are counted and turned into time by the rate
   that the counter had up to now. What a thread waits for is not told. */
#include "task.h"

#include <stdlib.h>
#include <windows.h>

#include "clock.h"

struct lw_task {
    HANDLE thread; /* owned */
};

/* Cycles in a microsecond: measured once, on the thread that asks, while it does nothing else. */
static uint64_t cycles_per_us(void)
{
    static uint64_t rate;
    ULONG64 first, last;

    if (rate == 0) {
        uint64_t begin = lw_clock_now(), end = begin;
        QueryThreadCycleTime(GetCurrentThread(), &first);
        while (end - begin < 200000) {
            end = lw_clock_now();
        }
        QueryThreadCycleTime(GetCurrentThread(), &last);
        rate = (last - first) * 1000 / (end - begin);
        rate = rate == 0 ? 1 : rate;
    }
    return rate;
}

lw_status lw_task_open(lw_task **out, uint64_t number)
{
    lw_task *task = calloc(1, sizeof *task);

    if (task == NULL) {
        return LW_NO_MEMORY;
    }
    task->thread = OpenThread(THREAD_QUERY_INFORMATION, FALSE, (DWORD)number);
    if (task->thread == NULL) {
        free(task);
        return LW_SYSTEM;
    }
    *out = task;
    return LW_OK;
}

void lw_task_close(lw_task *task)
{
    if (task != NULL) {
        CloseHandle(task->thread);
        free(task);
    }
}

bool lw_task_cpu(const lw_task *task, uint64_t *ns)
{
    ULONG64 cycles;

    if (!QueryThreadCycleTime(task->thread, &cycles)) {
        return false;
    }
    *ns = cycles / cycles_per_us() * 1000 + cycles % cycles_per_us() * 1000 / cycles_per_us();
    return true;
}
