/* From facts to a cause, and from causes to a stall. All times are numbers. */
#include "check.h"

#include "cause.h"

enum { MS = 1000000 };

static lw_cause cause_of(lw_facts facts)
{
    return lw_cause_of(&facts);
}

CASE(on_a_cpu_it_is_bytecode_or_one_call)
{
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = MS, .moved = true}), LW_PYTHON);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = MS}), LW_NATIVE);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = MS, .holds_gil = true}), LW_NATIVE);
    /* the clocks are not read at the same moment */
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = 2 * MS}), LW_NATIVE);
}

CASE(off_the_cpu_it_waits)
{
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .moved = true}), LW_BLOCKED);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .waits_for_gil = true}), LW_GIL);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .runnable = true}), LW_STARVED);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .runnable = true, .runs = true}), LW_BLOCKED);
}

CASE(a_delay_tells_afterwards_that_it_was_starved)
{
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = 90 * MS, .delay_ns = 80 * MS, .runnable = true, .runs = true}),
                LW_STARVED);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = 90 * MS, .delay_ns = 80 * MS}), LW_STARVED);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = 90 * MS, .delay_ns = 10 * MS}), LW_BLOCKED);
    /* it never left its CPU, and that stood still */
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = 90 * MS, .runnable = true, .runs = true, .stayed = true}),
                LW_STARVED);
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = 90 * MS, .stayed = true}), LW_BLOCKED);
}

CASE(a_collection_is_that_of_the_holder)
{
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = MS, .collecting = true, .holds_gil = true}),
                LW_GC);
    /* another thread collects while this one is in a call that has released the GIL */
    CHECK_EQUAL(cause_of((lw_facts){.wall_ns = MS, .cpu_ns = MS, .collecting = true}), LW_NATIVE);
}

CASE(all_of_a_stall_has_a_cause)
{
    lw_tally tally = {0};

    lw_tally_add(&tally, LW_BLOCKED, false, 100 * MS, 107 * MS);
    lw_tally_add(&tally, LW_PYTHON, true, 100 * MS, 108 * MS);
    lw_tally_add(&tally, LW_NATIVE, true, 100 * MS, 110 * MS);
    lw_tally_add(&tally, LW_NATIVE, false, 100 * MS, 111 * MS);
    lw_tally whole = lw_tally_at(&tally, 113 * MS);
    CHECK_EQUAL(whole.ns[LW_BLOCKED], 7 * MS);
    CHECK_EQUAL(whole.ns[LW_PYTHON], 1 * MS);
    CHECK_EQUAL(whole.ns[LW_NATIVE], 5 * MS);
    CHECK_EQUAL(whole.gil_held_ns, 2 * MS);
    /* asked while it goes on: nothing is counted twice */
    CHECK_EQUAL(lw_tally_at(&tally, 120 * MS).ns[LW_NATIVE], 12 * MS);
}

CASE(the_second_sample_decides_for_a_first_that_stands)
{
    lw_tally tally = {0};

    lw_tally_add(&tally, LW_NATIVE, true, 0, 7 * MS);
    CHECK_EQUAL(lw_tally_at(&tally, 8 * MS).ns[LW_NATIVE], 8 * MS);
    lw_tally_add(&tally, LW_PYTHON, true, 0, 8 * MS);
    CHECK_EQUAL(lw_tally_at(&tally, 8 * MS).ns[LW_PYTHON], 8 * MS);
    CHECK_EQUAL(lw_tally_at(&tally, 8 * MS).ns[LW_NATIVE], 0);

    tally = (lw_tally){0};
    lw_tally_add(&tally, LW_NATIVE, true, 0, 7 * MS);
    lw_tally_add(&tally, LW_NATIVE, true, 0, 8 * MS);
    lw_tally_add(&tally, LW_PYTHON, true, 0, 9 * MS);
    CHECK_EQUAL(lw_tally_at(&tally, 9 * MS).ns[LW_NATIVE], 8 * MS);
    CHECK_EQUAL(lw_tally_at(&tally, 9 * MS).gil_held_ns, 8 * MS);
}

CASE(nothing_is_known_before_the_first_sample)
{
    lw_tally whole = lw_tally_at(&(lw_tally){0}, 5 * MS);

    for (int cause = 0; cause < LW_CAUSES; cause++) {
        CHECK_EQUAL(whole.ns[cause], 0);
    }
}
