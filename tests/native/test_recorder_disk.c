#define _GNU_SOURCE
#include "recordings.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void write_file(const char *path, const char *text)
{
    int file = open(path, O_WRONLY);

    if (file < 0 || write(file, text, strlen(text)) < 0) {
        SKIP("no user can be mapped here");
    }
    close(file);
}

/* Mount points of our own: root may just have them, others in a user namespace, where they must be
   somebody. */
static int leave_mounts(void)
{
    char map[64];
    uid_t user = geteuid();
    gid_t group = getegid();

    if (user == 0) {
        return unshare(CLONE_NEWNS);
    }
    if (unshare(CLONE_NEWNS | CLONE_NEWUSER) != 0) {
        return -1;
    }
    snprintf(map, sizeof map, "%u %u 1", user, user);
    write_file("/proc/self/uid_map", map);
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "%u %u 1", group, group);
    write_file("/proc/self/gid_map", map);
    return 0;
}

/* A file system with these options in the folder "disk", seen by this process only. */
static void mount_disk(const char *options)
{
    if (leave_mounts() != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0 ||
        mkdir("disk", 0700) != 0 || mount("none", "disk", "tmpfs", 0, options) != 0) {
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

/* What the second lines of the parts in this folder say, as a reader finds them at this moment: how many records are
   lost. */
static uint64_t told(const char *folder)
{
    static const char before[] = "{\"t\":\"dropped\",\"records\":";
    char command[64], line[128];
    uint64_t most = 0;

    snprintf(command, sizeof command, "sed -sn 2p %s/77-*.jsonl", folder);
    FILE *output = popen(command, "r");
    while (fgets(line, sizeof line, output) != NULL) {
        CHECK(strncmp(line, before, strlen(before)) == 0);
        uint64_t count = strtoull(line + strlen(before), NULL, 10);
        most = count > most ? count : most;
    }
    pclose(output);
    return most;
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
            CHECK_EQUAL(told("disk"), lw_recorder_dropped(recorder));
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

CASE(a_disk_that_stays_full)
{
    lw_recorder_options options = ordinary;

    mount_disk("size=256k");
    options.directory = "disk";
    lw_recorder *recorder = create(&options);
    CHECK_EQUAL(told("disk"), 0);
    record_until_dropped(recorder, 16384);
    fill_disk(0);
    for (uint32_t i = 0; i < 20; i++) {
        record_stall(recorder, 5, i);
        lw_recorder_flush(recorder, i);
    }
    save_disk(); /* the process is killed here */
    CHECK(lw_recorder_dropped(recorder) > 20);
    CHECK_EQUAL(told("."), lw_recorder_dropped(recorder));
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
        fill_disk(0);
        record_stall(recorder, 12, 0);
        lw_recorder_flush(recorder, 0);
        CHECK_EQUAL(told("disk"), lw_recorder_dropped(recorder));
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
    CHECK_EQUAL(told("."), lw_recorder_dropped(recorder));
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
