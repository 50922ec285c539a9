/* The marks of one loop, driven by hand: no poll, no thread, times and context versions are numbers. */
#include "check.h"

#include <signal.h>

#include "attention.h"
#include "loop.h"
#include "os/clock.h"

enum { MS = 1000000 };

static uint64_t version;
static lw_bell bell;

/* A loop whose first iteration starts at `now`. The bell counts as armed: nobody is to be woken here. */
static lw_loop_marks *begin(uint64_t now)
{
    lw_loop_marks *marks = calloc(1, sizeof *marks);

    bell.armed = true;
    version = 100;
    marks->threshold_ns = 10 * MS;
    marks->context_version = &version;
    marks->bell = &bell;
    lw_loop_poll_returned(marks, now);
    return marks;
}

static lw_iteration taken(lw_loop_marks *marks)
{
    lw_iteration iteration = {0};

    CHECK(lw_loop_take_finished(marks, &iteration));
    return iteration;
}

CASE(only_long_iterations_are_kept_with_exact_times)
{
    lw_iteration none;
    lw_loop_marks *marks = begin(1000);

    lw_loop_poll_entered(marks, 1000 + 10 * MS - 1);
    CHECK(!lw_loop_take_finished(marks, &none));
    lw_loop_poll_returned(marks, 50 * MS);
    lw_loop_poll_entered(marks, 60 * MS);
    lw_iteration stall = taken(marks);
    CHECK_EQUAL(stall.number, 2);
    CHECK_EQUAL(stall.start_ns, 50 * MS);
    CHECK_EQUAL(stall.end_ns, 60 * MS);
    CHECK(!stall.allowed);
    CHECK(!lw_loop_take_finished(marks, &none));
    CHECK_EQUAL(marks->counters.iterations, 2);
    CHECK_EQUAL(marks->counters.busy_ns, 20 * MS - 1);
    CHECK_EQUAL(marks->counters.longest_ns, 10 * MS);
    CHECK_EQUAL(marks->counters.stalls, 1);
    free(marks);
}

CASE(a_poll_that_does_not_wait_parts_two_iterations)
{
    lw_loop_marks *marks = begin(0);

    version += 2 * 3;
    lw_loop_poll_passed(marks, 20 * MS);
    CHECK(!marks->polling);
    lw_iteration first = taken(marks);
    CHECK_EQUAL(first.number, 1);
    CHECK_EQUAL(first.end_ns, 20 * MS);
    CHECK_EQUAL(first.callbacks, 3);
    version += 2 * 5;
    lw_loop_poll_passed(marks, 35 * MS);
    lw_iteration second = taken(marks);
    CHECK_EQUAL(second.number, 2);
    CHECK_EQUAL(second.start_ns, 20 * MS);
    CHECK_EQUAL(second.end_ns, 35 * MS);
    CHECK_EQUAL(second.callbacks, 5);
    CHECK_EQUAL(marks->counters.busy_ns, 35 * MS);
    free(marks);
}

CASE(callbacks_are_half_the_context_switches)
{
    lw_loop_marks *marks = begin(0);

    version += 2 * 7;
    lw_loop_poll_entered(marks, 20 * MS);
    CHECK_EQUAL(taken(marks).callbacks, 7);
    marks->contexts_extra = 1; /* as uvloop has it */
    lw_loop_poll_returned(marks, 30 * MS);
    version += 2 * 7;
    CHECK_EQUAL(lw_loop_callbacks(marks, version), 6);
    CHECK_EQUAL(lw_loop_callbacks(marks, version + 1), 7); /* inside one */
    free(marks);
}

CASE(what_the_ring_cannot_hold_is_counted)
{
    lw_iteration iteration;
    lw_loop_marks *marks = begin(0);
    uint64_t now = 0, kept = 0;

    for (int i = 0; i < LW_LOOP_FINISHED + 5; i++) {
        lw_loop_poll_entered(marks, now += 11 * MS);
        lw_loop_poll_returned(marks, now);
    }
    while (lw_loop_take_finished(marks, &iteration)) {
        CHECK_EQUAL(iteration.number, ++kept);
    }
    CHECK_EQUAL(kept, LW_LOOP_FINISHED);
    CHECK_EQUAL(marks->counters.lost, 5);
    CHECK_EQUAL(marks->counters.lost_ns, 5 * 11 * MS);
    CHECK_EQUAL(marks->counters.stalls, LW_LOOP_FINISHED + 5);
    lw_loop_poll_entered(marks, now += 11 * MS);
    CHECK_EQUAL(taken(marks).number, LW_LOOP_FINISHED + 6);
    free(marks);
}

CASE(allowed_time_makes_a_stall_allowed)
{
    lw_loop_marks *marks = begin(0);

    lw_loop_allow(marks, 1 * MS);
    lw_loop_allow(marks, 2 * MS); /* nested: counts once */
    lw_loop_disallow(marks, 3 * MS);
    lw_loop_disallow(marks, 31 * MS);
    lw_loop_poll_entered(marks, 39 * MS); /* 9 ms are left */
    CHECK(taken(marks).allowed);

    lw_loop_poll_returned(marks, 40 * MS);
    lw_loop_allow(marks, 40 * MS);
    lw_loop_disallow(marks, 50 * MS);
    lw_loop_poll_entered(marks, 60 * MS); /* 10 ms are left */
    CHECK(!taken(marks).allowed);
    free(marks);
}

CASE(an_allowed_block_that_awaits_goes_on_in_the_next_iteration)
{
    lw_loop_marks *marks = begin(0);

    lw_loop_allow(marks, 1 * MS);
    lw_loop_poll_entered(marks, 2 * MS);
    lw_loop_poll_returned(marks, 100 * MS);
    lw_loop_poll_entered(marks, 120 * MS);
    CHECK(taken(marks).allowed);
    lw_loop_poll_returned(marks, 130 * MS);
    lw_loop_disallow(marks, 131 * MS);
    lw_loop_disallow(marks, 131 * MS); /* one too many: no effect */
    lw_loop_poll_entered(marks, 150 * MS);
    CHECK(!taken(marks).allowed);
    free(marks);
}

CASE(the_histogram_counts_every_iteration_once)
{
    const uint64_t lengths[] = {0, 1999, 2000, 3999, 4000, 1023999, 1024000, UINT64_C(100000000000)};
    const int entries[] = {0, 0, 1, 1, 2, 9, 10, LW_LOOP_HISTOGRAM - 1};
    uint64_t now = 0, expected[LW_LOOP_HISTOGRAM] = {0};
    lw_loop_marks *marks = begin(now);

    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        lw_loop_poll_entered(marks, now += lengths[i]);
        lw_loop_poll_returned(marks, now);
        expected[entries[i]]++;
    }
    for (int i = 0; i < LW_LOOP_HISTOGRAM; i++) {
        CHECK_EQUAL(marks->counters.histogram[i], expected[i]);
    }
    free(marks);
}

CASE(no_delays_are_told_where_nothing_is_served)
{
    lw_loop_marks *marks = begin(0);

    lw_loop_poll_entered(marks, 20 * MS);
    lw_loop_poll_returned(marks, 20 * MS);
    lw_loop_poll_entered(marks, 21 * MS);
    CHECK_EQUAL(lw_loop_delayed_written(marks), 0);
    lw_loop_enter_phase(marks, LW_PHASE_SERVING, 5);
    lw_loop_enter_phase(marks, LW_PHASE_SERVING, 6);
    CHECK_EQUAL(marks->phases[LW_PHASE_SERVING], 5);
    free(marks);
}

static unsigned looks;

static void look(void)
{
    looks++;
}

CASE(while_it_catches_up_somebody_looks_at_steps)
{
    lw_loop_marks *marks = begin(0), *other = begin(0);

    lw_attention_call(look);
    lw_loop_poll_passed(marks, 9 * MS); /* in time */
    CHECK_EQUAL(looks, 0);
    lw_loop_poll_passed(marks, 20 * MS);
    CHECK_EQUAL(looks, 1);
    CHECK(lw_attention_needed());
    lw_loop_poll_passed(marks, 21 * MS); /* goes on */
    CHECK(lw_attention_needed());
    lw_loop_caught_up(marks);
    CHECK(!lw_attention_needed());
    lw_loop_caught_up(marks); /* again: no effect */
    lw_loop_poll_passed(marks, 40 * MS);
    lw_loop_poll_passed(marks, 60 * MS); /* one stall after another: one reason */
    CHECK_EQUAL(looks, 3);
    lw_loop_poll_passed(other, 60 * MS);
    lw_loop_poll_entered(marks, 61 * MS);
    CHECK(lw_attention_needed()); /* because of the other loop */
    for (int i = 1; i <= LW_LOOP_WINDOW; i++) {
        CHECK(lw_attention_needed());
        lw_loop_poll_passed(other, (60 + (uint64_t)i) * MS);
    }
    CHECK(!lw_attention_needed());
    CHECK_EQUAL(looks, 4);
    free(marks);
    free(other);
}

/* The loop has begun these phases at these times, and no others. */
static void check_phases(const lw_loop_marks *marks, uint64_t startup, uint64_t serving, uint64_t shutdown)
{
    CHECK_EQUAL(marks->phases[LW_PHASE_STARTUP], startup);
    CHECK_EQUAL(marks->phases[LW_PHASE_SERVING], serving);
    CHECK_EQUAL(marks->phases[LW_PHASE_SHUTDOWN], shutdown);
}

CASE(phases_begin_anew_when_another_server_starts)
{
    lw_loop_marks *marks = begin(0);

    lw_loop_enter_phase(marks, LW_PHASE_STARTUP, 1);
    lw_loop_enter_phase(marks, LW_PHASE_STARTUP, 2); /* the server says so, and the app in it */
    lw_loop_enter_phase(marks, LW_PHASE_SERVING, 3);
    lw_loop_enter_phase(marks, LW_PHASE_STARTUP, 4); /* a second server beside it */
    check_phases(marks, 1, 3, 0);
    lw_loop_enter_phase(marks, LW_PHASE_SHUTDOWN, 5);
    lw_loop_enter_phase(marks, LW_PHASE_SHUTDOWN, 6);
    lw_loop_enter_phase(marks, LW_PHASE_SERVING, 7);
    lw_loop_request_begun(marks, true); /* of a connection that is still there */
    check_phases(marks, 1, 3, 5);
    lw_loop_enter_phase(marks, LW_PHASE_STARTUP, 8);
    check_phases(marks, 8, 0, 0);
    lw_loop_enter_phase(marks, LW_PHASE_SERVING, 9);
    lw_loop_enter_phase(marks, LW_PHASE_SHUTDOWN, 10);
    check_phases(marks, 8, 9, 10);
    free(marks);
}

/* When the alarm was put off last, after an iteration that begins at `now`. */
static uint64_t put_off_at(lw_loop_marks *marks, uint64_t now)
{
    lw_loop_poll_passed(marks, now);
    return bell.put_off_ns;
}

CASE(a_busy_loop_lets_the_watchdog_sleep)
{
    lw_loop_marks *marks = begin(100 * MS);
    lw_delayed delayed;

    CHECK_EQUAL(lw_alarm_open(&bell.alarm), LW_OK);
    bell.suspect_ns = 8 * MS;
    bell.looked_ns = 100 * MS;
    marks->threshold_ns = 1000 * MS;
    CHECK_EQUAL(put_off_at(marks, 101 * MS), 0); /* others need its looks */
    bell.alone = true;
    CHECK_EQUAL(put_off_at(marks, 102 * MS), 102 * MS);
    CHECK_EQUAL(put_off_at(marks, 106 * MS - 1), 102 * MS); /* no system call for each short iteration */
    CHECK_EQUAL(put_off_at(marks, 106 * MS), 106 * MS);
    lw_loop_poll_entered(marks, 109 * MS);
    lw_loop_poll_returned(marks, 110 * MS);
    CHECK_EQUAL(bell.put_off_ns, 110 * MS);
    CHECK_EQUAL(put_off_at(marks, 350 * MS), 350 * MS);
    CHECK_EQUAL(put_off_at(marks, 355 * MS), 350 * MS); /* it has to look now and then */
    bell.looked_ns = 355 * MS;
    CHECK_EQUAL(put_off_at(marks, 356 * MS), 356 * MS);

    lw_loop_request_begun(marks, true);
    marks->threshold_ns = 10 * MS;
    CHECK_EQUAL(put_off_at(marks, 367 * MS), 356 * MS); /* and to write a stall down */
    taken(marks);
    CHECK_EQUAL(put_off_at(marks, 372 * MS), 356 * MS); /* and who has to wait for it, */
    lw_loop_caught_up(marks);
    CHECK_EQUAL(put_off_at(marks, 377 * MS), 356 * MS);
    CHECK(lw_loop_take_delayed(marks, lw_loop_delayed_written(marks), &delayed));
    CHECK_EQUAL(put_off_at(marks, 382 * MS), 382 * MS);
    lw_attention_raise();
    CHECK_EQUAL(put_off_at(marks, 387 * MS), 382 * MS); /* and what the request is called */
    lw_attention_drop();
    CHECK_EQUAL(put_off_at(marks, 392 * MS), 392 * MS);
    lw_alarm_close(bell.alarm);
    free(marks);
}

CASE(an_alarm_that_was_put_off_rings_in_time)
{
    lw_loop_marks *marks = begin(lw_clock_now());
    uint64_t last;
    sigset_t all;

    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL); /* as on the watchdog's thread */
    CHECK_EQUAL(lw_alarm_open(&bell.alarm), LW_OK);
    bell.suspect_ns = 20 * MS;
    bell.looked_ns = lw_clock_now();
    bell.alone = true;
    lw_alarm_set(bell.alarm, 5 * MS);
    for (unsigned n = 0; n < 3; n++) {
        lw_clock_sleep_until(lw_clock_now() + 3 * MS);
        last = put_off_at(marks, lw_clock_now());
    }
    lw_alarm_wait(bell.alarm);
    CHECK(lw_clock_now() >= last + 20 * MS);
    lw_alarm_close(bell.alarm);
    free(marks);
}
