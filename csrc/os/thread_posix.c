/* What Linux and macOS have in common: threads, locks and the fork handler. */
#include "thread.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

enum { STACK_BYTES = 256 * 1024 };

struct lw_mutex {
    pthread_mutex_t lock;
};

struct lw_thread {
    pthread_t id;
    void (*run)(void *);
    void *argument; /* borrowed */
};

lw_mutex *lw_mutex_create(void)
{
    lw_mutex *mutex = malloc(sizeof *mutex);

    if (mutex != NULL && pthread_mutex_init(&mutex->lock, NULL) != 0) {
        free(mutex);
        mutex = NULL;
    }
    return mutex;
}

void lw_mutex_destroy(lw_mutex *mutex)
{
    if (mutex != NULL) {
        pthread_mutex_destroy(&mutex->lock);
        free(mutex);
    }
}

void lw_mutex_lock(lw_mutex *mutex)
{
    pthread_mutex_lock(&mutex->lock);
}

void lw_mutex_unlock(lw_mutex *mutex)
{
    pthread_mutex_unlock(&mutex->lock);
}

/* Every signal but those that a fault of the thread itself raises: blocked, they would kill without a
   word. */
static void fill_mask(sigset_t *mask)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};

    sigfillset(mask);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) {
        sigdelset(mask, faults[i]);
    }
}

static void *enter(void *argument)
{
    lw_thread *thread = argument;

    thread->run(thread->argument);
    return NULL;
}

/* pthread_create with our stack size, as an errno value. */
static int create(lw_thread *thread)
{
    pthread_attr_t attributes;

    int error = pthread_attr_init(&attributes);
    if (error != 0) {
        return error;
    }
    error = pthread_attr_setstacksize(&attributes, STACK_BYTES);
    if (error == 0) {
        error = pthread_create(&thread->id, &attributes, enter, thread);
    }
    pthread_attr_destroy(&attributes);
    return error;
}

lw_status lw_thread_start(lw_thread **out, void (*run)(void *), void *argument)
{
    sigset_t blocked, before;

    lw_thread *thread = malloc(sizeof *thread);
    if (thread == NULL) {
        return LW_NO_MEMORY;
    }
    thread->run = run;
    thread->argument = argument;

    /* A thread begins with its creator's mask: the only way to have it from the first instruction on. */
    fill_mask(&blocked);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int error = create(thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);

    if (error != 0) {
        free(thread);
        errno = error;
        return LW_SYSTEM;
    }
    *out = thread;
    return LW_OK;
}

void lw_thread_join(lw_thread *thread)
{
    pthread_join(thread->id, NULL);
    free(thread);
}

lw_status lw_thread_at_fork(void (*handler)(void))
{
    int error = pthread_atfork(NULL, NULL, handler);

    if (error != 0) {
        errno = error;
        return LW_SYSTEM;
    }
    return LW_OK;
}
