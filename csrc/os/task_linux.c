/* What /proc tells of a thread, and its CPU clock.

   The clock's number is made from the thread's as glibc's and musl's pthread_getcpuclockid do (glibc
   sysdeps/unix/sysv/linux/kernel-posix-cpu-timers.h; Linux include/linux/posix-timers_types.h). */
#define _GNU_SOURCE
#include "task.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "descriptor.h"

enum {
    PER_THREAD = 4,
    SCHEDULER = 2,
    LINE = 256, /* of /proc/.../syscall: 9 numbers of up to 18 characters */
};

struct lw_task {
    clockid_t clock;
    lw_descriptor call, delay; /* owned; number -1: the system has no such file, or keeps it from us */
};

static void open_file(lw_descriptor *file, uint64_t number, const char *name)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/self/task/%" PRIu64 "/%s", number, name);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 || lw_descriptor_adopt(file, descriptor) != LW_OK) {
        file->number = -1;
        if (descriptor >= 0) {
            close(descriptor);
        }
    }
}

static void close_file(lw_descriptor *file)
{
    if (file->number >= 0) {
        lw_descriptor_close(file);
    }
}

/* The file's first line, without its end. False: there is none. */
static bool read_file(const lw_descriptor *file, char line[LINE])
{
    if (file->number < 0 || !lw_descriptor_check(file)) {
        return false;
    }
    ssize_t size = pread(file->number, line, LINE - 1, 0);
    if (size <= 0) {
        return false;
    }
    line[size] = '\0';
    line[strcspn(line, "\n")] = '\0';
    return true;
}

lw_status lw_task_open(lw_task **out, uint64_t number)
{
    uint64_t ns;

    lw_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return LW_NO_MEMORY;
    }
    task->clock = (clockid_t)(~(unsigned)number << 3 | PER_THREAD | SCHEDULER);
    open_file(&task->call, number, "syscall");
    open_file(&task->delay, number, "schedstat");
    if (!lw_task_cpu(task, &ns)) {
        lw_task_close(task);
        return LW_SYSTEM;
    }
    *out = task;
    return LW_OK;
}

void lw_task_close(lw_task *task)
{
    if (task != NULL) {
        close_file(&task->call);
        close_file(&task->delay);
        free(task);
    }
}

bool lw_task_cpu(const lw_task *task, uint64_t *ns)
{
    struct timespec time;

    if (clock_gettime(task->clock, &time) != 0) {
        return false;
    }
    *ns = (uint64_t)time.tv_sec * UINT64_C(1000000000) + (uint64_t)time.tv_nsec;
    return true;
}

/* The line is `running`, or the number of the system call, its arguments in hexadecimal, stack and instruction; the
   number is -1 for a thread that is stopped elsewhere in the kernel (Linux fs/proc/base.c, proc_pid_syscall). */
lw_task_state lw_task_look(const lw_task *task, uintptr_t *address)
{
    char line[LINE], *end;

    *address = 0;
    if (!read_file(&task->call, line)) {
        return LW_TASK_UNKNOWN;
    }
    if (strncmp(line, "running", 7) == 0) {
        return LW_TASK_RUNNABLE;
    }
    long call = strtol(line, &end, 10);
    if (end == line) {
        return LW_TASK_UNKNOWN;
    }
    if (call == SYS_futex) {
        *address = (uintptr_t)strtoull(end, NULL, 16);
    }
    return LW_TASK_WAITING;
}

bool lw_task_run_delay(const lw_task *task, uint64_t *ns, uint64_t *times)
{
    char line[LINE], *end;

    if (!read_file(&task->delay, line)) {
        return false;
    }
    strtoull(line, &end, 10); /* time on a CPU */
    *ns = strtoull(end, &end, 10);
    char *third = end;
    *times = strtoull(third, &end, 10);
    return end != third;
}

void lw_task_name(uint64_t number, char *into, size_t size)
{
    lw_descriptor file;
    char line[LINE];

    into[0] = '\0';
    open_file(&file, number, "comm");
    if (read_file(&file, line)) {
        snprintf(into, size, "%s", line);
    }
    close_file(&file);
}
