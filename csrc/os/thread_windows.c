#include "thread.h"

#include <errno.h>
#include <process.h>
#include <stdlib.h>
#include <windows.h>

enum { STACK_BYTES = 256 * 1024 };

struct lw_mutex {
    SRWLOCK lock;
};

struct lw_thread {
    HANDLE handle; /* owned */
    void (*run)(void *);
    void *argument; /* borrowed */
};

lw_mutex *lw_mutex_create(void)
{
    lw_mutex *mutex = malloc(sizeof *mutex);

    if (mutex != NULL) {
        InitializeSRWLock(&mutex->lock);
    }
    return mutex;
}

void lw_mutex_destroy(lw_mutex *mutex)
{
    free(mutex);
}

void lw_mutex_lock(lw_mutex *mutex)
{
    AcquireSRWLockExclusive(&mutex->lock);
}

void lw_mutex_unlock(lw_mutex *mutex)
{
    ReleaseSRWLockExclusive(&mutex->lock);
}

static unsigned __stdcall enter(void *argument)
{
    lw_thread *thread = argument;

    thread->run(thread->argument);
    return 0;
}

lw_status lw_thread_start(lw_thread **out, void (*run)(void *), void *argument)
{
    lw_thread *thread = malloc(sizeof *thread);

    if (thread == NULL) {
        return LW_NO_MEMORY;
    }
    thread->run = run;
    thread->argument = argument;
    thread->handle =
        (HANDLE)_beginthreadex(NULL, STACK_BYTES, enter, thread, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    if (thread->handle == NULL) {
        int error = errno;
        free(thread);
        errno = error;
        return LW_SYSTEM;
    }
    *out = thread;
    return LW_OK;
}

void lw_thread_join(lw_thread *thread)
{
    WaitForSingleObject(thread->handle, INFINITE);
    CloseHandle(thread->handle);
    free(thread);
}

lw_status lw_thread_isolate(void)
{
    return LW_UNSUPPORTED; /* nor needed: no program closes handles that it has not opened */
}

bool lw_thread_isolated(void)
{
    return false;
}

uint64_t lw_thread_number(void)
{
    return GetCurrentThreadId();
}

lw_status lw_thread_at_fork(void (*handler)(void))
{
    (void)handler;
    return LW_OK;
}
