#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/file.h"

static lw_file *create(const char *path)
{
    lw_file *file = NULL;

    CHECK_EQUAL(lw_file_create(&file, path), LW_OK);
    return file;
}

CASE(what_is_appended_is_there)
{
    lw_file *file = create("new");
    struct stat status;
    size_t written;
    char content[8] = "";

    CHECK_EQUAL(lw_file_append(file, "abc", 3, &written), LW_OK);
    CHECK_EQUAL(written, 3);
    CHECK_EQUAL(lw_file_append(file, "", 0, &written), LW_OK);
    CHECK_EQUAL(written, 0);
    CHECK_EQUAL(lw_file_append(file, "de", 2, &written), LW_OK);
    int descriptor = open("new", O_RDONLY);
    CHECK_EQUAL(read(descriptor, content, sizeof content), 5);
    CHECK(strcmp(content, "abcde") == 0);
    CHECK_EQUAL(fstat(descriptor, &status), 0);
    CHECK_EQUAL(status.st_mode & 0777, 0600);
    lw_file_close(file);
    lw_file_close(NULL);
    lw_file_remove("new");
    CHECK_EQUAL(access("new", F_OK), -1);
    lw_file_remove("new");
}

CASE(what_is_written_over_something_moves_nothing_else)
{
    lw_file *file = create("new");
    size_t written;
    char content[8] = "";

    CHECK_EQUAL(lw_file_append(file, "abcde", 5, &written), LW_OK);
    CHECK_EQUAL(lw_file_rewrite(file, 1, "XY", 2), LW_OK);
    CHECK_EQUAL(lw_file_append(file, "f", 1, &written), LW_OK);
    int descriptor = open("new", O_RDONLY);
    CHECK_EQUAL(read(descriptor, content, sizeof content), 6);
    CHECK(strcmp(content, "aXYdef") == 0);
    lw_file_close(file);
}

CASE(no_file_is_taken_over)
{
    lw_file *file = create("new"), *untouched = NULL;

    CHECK_EQUAL(lw_file_create(&untouched, "new"), LW_SYSTEM);
    CHECK_EQUAL(errno, EEXIST);
    CHECK_EQUAL(lw_file_create(&untouched, "no/such/folder"), LW_SYSTEM);
    CHECK_EQUAL(errno, ENOENT);
    CHECK(untouched == NULL);
    CHECK_EQUAL(symlink("target", "link"), 0);
    CHECK_EQUAL(lw_file_create(&untouched, "link"), LW_SYSTEM);
    lw_file_close(file);
}

CASE(a_child_program_does_not_inherit_it)
{
    lw_file *file = create("new");
    int close_on_exec = 0;

    for (int number = 3; number < 10; number++) {
        int flags = fcntl(number, F_GETFD);
        close_on_exec += flags >= 0 && (flags & FD_CLOEXEC);
    }
    CHECK(close_on_exec >= 1);
    lw_file_close(file);
}

CASE(a_full_disk)
{
    lw_file *file = create("new");
    struct rlimit limit;
    static char bytes[3000];
    size_t written;

    signal(SIGXFSZ, SIG_IGN);
    CHECK_EQUAL(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = 5000;
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQUAL(lw_file_append(file, bytes, sizeof bytes, &written), LW_OK);
    CHECK_EQUAL(lw_file_append(file, bytes, sizeof bytes, &written), LW_SYSTEM);
    CHECK_EQUAL(errno, EFBIG);
    CHECK_EQUAL(written, 2000);
    CHECK_EQUAL(lw_file_append(file, bytes, 1, &written), LW_SYSTEM);
    CHECK_EQUAL(written, 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
    CHECK_EQUAL(lw_file_append(file, bytes, 1, &written), LW_OK);
    lw_file_close(file);
}

CASE(a_descriptor_that_the_program_closed)
{
    lw_file *file = create("new"), *other;
    struct stat status;
    size_t written = 99;

    for (int number = 3; number < 20; number++) {
        close(number);
    }
    CHECK_EQUAL(lw_file_append(file, "abc", 3, &written), LW_SYSTEM);
    CHECK_EQUAL(errno, EBADF);
    CHECK_EQUAL(written, 0);
    CHECK_EQUAL(lw_file_rewrite(file, 0, "abc", 3), LW_SYSTEM);
    CHECK_EQUAL(errno, EBADF);

    int victims[5];
    for (int i = 0; i < 5; i++) {
        victims[i] = open("victim", O_RDWR | O_CREAT, 0600);
        CHECK(victims[i] >= 0);
    }
    CHECK_EQUAL(lw_file_append(file, "abc", 3, &written), LW_SYSTEM);
    CHECK_EQUAL(errno, EBADF);
    lw_file_close(file);
    for (int i = 0; i < 5; i++) {
        CHECK_EQUAL(fstat(victims[i], &status), 0); /* still open, still empty */
        CHECK_EQUAL(status.st_size, 0);
    }
    other = create("other");
    CHECK_EQUAL(lw_file_append(other, "abc", 3, &written), LW_OK);
    lw_file_close(other);
}
