/* What the system tells of real threads. */
#define _GNU_SOURCE
#include "check.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "os/quota.h"
#include "os/task.h"
#include "os/thread.h"

static _Atomic uint64_t number;
static _Atomic bool run, stop;
static pthread_mutex_t held = PTHREAD_MUTEX_INITIALIZER;

static void pause_ms(long ms)
{
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

static void *work(void *argument)
{
    atomic_store(&number, lw_thread_number());
    while (!atomic_load(&run)) {
        pause_ms(1);
    }
    while (!atomic_load(&stop)) {
    }
    pthread_mutex_lock(&held);
    pthread_mutex_unlock(&held);
    return argument;
}

/* Ask until it answers that, for some seconds. */
static bool becomes(const lw_task *task, lw_task_state state, uintptr_t *address)
{
    for (int i = 0; i < 5000; i++) {
        if (lw_task_look(task, address) == state) {
            return true;
        }
        pause_ms(1);
    }
    return false;
}

CASE(a_thread_runs_and_waits)
{
    pthread_t thread;
    lw_task *task;
    uint64_t before, after, delay, times, more;
    uintptr_t address;

    pthread_mutex_lock(&held);
    CHECK(pthread_create(&thread, NULL, work, NULL) == 0);
    while (atomic_load(&number) == 0) {
        pause_ms(1);
    }
    CHECK(lw_task_open(&task, atomic_load(&number)) == LW_OK);
    CHECK(becomes(task, LW_TASK_WAITING, &address));
    CHECK_EQUAL(address, 0); /* a sleep is no futex */
    atomic_store(&run, true);
    CHECK(becomes(task, LW_TASK_RUNNABLE, &address));
    CHECK(lw_task_cpu(task, &before));
    pause_ms(20);
    CHECK(lw_task_cpu(task, &after));
    CHECK(after > before);
    CHECK(lw_task_run_delay(task, &delay, &times));
    CHECK(times > 0);
    atomic_store(&stop, true);
    CHECK(becomes(task, LW_TASK_WAITING, &address));
    CHECK(address >= (uintptr_t)&held && address < (uintptr_t)(&held + 1));
    pause_ms(5);
    CHECK(lw_task_cpu(task, &before));
    pause_ms(20);
    CHECK(lw_task_cpu(task, &after));
    CHECK_EQUAL(after, before); /* to the nanosecond: the thread has not run */
    CHECK(lw_task_run_delay(task, &delay, &more));
    CHECK(more >= times);
    pthread_mutex_unlock(&held);
    pthread_join(thread, NULL);
    CHECK(becomes(task, LW_TASK_UNKNOWN, &address)); /* the system is a moment late with it */
    CHECK(!lw_task_cpu(task, &after));
    lw_task_close(task);
}

CASE(no_such_thread)
{
    const uint64_t beyond = (1 << 22) + 1; /* PID_MAX_LIMIT of linux/threads.h */
    lw_task *task;
    char name[16] = "x";

    CHECK(lw_task_open(&task, beyond) == LW_SYSTEM);
    lw_task_name(beyond, name, sizeof name);
    CHECK_EQUAL(name[0], 0);
    lw_task_close(NULL);
}

CASE(names)
{
    char name[16], cut[3];

    pthread_setname_np(pthread_self(), "a name");
    lw_task_name(lw_thread_number(), name, sizeof name);
    CHECK(strcmp(name, "a name") == 0);
    lw_task_name(lw_thread_number(), cut, sizeof cut);
    CHECK(strcmp(cut, "a ") == 0);
}

CASE(a_quota_or_none)
{
    uint64_t ns;

    lw_quota *quota = lw_quota_open(); /* what there is depends on the machine */
    CHECK(!lw_quota_throttled(NULL, &ns));
    if (quota != NULL) {
        CHECK(lw_quota_throttled(quota, &ns));
    }
    lw_quota_close(quota);
}
