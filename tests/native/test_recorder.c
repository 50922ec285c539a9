#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/clock.h"
#include "os/thread.h"
#include "recorder.h"

/* Each case leaves its files in the folder; test_recorder.py reads them strictly. */

static const lw_intern_limits limits = {
    .codes = 1 << 16, .frames = 1 << 16, .stacks = 1 << 17, .text = 16 << 20};

static const char header[] =
    "\"loopwatch\":\"0\",\"python\":\"3\",\"executable\":\"python\",\"command\":[\"a\"],\"cwd\":\"/\","
    "\"platform\":\"linux\",\"threshold_ns\":1,\"interval_ns\":1,"
    "\"paths\":{\"stdlib\":[],\"site\":[],\"loopwatch\":[]},\"stacks\":true,\"notes\":[]";

static const lw_recorder_options ordinary = {
    .directory = ".", .header = header, .pid = 77, .parent_pid = 1, .part_bytes = 64 << 20, .parts = 2};

static lw_intern *intern;
static lw_loop_record loop;
static uint64_t iteration;

static lw_recorder *create(const lw_recorder_options *options)
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

static void destroy(lw_recorder *recorder)
{
    lw_recorder_close(recorder);
    lw_recorder_destroy(recorder);
    lw_intern_destroy(intern);
}

static uint32_t add_frame(const char *file, const char *name, uint32_t line)
{
    uint32_t code, frame;

    CHECK_EQUAL(lw_intern_code(intern, file, strlen(file), name, strlen(name), 1, &code), LW_OK);
    lw_frame place = {code, line, line, 4, line % 2 == 0 ? LW_NONE : 9, 0};
    CHECK_EQUAL(lw_intern_frame(intern, &place, &frame), LW_OK);
    return frame;
}

/* A stack of `depth` frames that shares all but its innermost with others of the same depth. */
static uint32_t add_stack(uint32_t depth, uint32_t leaf_line)
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

static void record_stall(lw_recorder *recorder, uint32_t depth, uint32_t leaf_line)
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

static void record_summary(lw_recorder *recorder)
{
    lw_summary_record summary = {.loop = 1, .at_ns = 7, .running = true, .stalls = iteration};

    summary.histogram[LW_LOOP_HISTOGRAM - 1] = UINT64_MAX;
    lw_recorder_summary(recorder, &loop, &summary);
}

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
                             .stack_count = 1};

    lw_recorder_open(recorder, &loop, &stall);
    CHECK(lw_recorder_flush(recorder, 200));
    stall.iteration.allowed = true;
    lw_recorder_stall(recorder, &loop, &stall);
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
        record_stall(recorder, 500, 4); /* about 80 KB, never flushed */
    }
    CHECK(lw_recorder_dropped(recorder) > 10);
    lw_recorder_flush(recorder, 1);
    record_stall(recorder, 10, 4);
    lw_recorder_end(recorder, 2);
    lw_recorder_flush(recorder, 2);
    destroy(recorder);
}

/* ---- disks ---- */

/* A file system of `bytes` in the folder "disk", seen by this process only. */
static void mount_disk(const char *options)
{
    uid_t user = geteuid();

    if (unshare(CLONE_NEWNS | (user == 0 ? 0 : CLONE_NEWUSER)) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 || mkdir("disk", 0700) != 0 ||
        mount("none", "disk", "tmpfs", 0, options) != 0) {
        SKIP("no file system can be mounted here");
    }
}

/* The files on the disk go with this process: keep them for test_recorder.py. */
static void save_disk(void)
{
    CHECK_EQUAL(system("cp disk/*.jsonl ."), 0);
}

/* Take up what is free on the disk but for `spare` bytes. */
static void fill_disk(size_t spare)
{
    static char bytes[4096];
    int filler = open("disk/filler", O_CREAT | O_WRONLY, 0600);
    ssize_t count;
    off_t size = 0;

    CHECK(filler >= 0);
    while ((count = write(filler, bytes, sizeof bytes)) > 0) {
        size += count;
    }
    CHECK_EQUAL(errno, ENOSPC);
    CHECK_EQUAL(ftruncate(filler, size - (off_t)spare), 0);
    close(filler);
}

/* With the disk filled up again each time, since a part that goes makes room. */
static void record_until_dropped(lw_recorder *recorder, size_t spare)
{
    uint64_t dropped = lw_recorder_dropped(recorder);

    for (uint32_t i = 0; lw_recorder_dropped(recorder) == dropped; i++) {
        fill_disk(spare - spare / 16 * (i < 16 ? i : 16));
        record_stall(recorder, 30, i * 2);
        lw_recorder_flush(recorder, i);
        CHECK(i < 10000);
    }
}

CASE(a_full_disk)
{
    lw_recorder_options options = ordinary;

    mount_disk("size=256k");
    options.directory = "disk";
    lw_recorder *recorder = create(&options);
    for (int round = 0; round < 3; round++) {
        record_until_dropped(recorder, 16384);
        for (uint32_t i = 0; i < 20; i++) { /* still full */
            record_stall(recorder, 5, i);
            lw_intern_clear(intern);
            lw_recorder_reset(recorder);
            lw_recorder_flush(recorder, i);
        }
        CHECK_EQUAL(unlink("disk/filler"), 0);
        record_stall(recorder, 12, 1000);
        CHECK(lw_recorder_flush(recorder, 5000));
    }
    CHECK(lw_recorder_dropped(recorder) > 60);
    lw_recorder_end(recorder, 6000);
    lw_recorder_flush(recorder, 6000);
    save_disk();
    destroy(recorder);
}

CASE(a_disk_without_room_for_the_header)
{
    lw_recorder_options options = ordinary;
    lw_recorder *recorder = NULL;

    mount_disk("size=64k");
    options.directory = "disk";
    fill_disk(0);
    CHECK_EQUAL(lw_intern_create(&intern, &limits), LW_OK);
    CHECK_EQUAL(lw_recorder_create(&recorder, &options, intern), LW_SYSTEM);
    CHECK_EQUAL(errno, ENOSPC);
    lw_intern_destroy(intern);
    CHECK_EQUAL(system("ls disk | grep -c jsonl > count"), 256); /* no file without a header is left */
}

CASE(a_disk_that_is_full_at_the_next_part)
{
    lw_recorder_options options = ordinary;

    mount_disk("size=256k");
    options.directory = "disk";
    options.part_bytes = 8000;
    options.parts = 2;
    lw_recorder *recorder = create(&options);
    for (int round = 0; round < 5; round++) {
        record_until_dropped(recorder, 8192);
        CHECK_EQUAL(unlink("disk/filler"), 0);
        for (uint32_t i = 0; i < 30; i++) {
            record_stall(recorder, 12, i);
            lw_recorder_flush(recorder, i);
        }
    }
    lw_recorder_end(recorder, 6000);
    lw_recorder_flush(recorder, 6000);
    save_disk();
    destroy(recorder);
}

CASE(a_limit_to_the_size_of_files)
{
    lw_recorder *recorder = create(&ordinary);
    struct rlimit limit;

    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 30000;
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint32_t i = 0; i < 200; i++) {
        record_stall(recorder, 30, i * 2);
        lw_recorder_flush(recorder, i);
    }
    CHECK(lw_recorder_dropped(recorder) > 0);
    destroy(recorder);
}

CASE(descriptors_that_the_program_closes)
{
    lw_recorder *recorder = create(&ordinary);
    struct stat status;

    for (int round = 0; round < 3; round++) {
        record_stall(recorder, 10, 2);
        lw_recorder_flush(recorder, 1);
        for (int number = 3; number < 20; number++) {
            close(number);
        }
        int victim = open("victim", O_RDWR | O_CREAT, 0600);
        record_stall(recorder, 10, 4);
        lw_recorder_flush(recorder, 2);
        record_stall(recorder, 10, 6);
        lw_recorder_flush(recorder, 3);
        CHECK_EQUAL(fstat(victim, &status), 0);
        CHECK_EQUAL(status.st_size, 0);
    }
    CHECK(lw_recorder_dropped(recorder) > 0);
    destroy(recorder);
}

/* ---- the queue ---- */

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
