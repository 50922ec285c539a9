#include "event.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

struct lw_event {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool set;
};

lw_event *lw_event_create(void)
{
    lw_event *event = calloc(1, sizeof *event);
    if (event != NULL) {
        pthread_mutex_init(&event->lock, NULL);
        pthread_cond_init(&event->changed, NULL);
    }
    return event;
}

void lw_event_destroy(lw_event *event)
{
    if (event == NULL)
        return;
    pthread_cond_destroy(&event->changed);
    pthread_mutex_destroy(&event->lock);
    free(event);
}

void lw_event_set(lw_event *event)
{
    pthread_mutex_lock(&event->lock);
    event->set = true;
    pthread_cond_signal(&event->changed);
    pthread_mutex_unlock(&event->lock);
}

bool lw_event_wait(lw_event *event, uint64_t most_ns)
{
    /* By the wall clock, the one that every system's condition variables know: a clock that is set back makes a wait
       longer, which costs nobody anything. */
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    uint64_t ns = (uint64_t)until.tv_nsec + most_ns;
    until.tv_sec += (time_t)(ns / 1000000000u);
    until.tv_nsec = (long)(ns % 1000000000u);
    pthread_mutex_lock(&event->lock);
    while (!event->set && pthread_cond_timedwait(&event->changed, &event->lock, &until) != ETIMEDOUT)
        ;
    bool set = event->set;
    event->set = false;
    pthread_mutex_unlock(&event->lock);
    return set;
}
