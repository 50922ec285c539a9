/* What the tests of the recorder share: a recorder, and records to give to it. Each case leaves its files
   in the folder; test_recorder.py reads them strictly. */
#ifndef LW_TEST_RECORDINGS_H
#define LW_TEST_RECORDINGS_H

#include "check.h"

#include "recorder.h"

static const lw_intern_limits limits = {
    .codes = 1 << 16, .frames = 1 << 16, .stacks = 1 << 17, .text = 16 << 20};

static const char header[] =
    "\"loopwatch\":\"0\",\"python\":\"3\",\"executable\":\"python\",\"command\":[\"a\"],\"cwd\":\"/\","
    "\"platform\":\"linux\",\"threshold_ns\":1,\"interval_ns\":1,"
    "\"paths\":{\"stdlib\":[],\"site\":[],\"loopwatch\":[]},\"app\":[],\"stacks\":true,\"cpu_quota\":null,"
    "\"notes\":[]";

static const lw_recorder_options ordinary = {
    .directory = ".", .header = header, .pid = 77, .parent_pid = 1, .part_bytes = 64 << 20, .parts = 2};

static lw_intern *intern;
static lw_loop_record loop;
static uint64_t iteration;

static inline lw_recorder *create(const lw_recorder_options *options)
{
    lw_recorder *recorder = NULL;

    CHECK_EQUAL(lw_intern_create(&intern, &limits), LW_OK);
    CHECK_EQUAL(lw_recorder_create(&recorder, options, intern), LW_OK);
    loop = (lw_loop_record){.loop = 1,
                            .kind = "asyncio",
                            .poll = "slot",
                            .thread = "MainThread",
                            .thread_number = 77,
                            .at_ns = 5};
    return recorder;
}

static inline void destroy(lw_recorder *recorder)
{
    lw_recorder_close(recorder);
    lw_recorder_destroy(recorder);
    lw_intern_destroy(intern);
}

static inline uint32_t add_frame(const char *file, const char *name, uint32_t line)
{
    uint32_t code, frame;

    CHECK_EQUAL(lw_intern_code(intern, file, strlen(file), name, strlen(name), 1, &code), LW_OK);
    lw_frame place = {code, line, line, 4, line % 2 == 0 ? LW_NONE : 9, 0};
    CHECK_EQUAL(lw_intern_frame(intern, &place, &frame), LW_OK);
    return frame;
}

/* A stack of `depth` frames that shares all but its innermost with others of the same depth. */
static inline uint32_t add_stack(uint32_t depth, uint32_t leaf_line)
{
    uint32_t stack = LW_NONE;
    char name[32];

    for (uint32_t i = 0; i < depth; i++) {
        snprintf(name, sizeof name, "function_%u", i);
        uint32_t frame = add_frame("/app/main.py", name, i + 1 == depth ? leaf_line : i);
        CHECK_EQUAL(lw_intern_stack(intern, stack, frame, &stack), LW_OK);
    }
    return stack;
}

static inline void record_stall(lw_recorder *recorder, uint32_t depth, uint32_t leaf_line)
{
    lw_stack_count stacks[] = {{add_stack(depth, leaf_line), 3}, {add_stack(depth, leaf_line + 1), 1}};
    lw_stall_record stall = {
        .loop = 1,
        .iteration = {.number = ++iteration,
                      .start_ns = iteration * 100,
                      .end_ns = iteration * 100 + 50,
                      .callbacks = 1},
        .samples = 4,
        .stacks = stacks,
        .stack_count = 2,
    };
    lw_recorder_stall(recorder, &loop, &stall);
}

static inline void record_summary(lw_recorder *recorder)
{
    lw_summary_record summary = {.loop = 1, .at_ns = 7, .running = true, .stalls = iteration};

    summary.histogram[LW_LOOP_HISTOGRAM - 1] = UINT64_MAX;
    lw_recorder_summary(recorder, &loop, &summary);
}

#endif
