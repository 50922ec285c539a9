/* A descriptor table of the thread's own.

   Linux shares the table between the threads of a process by choice (clone's CLONE_FILES), and a thread may
   leave it. POSIX record locks belong to a table, so closing our copies releases none of the program's. */
#define _GNU_SOURCE
#include "thread.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* the same on every architecture */
#endif

enum {
    UNSHARE = 1 << 1,      /* CLOSE_RANGE_UNSHARE of linux/close_range.h, which older systems lack */
    MOST_CLOSED = 1 << 20, /* bounds the time when the limit is "infinity" */
};

static _Thread_local bool isolated;

/* For kernels before 5.9, and sandboxes that know no close_range. */
static bool unshare_and_close(void)
{
    struct rlimit limit;

    if (unshare(CLONE_FILES) != 0) {
        return false;
    }
    rlim_t end = MOST_CLOSED;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end) {
        end = limit.rlim_cur;
    }
    for (int number = 3; (rlim_t)number < end; number++) {
        close(number);
    }
    return true;
}

/* The program's terminal and pipes must not stay open because of us; and nothing that we open may get one of
   these numbers, or a library's message on "stderr" would land in it. */
static void occupy_standard_descriptors(void)
{
    int number = open("/dev/null", O_RDWR | O_CLOEXEC);

    if (number < 0) {
        number = open("/", O_PATH | O_CLOEXEC); /* a bare chroot: this can neither be read nor written */
    }
    for (int standard = 0; standard <= 2; standard++) {
        if (number < 0) {
            close(standard);
        } else if (standard != number) {
            dup2(number, standard);
        }
    }
    if (number > 2) {
        close(number);
    }
}

lw_status lw_thread_isolate(void)
{
    if (syscall(SYS_close_range, 3u, ~0u, UNSHARE) != 0 && !unshare_and_close()) {
        return LW_UNSUPPORTED;
    }
    occupy_standard_descriptors();
    isolated = true;
    return LW_OK;
}

bool lw_thread_isolated(void)
{
    return isolated;
}

uint64_t lw_thread_number(void)
{
    return (uint64_t)syscall(SYS_gettid);
}
