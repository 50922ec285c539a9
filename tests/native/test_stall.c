/* The stall state machine, with a clock that is a number. */
#include "check.h"

#include "stall.h"

enum { MS = 1000000 };

CASE(samples_are_counted_by_stack)
{
    lw_stall stall = {.most = 8};
    lw_iteration iteration = {.number = 7, .start_ns = 100, .end_ns = 200};

    lw_stall_begin(&stall, 7);
    lw_stall_add(&stall, 4);
    lw_stall_add(&stall, 5);
    lw_stall_add(&stall, 4);
    lw_stall_add_torn(&stall);
    lw_stall_record record = lw_stall_record_of(&stall, 3, &iteration);
    CHECK_EQUAL(record.loop, 3);
    CHECK_EQUAL(record.iteration.number, 7);
    CHECK_EQUAL(record.samples, 3);
    CHECK_EQUAL(record.torn, 1);
    CHECK_EQUAL(record.omitted, 0);
    CHECK_EQUAL(record.stack_count, 2);
    CHECK(record.stacks[0].stack == 4 && record.stacks[0].samples == 2);
    CHECK(record.stacks[1].stack == 5 && record.stacks[1].samples == 1);
    lw_stall_clear(&stall);
}

CASE(the_usual_stack)
{
    lw_stall stall = {.most = 8};

    lw_stall_begin(&stall, 1);
    CHECK_EQUAL(lw_stall_usual(&stall, 9), 9);
    lw_stall_add(&stall, 4);
    lw_stall_add(&stall, 5);
    lw_stall_add(&stall, 5);
    lw_stall_add(&stall, 6);
    CHECK_EQUAL(lw_stall_usual(&stall, 9), 5);
    lw_stall_add(&stall, 6);
    CHECK_EQUAL(lw_stall_usual(&stall, 9), 5);
    lw_stall_clear(&stall);
}

CASE(stacks_come_with_most_samples_first)
{
    lw_stall stall = {.most = 8};
    const uint32_t samples[] = {1, 2, 3, 4, 4, 3, 4, 3, 4, 2}, order[] = {4, 3, 2, 1};

    lw_stall_begin(&stall, 1);
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        lw_stall_add(&stall, samples[i]);
    }
    CHECK_EQUAL(stall.count, 4);
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQUAL(stall.stacks[i].stack, order[i]);
        CHECK_EQUAL(stall.stacks[i].samples, order[i]);
    }
    lw_stall_clear(&stall);
}

CASE(what_has_no_room_is_counted)
{
    lw_stall stall = {.most = 10};

    lw_stall_begin(&stall, 1);
    for (uint32_t stack = 0; stack < 100; stack++) {
        lw_stall_add(&stall, stack);
    }
    CHECK_EQUAL(stall.count, 10);
    CHECK_EQUAL(stall.samples, 100);
    CHECK_EQUAL(stall.omitted, 90);
    lw_stall_clear(&stall);
    CHECK_EQUAL(stall.most, 10);
}

CASE(another_iteration_begins_from_nothing)
{
    lw_stall stall = {.most = 4};

    lw_stall_begin(&stall, 1);
    lw_stall_add(&stall, 1);
    CHECK(lw_stall_open_due(&stall, 0, 20 * MS, 10 * MS));
    lw_stall_begin(&stall, 2);
    CHECK_EQUAL(stall.iteration, 2);
    CHECK_EQUAL(stall.samples, 0);
    CHECK_EQUAL(stall.count, 0);
    CHECK(lw_stall_open_due(&stall, 0, 20 * MS, 10 * MS));
    lw_stall_clear(&stall);
}

CASE(forgotten_stacks_are_omitted_samples)
{
    lw_stall stall = {.most = 4};

    lw_stall_begin(&stall, 1);
    lw_stall_add(&stall, 1);
    lw_stall_add(&stall, 2);
    lw_stall_forget_stacks(&stall);
    lw_stall_add(&stall, 0);
    CHECK_EQUAL(stall.samples, 3);
    CHECK_EQUAL(stall.omitted, 2);
    CHECK_EQUAL(stall.count, 1);
    lw_stall_clear(&stall);
}

CASE(no_open_record_below_the_threshold)
{
    lw_stall stall = {.most = 4};

    lw_stall_begin(&stall, 1);
    CHECK(!lw_stall_open_due(&stall, 5 * MS, 14 * MS, 10 * MS));
    CHECK(lw_stall_open_due(&stall, 5 * MS, 15 * MS, 10 * MS));
}

CASE(open_records_come_at_100_ms_then_more_and_more_seldom)
{
    lw_stall stall = {.most = 4};
    const uint64_t second = 1000 * (uint64_t)MS, hour = 3600 * second;
    uint64_t last = 0, longest = 0, first_second = 0, count = 0;

    lw_stall_begin(&stall, 1);
    for (uint64_t now = 0; now <= hour; now += MS) {
        if (!lw_stall_open_due(&stall, 0, now, 10 * MS)) {
            continue;
        }
        longest = last != 0 && now - last > longest ? now - last : longest;
        first_second += now <= second;
        last = now;
        count++;
    }
    CHECK_EQUAL(first_second, 10);
    CHECK(longest <= 10 * second);
    CHECK(hour - last <= 10 * second);
    CHECK(count < 600);
}
