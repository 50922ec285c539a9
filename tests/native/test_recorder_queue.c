#include "recordings.h"

#include <stdatomic.h>

#include "os/thread.h"

/* Append all that can be taken to a file of its own. */
static size_t drain(lw_recorder *recorder, const char *path, size_t step)
{
    FILE *file = fopen(path, "a");
    static char lines[1 << 20];
    size_t size, total = 0;

    CHECK(file != NULL);
    while ((size = lw_recorder_take(recorder, lines, step)) > 0) {
        CHECK(size <= step && lines[size - 1] == '\n');
        CHECK_EQUAL(fwrite(lines, 1, size, file), size);
        total += size;
    }
    CHECK_EQUAL(fclose(file), 0);
    return total;
}

static const lw_recorder_options queue_only = {
    .header = header, .pid = 78, .parts = 2, .queue = true, .queue_bytes = 100000};

CASE(records_in_memory)
{
    lw_recorder *recorder = create(&queue_only);

    CHECK(drain(recorder, "queue.jsonl", 1 << 20) > 0); /* the header */
    CHECK_EQUAL(drain(recorder, "queue.jsonl", 1 << 20), 0);
    for (uint32_t i = 0; i < 500; i++) {
        record_stall(recorder, 10, i);
        lw_recorder_flush(recorder, i);
        if (i % 7 == 0) {
            drain(recorder, "queue.jsonl", 700);
        }
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0);
    lw_recorder_close(recorder);
    CHECK(drain(recorder, "queue.jsonl", 700) > 0); /* also after close */
    destroy(recorder);
}

CASE(records_nobody_takes)
{
    lw_recorder_options options = queue_only;
    options.directory = ".";
    lw_recorder *recorder = create(&options);

    for (int round = 0; round < 4; round++) {
        for (uint32_t i = 0; i < 1000; i++) {
            record_stall(recorder, 10, i % 100);
            if (i % 300 == 299) {
                lw_intern_clear(intern);
                lw_recorder_reset(recorder);
            }
            lw_recorder_flush(recorder, i);
        }
        CHECK(drain(recorder, "queue.jsonl", 1 << 20) <= options.queue_bytes);
        lw_recorder_flush(recorder, 5000);
        record_stall(recorder, 10, 3);
        lw_recorder_flush(recorder, 5001);
        CHECK(drain(recorder, "queue.jsonl", 1 << 20) > 500);
    }
    CHECK_EQUAL(lw_recorder_dropped(recorder), 0); /* the file has them all */
    destroy(recorder);
}

CASE(more_at_once_than_the_queue_holds)
{
    lw_recorder_options options = queue_only;
    options.queue_bytes = 8192;
    lw_recorder *recorder = create(&options);

    for (uint32_t i = 0; i < 100; i++) {
        record_stall(recorder, 200, i * 2);
        record_summary(recorder);
        lw_recorder_flush(recorder, i);
        drain(recorder, "queue.jsonl", 8192);
    }
    CHECK(lw_recorder_dropped(recorder) > 0);
    destroy(recorder);
}

CASE(a_line_longer_than_the_taker_s_room)
{
    lw_recorder *recorder = create(&queue_only);

    drain(recorder, "queue.jsonl", 4096); /* the header */
    for (uint32_t i = 0; i < 20; i++) {
        record_summary(recorder);
        record_stall(recorder, 5, i);
        lw_recorder_flush(recorder, i);
        drain(recorder, "queue.jsonl", i < 10 ? 200 : 4096); /* a summary is longer than 200 */
    }
    CHECK(lw_recorder_dropped(recorder) >= 10);
    destroy(recorder);
}

static _Atomic(lw_recorder *) taken_from;

static void take_all(void *argument)
{
    (void)argument;
    for (lw_recorder *recorder; (recorder = atomic_load(&taken_from)) != NULL;) {
        drain(recorder, "queue.jsonl", 1 << 20);
    }
}

CASE(taken_by_another_thread_meanwhile)
{
    lw_recorder_options options = queue_only;
    options.queue_bytes = 20000;
    lw_recorder *recorder = create(&options);
    lw_thread *thread = NULL;

    atomic_store(&taken_from, recorder);
    CHECK_EQUAL(lw_thread_start(&thread, take_all, NULL), LW_OK);
    for (uint32_t i = 0; i < 5000; i++) {
        record_stall(recorder, 10, i % 300);
        lw_recorder_flush(recorder, i);
    }
    atomic_store(&taken_from, NULL);
    lw_thread_join(thread);
    drain(recorder, "queue.jsonl", 1 << 20);
    destroy(recorder);
}
