#include "thread.h"

#include <pthread.h>
#include <stddef.h>

lw_status lw_thread_isolate(void)
{
    return LW_UNSUPPORTED; /* all threads of a process share one descriptor table */
}

bool lw_thread_isolated(void)
{
    return false;
}

uint64_t lw_thread_number(void)
{
    uint64_t number = 0;

    pthread_threadid_np(NULL, &number);
    return number;
}
