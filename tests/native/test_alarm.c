#define _GNU_SOURCE
#include "check.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#include "os/alarm.h"
#include "os/clock.h"
#include "os/thread.h"

/* A thread that counts how often its alarm rings. */
static _Atomic(lw_alarm *) shared_alarm;
static _Atomic unsigned rings;
static _Atomic bool over, may_close; /* the loop ends; nobody sets the alarm any more */

static const uint64_t patience = 10000000000; /* ns; only a broken program uses it up */

static void close_when_allowed(lw_alarm *alarm)
{
    while (!atomic_load(&may_close)) {
        usleep(100);
    }
    lw_alarm_close(alarm);
}

static void stop(lw_thread *thread)
{
    atomic_store(&over, true);
    lw_alarm_set(atomic_load(&shared_alarm), 0);
    atomic_store(&may_close, true);
    lw_thread_join(thread);
}

static void count_rings(void *argument)
{
    lw_alarm *alarm = NULL;

    (void)argument;
    CHECK_EQUAL(lw_alarm_open(&alarm), LW_OK);
    atomic_store(&shared_alarm, alarm);
    while (!atomic_load(&over)) {
        lw_alarm_wait(alarm);
        atomic_fetch_add(&rings, 1);
    }
    close_when_allowed(alarm);
}

static lw_thread *start_counting(void)
{
    lw_thread *thread = NULL;

    CHECK_EQUAL(lw_thread_start(&thread, count_rings, NULL), LW_OK);
    while (atomic_load(&shared_alarm) == NULL) {
        usleep(100);
    }
    return thread;
}

static void wait_for_ring(unsigned before)
{
    uint64_t end = lw_clock_now() + patience;

    while (atomic_load(&rings) == before) {
        CHECK(lw_clock_now() < end);
    }
}

CASE(no_ring_is_lost)
{
    lw_thread *thread = start_counting();
    unsigned seed = 1;

    for (int i = 0; i < 20000; i++) {
        unsigned before = atomic_load(&rings);
        seed = seed * 1664525u + 1013904223u;
        lw_alarm_set(atomic_load(&shared_alarm), (seed >> 8) % 30000);
        wait_for_ring(before);
    }
    stop(thread);
}

CASE(it_does_not_ring_before_its_time)
{
    lw_thread *thread = start_counting();
    uint64_t start = lw_clock_now();

    lw_alarm_set(atomic_load(&shared_alarm), 20000000);
    wait_for_ring(0);
    CHECK(lw_clock_now() - start >= 20000000);
    usleep(20000);
    CHECK_EQUAL(atomic_load(&rings), 1);
    stop(thread);
}

CASE(setting_it_again_replaces_the_time)
{
    lw_thread *thread = start_counting();

    lw_alarm_set(atomic_load(&shared_alarm), 3600000000000);
    lw_alarm_set(atomic_load(&shared_alarm), 1000);
    wait_for_ring(0);
    lw_alarm_set(atomic_load(&shared_alarm), 0);
    wait_for_ring(1);
    lw_alarm_set(atomic_load(&shared_alarm), 500000000); /* long enough for a busy machine to get on */
    lw_alarm_set(atomic_load(&shared_alarm), 3600000000000);
    usleep(700000);
    CHECK_EQUAL(atomic_load(&rings), 2);
    stop(thread);
}

/* The hand-over of mechanism: a loop that leaves its poll rings only when the alarm is not armed, a
   watchdog that parks looks once more. A stall that the watchdog never sees would hang the case. */
static _Atomic bool polling = true, armed;
static _Atomic uint64_t left_at;
static _Atomic unsigned seen, parked, rescued;

enum { PATROL = 20000 };

static void park(lw_alarm *alarm)
{
    atomic_store(&armed, false);
    atomic_fetch_add(&parked, 1);
    if (!atomic_load(&polling) && !atomic_exchange(&armed, true)) {
        atomic_fetch_add(&rescued, 1);
        lw_alarm_set(alarm, PATROL);
    }
}

static void patrol(lw_alarm *alarm)
{
    if (atomic_load(&polling)) {
        park(alarm);
        return;
    }
    if (lw_clock_now() - atomic_load(&left_at) >= PATROL) {
        atomic_fetch_add(&seen, 1);
    }
    lw_alarm_set(alarm, PATROL);
}

static void watch(void *argument)
{
    lw_alarm *alarm = NULL;

    (void)argument;
    CHECK_EQUAL(lw_alarm_open(&alarm), LW_OK);
    atomic_store(&shared_alarm, alarm);
    while (!atomic_load(&over)) {
        lw_alarm_wait(alarm);
        patrol(alarm);
    }
    close_when_allowed(alarm);
}

static void leave_poll(void)
{
    atomic_store(&left_at, lw_clock_now());
    atomic_store(&polling, false);
    if (!atomic_load(&armed) && !atomic_exchange(&armed, true)) {
        lw_alarm_set(atomic_load(&shared_alarm), PATROL);
    }
}

CASE(hand_over_between_a_loop_and_its_watchdog)
{
    lw_thread *thread = NULL;
    unsigned seed = 7;

    CHECK_EQUAL(lw_thread_start(&thread, watch, NULL), LW_OK);
    while (atomic_load(&shared_alarm) == NULL) {
        usleep(100);
    }
    for (int i = 0; i < 5000; i++) {
        seed = seed * 1664525u + 1013904223u;
        uint64_t poll_end = lw_clock_now() + (seed >> 8) % 60000;
        while (lw_clock_now() < poll_end) {
        }
        unsigned before = atomic_load(&seen);
        uint64_t give_up = lw_clock_now() + patience;
        leave_poll();
        while (i % 3 == 0 && atomic_load(&seen) == before) { /* a stall: goes on until it is seen */
            CHECK(lw_clock_now() < give_up);
        }
        atomic_store(&polling, true);
    }
    printf("%u parks, %u rescued\n", atomic_load(&parked), atomic_load(&rescued));
    stop(thread);
}

/* ---- signals ---- */

static volatile sig_atomic_t handled;

static void handle(int number)
{
    (void)number;
    handled++;
}

CASE(a_signal_that_the_program_handles_is_left_alone)
{
    struct sigaction action = {.sa_handler = handle};

    CHECK_EQUAL(sigaction(SIGRTMAX, &action, NULL), 0);
    CHECK_EQUAL(sigaction(SIGRTMAX - 1, &action, NULL), 0);
    lw_thread *thread = start_counting();
    for (unsigned i = 0; i < 100; i++) {
        lw_alarm_set(atomic_load(&shared_alarm), 0);
        wait_for_ring(i);
    }
    CHECK_EQUAL(raise(SIGRTMAX), 0);
    CHECK_EQUAL(handled, 1);
    stop(thread);
    CHECK_EQUAL(handled, 1);
}

CASE(a_signal_to_the_process_is_handed_on)
{
    sigset_t mine;
    static const struct timespec limit = {10, 0};

    sigemptyset(&mine);
    sigaddset(&mine, SIGRTMAX);
    CHECK_EQUAL(sigprocmask(SIG_BLOCK, &mine, NULL), 0);
    lw_thread *thread = start_counting(); /* waits for SIGRTMAX, which has no handler */
    for (int i = 0; i < 200; i++) {
        CHECK_EQUAL(kill(getpid(), SIGRTMAX), 0);
        if (i % 2 == 0) {
            usleep(50); /* let the other thread get it */
        }
        CHECK_EQUAL(sigtimedwait(&mine, NULL, &limit), SIGRTMAX);
    }
    stop(thread);
}

static void open_twice(void *argument)
{
    lw_alarm *alarm = NULL;

    (void)argument;
    CHECK_EQUAL(lw_alarm_open(&alarm), LW_OK);
    lw_alarm_set(alarm, 0);
    usleep(1000);
    lw_alarm_close(alarm); /* with a ring pending */
    CHECK_EQUAL(lw_alarm_open(&alarm), LW_OK);
    uint64_t end = lw_clock_now() + 5000000;
    lw_alarm_set(alarm, 5000000);
    do {
        lw_alarm_wait(alarm); /* may be that ring */
    } while (lw_clock_now() < end);
    lw_alarm_close(alarm);
    lw_alarm_close(NULL);
}

CASE(a_pending_ring_does_not_harm_the_next_alarm)
{
    lw_thread *thread = NULL;

    /* Handed on to the program, it would end it. */
    CHECK_EQUAL(lw_thread_start(&thread, open_twice, NULL), LW_OK);
    lw_thread_join(thread);
}

static void open_and_end(void *argument)
{
    CHECK_EQUAL(lw_alarm_open(argument), LW_OK);
}

CASE(an_alarm_outlives_its_thread)
{
    lw_thread *thread = NULL;
    lw_alarm *alarm = NULL;

    CHECK_EQUAL(lw_thread_start(&thread, open_and_end, &alarm), LW_OK);
    lw_thread_join(thread);
    for (int i = 0; i < 100; i++) {
        lw_alarm_set(alarm, 0); /* heard by nobody */
    }
    usleep(2000);
    lw_alarm_close(alarm);
}

CASE(sleeping_until_a_moment)
{
    uint64_t start = lw_clock_now();

    lw_clock_sleep_until(start - 1000);
    lw_clock_sleep_until(0);
    lw_clock_sleep_until(start + 3000000);
    CHECK(lw_clock_now() >= start + 3000000);
    CHECK(lw_clock_unix() / 1000000000 > 1700000000);
}
