/* A POSIX timer that signals one thread, and that thread waits for the signal: no handler, no descriptor.

   The signal is a real-time one that the program has no handler for. It is thread-directed, so nobody else
   ever sees it. The other way round is possible: while we wait, the kernel may give us one of that number
   that was meant for the process as a whole. Such a one is handed on. */
#define _GNU_SOURCE
#include "alarm.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "thread.h"

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid /* glibc has no public name for it */
#endif

/* What our rings carry, all of them: one that is still pending when its alarm is closed makes the next
   alarm of that thread ring early, and is not taken for a stranger's. */
static char our_mark;

struct lw_alarm {
    timer_t timer;    /* owned */
    sigset_t signals; /* just the one */
};

static bool is_handled(int number)
{
    struct sigaction action;

    return sigaction(number, NULL, &action) != 0 || (action.sa_flags & SA_SIGINFO) != 0 ||
           action.sa_handler != SIG_DFL;
}

/* To the main thread, which is where the kernel tries first. */
static void hand_on(siginfo_t *info)
{
    if (info->si_code >= 0 || info->si_code == SI_TKILL) {
        info->si_code = SI_QUEUE; /* sender and value are kept, but only the kernel may say "from kill()" */
    }
    syscall(SYS_rt_tgsigqueueinfo, getpid(), getpid(), info->si_signo, info);
}

static bool create_timer(lw_alarm *alarm, int number)
{
    struct sigevent event;

    memset(&event, 0, sizeof event);
    event.sigev_notify = SIGEV_THREAD_ID;
    event.sigev_signo = number;
    event.sigev_value.sival_ptr = &our_mark;
    event.sigev_notify_thread_id = (int)lw_thread_number();
    return timer_create(CLOCK_MONOTONIC, &event, &alarm->timer) == 0;
}

lw_status lw_alarm_open(lw_alarm **out)
{
    int number = SIGRTMAX; /* from the top, since programs count up from SIGRTMIN */

    lw_alarm *alarm = malloc(sizeof *alarm);
    if (alarm == NULL) {
        return LW_NO_MEMORY;
    }
    errno = EBUSY; /* when the program handles them all; emulators refuse some */
    while (number >= SIGRTMIN && (is_handled(number) || !create_timer(alarm, number))) {
        number--;
    }
    if (number < SIGRTMIN) {
        free(alarm);
        return LW_SYSTEM;
    }
    sigemptyset(&alarm->signals);
    sigaddset(&alarm->signals, number);
    *out = alarm;
    return LW_OK;
}

void lw_alarm_close(lw_alarm *alarm)
{
    if (alarm != NULL) {
        timer_delete(alarm->timer);
        free(alarm);
    }
}

void lw_alarm_set(lw_alarm *alarm, uint64_t after_ns)
{
    struct itimerspec when = {{0, 0}, {0, 0}};

    uint64_t after = after_ns == 0 ? 1 : after_ns; /* 0 would take the alarm off */
    when.it_value.tv_sec = (time_t)(after / 1000000000u);
    when.it_value.tv_nsec = (long)(after % 1000000000u);
    timer_settime(alarm->timer, 0, &when, NULL);
}

bool lw_alarm_is_quiet(void)
{
    return true;
}

void lw_alarm_wait(lw_alarm *alarm)
{
    siginfo_t info;

    if (sigwaitinfo(&alarm->signals, &info) >= 0 &&
        (info.si_code != SI_TIMER || info.si_value.sival_ptr != &our_mark)) {
        hand_on(&info);
    }
}
