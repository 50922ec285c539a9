/* The system gives CPU times of threads and nothing on what they wait for. */
#include "task.h"

#include <mach/mach.h>
#include <pthread.h>
#include <stdlib.h>

struct lw_task {
    thread_act_t thread; /* a reference */
};

static bool has_number(thread_act_t thread, uint64_t number)
{
    thread_identifier_info_data_t info;
    mach_msg_type_number_t count = THREAD_IDENTIFIER_INFO_COUNT;

    return thread_info(thread, THREAD_IDENTIFIER_INFO, (thread_info_t)&info, &count) == KERN_SUCCESS &&
           info.thread_id == number;
}

lw_status lw_task_open(lw_task **out, uint64_t number)
{
    thread_act_array_t threads;
    mach_msg_type_number_t count;

    lw_task *task = calloc(1, sizeof *task);
    if (task == NULL) {
        return LW_NO_MEMORY;
    }
    if (task_threads(mach_task_self(), &threads, &count) != KERN_SUCCESS) {
        free(task);
        return LW_SYSTEM;
    }
    for (mach_msg_type_number_t i = 0; i < count; i++) {
        if (task->thread == MACH_PORT_NULL && has_number(threads[i], number)) {
            task->thread = threads[i];
        } else {
            mach_port_deallocate(mach_task_self(), threads[i]);
        }
    }
    vm_deallocate(mach_task_self(), (vm_address_t)threads, count * sizeof *threads);
    if (task->thread == MACH_PORT_NULL) {
        free(task);
        return LW_SYSTEM;
    }
    *out = task;
    return LW_OK;
}

void lw_task_close(lw_task *task)
{
    if (task != NULL) {
        mach_port_deallocate(mach_task_self(), task->thread);
        free(task);
    }
}

static uint64_t nanoseconds(time_value_t time)
{
    return (uint64_t)time.seconds * UINT64_C(1000000000) + (uint64_t)time.microseconds * 1000;
}

bool lw_task_cpu(const lw_task *task, uint64_t *ns)
{
    thread_basic_info_data_t info;
    mach_msg_type_number_t count = THREAD_BASIC_INFO_COUNT;

    if (thread_info(task->thread, THREAD_BASIC_INFO, (thread_info_t)&info, &count) != KERN_SUCCESS) {
        return false;
    }
    *ns = nanoseconds(info.user_time) + nanoseconds(info.system_time);
    return true;
}
