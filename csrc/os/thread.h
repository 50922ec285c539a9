/* Threads and locks. thread_posix.c has what Linux and macOS share; the rest is in thread_linux.c,
   thread_darwin.c, thread_windows.c. */
#ifndef LW_OS_THREAD_H
#define LW_OS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "../status.h"

typedef struct lw_mutex lw_mutex;   /* created locked by nobody; owned by its creator */
typedef struct lw_thread lw_thread; /* a running native thread; owned by its creator */

/* NULL when there is no memory. */
lw_mutex *lw_mutex_create(void);
/* Nobody may hold or wait for it. Accepts NULL. */
void lw_mutex_destroy(lw_mutex *mutex);
void lw_mutex_lock(lw_mutex *mutex);
void lw_mutex_unlock(lw_mutex *mutex);

/* Start a thread with an explicit stack of 256 KiB (an unlimited `ulimit -s` gives odd ones) and with
   every signal blocked but SEGV, BUS, FPE, ILL and ABRT from its first instruction on.
   LW_SYSTEM or LW_NO_MEMORY when it cannot; *out is then untouched. */
lw_status lw_thread_start(lw_thread **out, void (*run)(void *), void *argument);

/* Wait until it has ended and free it. Not from the thread itself. */
void lw_thread_join(lw_thread *thread);

/* Called on the new thread itself, before it opens anything: give it a descriptor table of its own,
   empty but for /dev/null on 0 to 2, so that whatever the program closes or opens is not ours.
   LW_UNSUPPORTED where the system has no such thing: descriptors are then the process's own, and their
   users must check whose they are (lw_memory, lw_file do). */
lw_status lw_thread_isolate(void);

/* Whether the calling thread has such a table. */
bool lw_thread_isolated(void);

/* The system's number of the calling thread (gettid), as in /proc/self/task. */
uint64_t lw_thread_number(void);

/* Run `handler` in the child of every fork(3), before anything else of ours or of Python's; it may only
   store to memory. There is no way to take it back, and each call adds one. LW_OK also where the system has no
   fork. */
lw_status lw_thread_at_fork(void (*handler)(void));

#endif
