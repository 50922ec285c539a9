#define _GNU_SOURCE
#include "recordings.h"

#include <fcntl.h>
#include <unistd.h>

#include "os/clock.h"

CASE(one_of_each)
{
    lw_recorder *recorder = create(&ordinary);
    lw_stack_count stack = {add_stack(3, 30), 2};
    lw_stall_record stall = {.loop = 1,
                             .iteration = {9, 100, 150, 2, false},
                             .samples = 2,
                             .torn = 1,
                             .omitted = 5,
                             .stacks = &stack,
                             .stack_count = 1,
                             .requests = &(lw_request_count){17, 3, 2},
                             .request_count = 1};

    loop.phases[LW_PHASE_SERVING] = 7;
    lw_recorder_open(recorder, &loop, &stall);
    CHECK(lw_recorder_flush(recorder, 200));
    stall.iteration.allowed = true;
    lw_recorder_stall(recorder, &loop, &stall);
    lw_holder_count holders[] = {{add_stack(2, 40), 3, 78, "worker"}, {LW_NONE, 1, 79, ""}};
    stall.iteration.number = 10;
    stall.cause_known = true;
    stall.cause = (lw_cause_record){.tally = {.ns = {[LW_NATIVE] = 30, [LW_GIL] = 20}, .gil_held_ns = 10},
                                    .cpu_ns = 25,
                                    .cpu_wall_ns = 40,
                                    .delay_known = true,
                                    .run_delay_ns = 5,
                                    .longest_ns = 45,
                                    .holders = holders,
                                    .holder_count = 2};
    lw_recorder_stall(recorder, &loop, &stall);
    lw_recorder_delayed(recorder, &loop, &(lw_delayed){9, 4});
    lw_recorder_request(recorder, 17, "GET /items/{id}");
    lw_recorder_request(recorder, 18, "");
    record_summary(recorder);
    lw_intern_clear(intern);
    lw_recorder_reset(recorder);
    record_stall(recorder, 2, 8);
    lw_recorder_end(recorder, 300);
    CHECK(lw_recorder_flush(recorder, 300));
    CHECK(!lw_recorder_flush(recorder, 300));
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    destroy(recorder);
    lw_recorder_destroy(NULL);
}

CASE(names_of_any_bytes)
{
    lw_recorder *recorder = create(&ordinary);
    static const char *const names[] = {"plain",     "caf\xc3\xa9", "a\"b\\c\n", "\xed\xb2\x80lone",
                                        "\xff\xc3(", "<lambda>"};
    lw_stack_count stacks[6];

    loop.thread = "\xed\xb3\xbf thread \x01";
    for (int i = 0; i < 6; i++) {
        CHECK_EQUAL(lw_intern_stack(intern, LW_NONE, add_frame(names[i], names[5 - i], 1), &stacks[i].stack),
                    LW_OK);
        stacks[i].samples = 1;
    }
    lw_stall_record stall = {
        .loop = 1, .iteration = {1, 2, 3, 4, false}, .samples = 6, .stacks = stacks, .stack_count = 6};
    lw_recorder_stall(recorder, &loop, &stall);
    lw_recorder_flush(recorder, 1);
    destroy(recorder);
}

CASE(deep_stacks)
{
    lw_recorder *recorder = create(&ordinary);

    for (uint32_t i = 0; i < 100; i++) {
        record_stall(recorder, 2000, i * 2);
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    lw_recorder_flush(recorder, 1);
    destroy(recorder);
}

CASE(parts)
{
    lw_recorder_options options = ordinary;
    options.part_bytes = 20000;
    options.parts = 3;
    lw_recorder *recorder = create(&options);

    for (uint32_t i = 0; i < 1000; i++) {
        record_stall(recorder, 20, i % 50 * 2);
        record_summary(recorder);
        if (i % 3 == 0) {
            lw_recorder_flush(recorder, i);
        }
    }
    lw_recorder_end(recorder, 1000);
    lw_recorder_flush(recorder, 1000);
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    destroy(recorder);
}

CASE(names_that_are_taken)
{
    uint64_t now = lw_clock_unix() / 1000000;
    char path[64];

    for (uint64_t ms = now; ms < now + 500; ms++) {
        snprintf(path, sizeof path, "77-%llu.jsonl", (unsigned long long)ms);
        close(open(path, O_CREAT | O_EXCL | O_WRONLY, 0600));
    }
    lw_recorder *recorder = create(&ordinary);
    record_summary(recorder);
    lw_recorder_flush(recorder, 1);
    destroy(recorder);
}

CASE(a_folder_that_is_not_there)
{
    lw_recorder_options options = ordinary;
    lw_recorder *recorder = NULL;

    options.directory = "no/such/folder";
    CHECK_EQUAL(lw_intern_create(&intern, &limits), LW_OK);
    CHECK_EQUAL(lw_recorder_create(&recorder, &options, intern), LW_SYSTEM);
    CHECK_EQUAL(errno, ENOENT);
    CHECK(recorder == NULL);
    lw_intern_destroy(intern);
}

CASE(a_record_too_big_for_the_buffer)
{
    lw_recorder *recorder = create(&ordinary);

    record_stall(recorder, 10, 2);
    for (int i = 0; i < 40; i++) {
        lw_intern_clear(intern);
        lw_recorder_reset(recorder);
        record_stall(recorder, 500, 4); /* about 80 KB with its stacks, never flushed */
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    for (int i = 0; i < 5000; i++) {
        record_stall(recorder, 10, 2);
    }
    CHECK(lw_recorder_dropped(recorder) > 10);
    lw_recorder_flush(recorder, 1);
    record_stall(recorder, 10, 4);
    lw_recorder_end(recorder, 2);
    lw_recorder_flush(recorder, 2);
    destroy(recorder);
}

CASE(phases_that_begin_anew)
{
    lw_recorder *recorder = create(&ordinary);

    static const uint64_t rounds[][LW_PHASES] = {{10, 0, 0}, {10, 20, 25}, {30, 0, 0}, {30, 45, 0}};

    for (int i = 0; i < 4; i++) {
        memcpy(loop.phases, rounds[i], sizeof loop.phases);
        record_summary(recorder);
        record_summary(recorder);
    }
    lw_recorder_flush(recorder, 50);
    destroy(recorder);
}

/* A stack of `depth` frames that shares none of its nodes with those of another root. */
static uint32_t add_path(uint32_t depth, uint32_t root)
{
    uint32_t stack = LW_NONE;

    for (uint32_t i = 0; i < depth; i++) {
        uint32_t frame = add_frame("/app/main.py", "descend", i == 0 ? root : 7);
        CHECK_EQUAL(lw_intern_stack(intern, stack, frame, &stack), LW_OK);
    }
    return stack;
}

enum { DEEP = 900, PATHS = 100, PATHS_SAMPLES = PATHS * (PATHS + 1) / 2 };

/* A stall of PATHS deep stacks, together about four times as big as the buffer; the first has PATHS samples, the last
   has one. */
static lw_stall_record deep_stall(void)
{
    static lw_stack_count stacks[PATHS];

    for (uint32_t i = 0; i < PATHS; i++) {
        stacks[i] = (lw_stack_count){add_path(DEEP, i), PATHS - i};
    }
    return (lw_stall_record){.loop = 1,
                             .iteration = {.number = ++iteration, .start_ns = 100, .end_ns = 900},
                             .samples = PATHS_SAMPLES,
                             .stacks = stacks,
                             .stack_count = PATHS};
}

CASE(a_stall_of_many_deep_stacks)
{
    lw_recorder *recorder = create(&ordinary);
    lw_stall_record stall = deep_stall();

    for (int i = 0; i < 3; i++) {
        lw_recorder_open(recorder, &loop, &stall);
        CHECK(lw_recorder_flush(recorder, 1));
    }
    lw_recorder_stall(recorder, &loop, &stall);
    lw_recorder_flush(recorder, 2);
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    destroy(recorder);
}

CASE(holders_with_deep_stacks)
{
    lw_recorder *recorder = create(&ordinary);
    lw_stall_record stall = deep_stall();
    lw_holder_count holders[30];

    for (uint32_t i = 0; i < 30; i++) {
        holders[i] = (lw_holder_count){add_path(DEEP, PATHS + i), 30 - i, i, "worker"};
    }
    stall.cause_known = true;
    stall.cause = (lw_cause_record){.holders = holders, .holder_count = 30};
    for (int i = 0; i < 3; i++) {
        lw_recorder_stall(recorder, &loop, &stall);
        lw_recorder_flush(recorder, 1);
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    destroy(recorder);
}

CASE(a_stack_bigger_than_the_buffer)
{
    lw_recorder *recorder = create(&ordinary);
    lw_stack_count stacks[] = {{add_path(30000, 1), 5}, {add_path(10, 2), 4}};
    lw_stall_record stall = {.loop = 1,
                             .iteration = {.number = ++iteration, .start_ns = 100, .end_ns = 900},
                             .samples = 12,
                             .omitted = 3,
                             .stacks = stacks,
                             .stack_count = 2};

    record_stall(recorder, 10, 2);
    lw_recorder_stall(recorder, &loop, &stall);
    record_stall(recorder, 10, 2);
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    lw_recorder_flush(recorder, 1);
    destroy(recorder);
}

CASE(many_deep_stalls_before_a_flush)
{
    lw_recorder *recorder = create(&ordinary);
    lw_stall_record stall = deep_stall();

    for (int i = 0; i < 10; i++) {
        lw_recorder_stall(recorder, &loop, &stall);
        stall.iteration.number = ++iteration;
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    lw_recorder_flush(recorder, 1);
    destroy(recorder);
}
