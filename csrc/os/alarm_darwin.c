/* A condition variable with a time: no descriptor that the program could close, no signal. The lock is
   held for a few instructions at a time. */
#include "alarm.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>

#include "clock.h"

static const uint64_t NS_PER_S = 1000000000u;

struct lw_alarm {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t changed;
    bool set;
    uint64_t when; /* to ring, if set */
};

lw_status lw_alarm_open(lw_alarm **out)
{
    lw_alarm *alarm = calloc(1, sizeof *alarm);

    if (alarm == NULL) {
        return LW_NO_MEMORY;
    }
    int error = pthread_mutex_init(&alarm->lock, NULL);
    if (error != 0) {
        goto no_lock;
    }
    error = pthread_cond_init(&alarm->changed, NULL);
    if (error != 0) {
        goto no_condition;
    }
    *out = alarm;
    return LW_OK;

no_condition:
    pthread_mutex_destroy(&alarm->lock);
no_lock:
    free(alarm);
    errno = error;
    return LW_SYSTEM;
}

void lw_alarm_close(lw_alarm *alarm)
{
    if (alarm != NULL) {
        pthread_cond_destroy(&alarm->changed);
        pthread_mutex_destroy(&alarm->lock);
        free(alarm);
    }
}

void lw_alarm_set(lw_alarm *alarm, uint64_t after_ns)
{
    pthread_mutex_lock(&alarm->lock);
    alarm->when = lw_clock_now() + after_ns;
    alarm->set = true;
    pthread_cond_signal(&alarm->changed);
    pthread_mutex_unlock(&alarm->lock);
}

/* With the lock held: wait until something changes, or it is time. */
static void wait_a_while(lw_alarm *alarm, uint64_t now)
{
    if (alarm->set) {
        uint64_t rest = alarm->when - now;
        struct timespec pause = {.tv_sec = (time_t)(rest / NS_PER_S), .tv_nsec = (long)(rest % NS_PER_S)};
        pthread_cond_timedwait_relative_np(&alarm->changed, &alarm->lock, &pause);
    } else {
        pthread_cond_wait(&alarm->changed, &alarm->lock);
    }
}

bool lw_alarm_is_quiet(void)
{
    return false;
}

void lw_alarm_wait(lw_alarm *alarm)
{
    pthread_mutex_lock(&alarm->lock);
    for (uint64_t now = lw_clock_now(); !alarm->set || alarm->when > now; now = lw_clock_now()) {
        wait_a_while(alarm, now);
    }
    alarm->set = false;
    pthread_mutex_unlock(&alarm->lock);
}
