/* What macOS and Windows do not tell of a thread: what it waits for, for how long it got no CPU, its name. */
#include "task.h"

lw_task_state lw_task_look(const lw_task *task, uintptr_t *address)
{
    (void)task;
    *address = 0;
    return LW_TASK_UNKNOWN;
}

bool lw_task_run_delay(const lw_task *task, uint64_t *ns, uint64_t *times)
{
    (void)task, (void)ns, (void)times;
    return false;
}

void lw_task_name(uint64_t number, char *into, size_t size)
{
    (void)number, (void)size;
    into[0] = '\0';
}
