/* A thread of this process as the system's scheduler sees it: does it run, what does it wait for. task_linux.c;
   task_darwin.c and task_windows.c, each with task_untold.c. All of it is for one thread, the watchdog's, which
   looks at others. */
#ifndef LW_OS_TASK_H
#define LW_OS_TASK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../status.h"

typedef struct lw_task lw_task; /* owned by who opened it */

/* How a thread is off or on a CPU at one moment. */
typedef enum lw_task_state {
    LW_TASK_UNKNOWN,  /* the system does not tell */
    LW_TASK_RUNNABLE, /* on a CPU, or waiting for one */
    LW_TASK_WAITING,  /* in a system call that waits */
} lw_task_state;

/* The thread with this number (lw_thread_number). LW_NO_MEMORY; LW_SYSTEM when there is none or nothing can be known of
   it. */
lw_status lw_task_open(lw_task **out, uint64_t number);
void lw_task_close(lw_task *task); /* accepts NULL */

/* CPU time that it has used, ns. It stands still while the thread does, and moves on whenever the thread has run at
   all. False: not known, or the thread has ended. */
bool lw_task_cpu(const lw_task *task, uint64_t *ns);

/* Where it is now; *address is the futex that it waits for, 0 for anything else. */
lw_task_state lw_task_look(const lw_task *task, uintptr_t *address);

/* ns that it has waited for a CPU when it could run, up to the last time that it got one, and how often it has got one.
   False: not known. */
bool lw_task_run_delay(const lw_task *task, uint64_t *ns, uint64_t *times);

/* The name that the system has for a thread, cut to `size`; empty when there is none. */
void lw_task_name(uint64_t number, char *into, size_t size);

#endif
