#define _GNU_SOURCE
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/memory.h"
#include "os/thread.h"

enum { LARGEST_PAGE = 65536, BIG = 1 << 20, PIECES = 10000 };

/* Its size: on aarch64 4, 16 or 64 KB. */
static int page_size(void)
{
    return (int)sysconf(_SC_PAGESIZE);
}

/* Where files must not grow there is no file in memory either, and nobody is killed for trying. */
static void leave_pipes_only(void)
{
    rlim_t most = (rlim_t)page_size();
    struct rlimit limit = {most, most};

    CHECK_EQUAL(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool has_file(void)
{
    char line[512];
    bool found = false;
    FILE *maps = fopen("/proc/self/maps", "r");

    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        found |= strstr(line, "memfd:loopwatch") != NULL;
    }
    fclose(maps);
    return found;
}

/* Every case runs both ways: with LW_PIPES_ONLY in the environment through a pipe, else through a file. */
static lw_memory *open_memory(void)
{
    lw_memory *memory = NULL;
    bool pipes_only = getenv("LW_PIPES_ONLY") != NULL;

    if (pipes_only) {
        leave_pipes_only();
    }
    CHECK_EQUAL(lw_memory_open(&memory), LW_OK);
    CHECK_EQUAL(has_file(), !pipes_only);
    return memory;
}

static char *map(size_t size, int protection)
{
    char *pages = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    CHECK(pages != MAP_FAILED);
    for (size_t i = 0; i < size; i++) {
        pages[i] = (char)(i * 7 + i / 256 + i / 65536);
    }
    CHECK_EQUAL(mprotect(pages, size, protection), 0);
    return pages;
}

static lw_piece piece(const void *address, size_t size)
{
    return (lw_piece){(uintptr_t)address, size};
}

/* A read after a fault must find nothing left over. */
static void check_usable(lw_memory *memory)
{
    static const char text[] = "still in order";
    char copy[sizeof text];
    lw_piece whole = piece(text, sizeof text);

    CHECK_EQUAL(lw_memory_read(memory, &whole, 1, copy), LW_OK);
    CHECK(memcmp(copy, text, sizeof text) == 0);
}

CASE(pieces_come_one_after_the_other)
{
    lw_memory *memory = open_memory();
    const char *from = map(BIG, PROT_READ);
    static char into[64 * 88];
    lw_piece pieces[64];

    for (int i = 0; i < 64; i++) {
        pieces[i] = piece(from + i * 5000, 88);
    }
    CHECK_EQUAL(lw_memory_read(memory, pieces, 64, into), LW_OK);
    for (int i = 0; i < 64; i++) {
        CHECK(memcmp(into + i * 88, from + i * 5000, 88) == 0);
    }
    CHECK_EQUAL(lw_memory_read(memory, pieces, 0, into), LW_OK);
    pieces[0].size = pieces[1].size = 0;
    CHECK_EQUAL(lw_memory_read(memory, pieces, 2, into), LW_OK);
    CHECK_EQUAL(lw_memory_read(memory, pieces, 3, into), LW_OK);
    CHECK(memcmp(into, from + 2 * 5000, 88) == 0);
    lw_memory_close(memory);
    lw_memory_close(NULL);
}

CASE(a_bad_address_behind_any_number_of_good_bytes)
{
    lw_memory *memory = open_memory();
    const char *from = map(BIG, PROT_READ), *bad = map(page_size(), PROT_NONE);
    static char into[BIG];

    for (size_t good = 0; good < 70000; good += good < 9000 ? 1 : 97) {
        lw_piece pieces[] = {piece(from, good), piece(bad, 80), piece(from, 80)};
        CHECK_EQUAL(lw_memory_read(memory, pieces, 3, into), LW_FAULT);
        if (good % 16 == 0) {
            check_usable(memory);
        }
    }
    lw_memory_close(memory);
}

CASE(a_bad_address_at_any_place_among_many)
{
    lw_memory *memory = open_memory();
    const char *from = map(BIG, PROT_READ), *bad = map(page_size(), PROT_NONE);
    static lw_piece pieces[3000];
    static char into[3000 * 40];

    for (int i = 0; i < 3000; i++) {
        pieces[i] = piece(from + i * 40, 40);
    }
    for (int place = 0; place < 3000; place += 7) {
        lw_piece kept = pieces[place];
        pieces[place] = piece(bad + place % page_size(), 40);
        CHECK_EQUAL(lw_memory_read(memory, pieces, 3000, into), LW_FAULT);
        pieces[place] = kept;
    }
    CHECK_EQUAL(lw_memory_read(memory, pieces, 3000, into), LW_OK);
    CHECK(memcmp(into, from, sizeof into) == 0);
    lw_memory_close(memory);
}

CASE(a_piece_that_runs_out_of_a_page)
{
    lw_memory *memory = open_memory();
    char *pages = map(3 * page_size(), PROT_READ);
    char into[2 * LARGEST_PAGE];

    CHECK_EQUAL(mprotect(pages + 2 * page_size(), page_size(), PROT_NONE), 0);
    for (int inside = 1; inside <= 200; inside++) {
        const char *start = pages + 2 * page_size() - inside;
        for (int size = inside - 1; size <= inside + 1; size++) {
            lw_piece cut = piece(start, (size_t)size);
            CHECK_EQUAL(lw_memory_read(memory, &cut, 1, into), size <= inside ? LW_OK : LW_FAULT);
        }
        lw_piece two[] = {piece(pages, page_size() + 1), piece(start, 300)};
        CHECK_EQUAL(lw_memory_read(memory, two, 2, into), LW_FAULT);
    }
    check_usable(memory);
    lw_memory_close(memory);
}

CASE(addresses_that_never_were)
{
    static const uintptr_t never[] = {
        0,
        8,
        0x0ddddddddddddddd,
        0xdddddddddddddddd,
        0xffffffff80000000,
        0xfffffffffffffff8,
        UINTPTR_MAX,
        (uintptr_t)1 << 47,
        (uintptr_t)INTPTR_MAX,
    };
    lw_memory *memory = open_memory();
    char into[256], good[80] = "good";

    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        lw_piece pieces[] = {piece(good, 80), {never[i], 80}, piece(good, 80)};
        CHECK_EQUAL(lw_memory_read(memory, pieces, 3, into), LW_FAULT);
        CHECK_EQUAL(lw_memory_read(memory, pieces + 1, 1, into), LW_FAULT);
        lw_piece absurd = {never[i], SIZE_MAX};
        CHECK_EQUAL(lw_memory_read(memory, &absurd, 1, into), LW_FAULT);
        check_usable(memory);
    }
    lw_memory_close(memory);
}

CASE(ten_thousand_pieces)
{
    lw_memory *memory = open_memory();
    const char *from = map(BIG, PROT_READ);
    static lw_piece pieces[PIECES];
    static char into[PIECES * 96];
    size_t total = 0;

    for (int i = 0; i < PIECES; i++) {
        pieces[i] =
            piece(from + i * 96, (size_t)(i % 97)); /* more pieces and more bytes than one call takes */
    }
    CHECK_EQUAL(lw_memory_read(memory, pieces, PIECES, into), LW_OK);
    for (int i = 0; i < PIECES; i++) {
        CHECK(memcmp(into + total, from + i * 96, pieces[i].size) == 0);
        total += pieces[i].size;
    }
    lw_memory_close(memory);
}

CASE(a_megabyte_in_one_piece)
{
    lw_memory *memory = open_memory();
    char *from = map(BIG + page_size(), PROT_READ);
    static char into[BIG + 200];
    lw_piece pieces[] = {piece(from + 1, 100), piece(from, BIG), piece(from + 2, 100)};

    CHECK_EQUAL(lw_memory_read(memory, pieces, 3, into), LW_OK);
    CHECK(memcmp(into, from + 1, 100) == 0 && memcmp(into + 100, from, BIG) == 0);
    CHECK(memcmp(into + 100 + BIG, from + 2, 100) == 0);
    CHECK_EQUAL(mprotect(from + BIG - page_size(), page_size(), PROT_NONE), 0);
    CHECK_EQUAL(lw_memory_read(memory, pieces, 3, into), LW_FAULT);
    check_usable(memory);
    lw_memory_close(memory);
}

CASE(a_buffer_takes_what_is_read_and_grows)
{
    lw_memory *memory = open_memory();
    const char *from = map(BIG, PROT_READ), *bad = map(page_size(), PROT_NONE);
    size_t sizes[] = {100, 5000, 70000, BIG};

    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char *buffer = lw_memory_buffer(memory, sizes[i]), apart[100];
        size_t half = sizes[i] / 2;
        CHECK(buffer != NULL);
        lw_piece pieces[] = {piece(from + 7, half), piece(from + 1, sizes[i] - half)};
        CHECK_EQUAL(lw_memory_read(memory, pieces, 2, buffer), LW_OK);
        CHECK(memcmp(buffer, from + 7, half) == 0);
        CHECK(memcmp(buffer + half, from + 1, sizes[i] - half) == 0);
        /* What is read elsewhere does not touch it, and it is read into in parts. */
        lw_piece other = piece(from + 3, sizeof apart), last = piece(from + 5, 50), gone = piece(bad, 50);
        CHECK_EQUAL(lw_memory_read(memory, &other, 1, apart), LW_OK);
        CHECK_EQUAL(lw_memory_read(memory, &last, 1, buffer + sizes[i] - 50), LW_OK);
        CHECK_EQUAL(lw_memory_read(memory, &gone, 1, buffer), LW_FAULT);
        CHECK(memcmp(apart, from + 3, sizeof apart) == 0);
        CHECK(memcmp(buffer + 50, from + 57, half - 50) == 0);
        CHECK(memcmp(buffer + sizes[i] - 50, from + 5, 50) == 0);
    }
    lw_memory_close(memory);
    CHECK(!has_file());
}

CASE(a_forked_child_does_not_see_what_was_read)
{
    lw_memory *memory = open_memory();

    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(has_file());
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    lw_memory_close(memory);
}

/* The limit may fall while the file is there. On a thread that blocks the signal, as the watchdog's does. */
static void read_beyond_the_limit(void *argument)
{
    static char source[LARGEST_PAGE], into[LARGEST_PAGE];
    lw_memory *memory = open_memory();
    lw_piece all = piece(source, (size_t)page_size());

    leave_pipes_only();
    char *buffer = lw_memory_buffer(memory, page_size());
    CHECK(buffer != NULL || has_file());
    if (buffer != NULL && has_file()) {
        CHECK_EQUAL(lw_memory_read(memory, &all, 1, buffer), LW_SYSTEM);
    }
    lw_memory_close(memory);
    CHECK_EQUAL(lw_memory_open(&memory), LW_OK);
    CHECK(!has_file());
    CHECK_EQUAL(lw_memory_read(memory, &all, 1, into), LW_OK);
    lw_memory_close(memory);
    *(bool *)argument = true;
}

CASE(a_limit_that_comes_later)
{
    lw_thread *thread = NULL;
    bool done = false;

    CHECK_EQUAL(lw_thread_start(&thread, read_beyond_the_limit, &done), LW_OK);
    lw_thread_join(thread);
    CHECK(done);
}

/* ---- a program that changes what is read ---- */

static _Atomic bool over;

static void *map_and_unmap(void *argument)
{
    char *page = argument;

    while (!atomic_load(&over)) {
        munmap(page, page_size());
        mmap(page, page_size(), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        memset(page, 'p', page_size());
    }
    return NULL;
}

CASE(memory_that_vanishes_while_it_is_read)
{
    lw_memory *memory = open_memory();
    char *pages = map(3 * page_size(), PROT_READ | PROT_WRITE);
    static char into[3 * LARGEST_PAGE];
    int whole = 0, faults = 0, last = 300 + page_size();
    pthread_t thread;

    memset(pages, 'p', 3 * page_size());
    CHECK_EQUAL(pthread_create(&thread, NULL, map_and_unmap, pages + page_size()), 0);
    for (int i = 0; i < 200000 && (i < 20000 || whole == 0 || faults == 0); i++) {
        lw_piece pieces[] = {piece(pages, 100), piece(pages + page_size() - 50, 200),
                             piece(pages + 2 * page_size(), page_size())};
        lw_status status = lw_memory_read(memory, pieces, 3, into);
        CHECK(status == LW_OK || status == LW_FAULT);
        if (status == LW_OK) {
            whole++;
            for (int j = 0; j < last; j++) {
                CHECK(into[j] == 'p' || (j >= 150 && j < 300 && into[j] == 0)); /* 0: a page just mapped */
            }
        } else {
            faults++;
        }
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    CHECK(faults > 0);
    check_usable(memory);
    lw_memory_close(memory);
}

static _Atomic uint64_t counted_first, counted_second;

static void *count_up(void *argument)
{
    (void)argument;
    for (uint64_t i = 1; !atomic_load(&over); i++) {
        atomic_store(&counted_second, i);
        atomic_store(&counted_first, i);
    }
    return NULL;
}

CASE(pieces_are_read_in_order)
{
    lw_memory *memory = open_memory();
    pthread_t thread;
    uint64_t into[2];

    /* The writer raises the second before the first: read in order, the second is never behind. */
    CHECK_EQUAL(pthread_create(&thread, NULL, count_up, NULL), 0);
    for (int i = 0; i < 100000; i++) {
        lw_piece pieces[] = {piece((void *)&counted_first, 8), piece((void *)&counted_second, 8)};
        CHECK_EQUAL(lw_memory_read(memory, pieces, 2, into), LW_OK);
        CHECK(into[1] >= into[0]);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    lw_memory_close(memory);
}

/* ---- descriptors ---- */

CASE(closed_descriptors_that_became_a_file)
{
    lw_memory *memory = open_memory();
    char source[64] = "must not be seen in any file", into[64];
    lw_piece all = piece(source, sizeof source);
    struct stat status;

    for (int number = 3; number < 64; number++) {
        close(number);
    }
    for (int i = 0; i < 8; i++) {
        CHECK(open("victim", O_RDWR | O_CREAT, 0600) >= 0);
    }
    CHECK_EQUAL(lw_memory_read(memory, &all, 1, into), LW_SYSTEM);
    lw_memory_close(memory); /* must leave the victim's descriptors alone */
    for (int number = 3; number < 11; number++) {
        CHECK_EQUAL(fstat(number, &status), 0);
        CHECK_EQUAL(status.st_size, 0);
    }
    memory = open_memory();
    check_usable(memory);
    lw_memory_close(memory);
}

static _Atomic bool reading;
static _Atomic long good_reads, bad_reads;

static void read_in_isolation(void *argument)
{
    static char source[5000], into[5000];
    lw_piece all = piece(source, sizeof source);
    lw_memory *memory = NULL;

    (void)argument;
    memset(source, 's', sizeof source);
    if (lw_thread_isolate() != LW_OK) {
        atomic_store(&bad_reads, -1);
        atomic_store(&reading, true);
        return;
    }
    memory = open_memory();
    atomic_store(&reading, true);
    while (!atomic_load(&over)) {
        bool good = lw_memory_read(memory, &all, 1, into) == LW_OK && into[4999] == 's';
        atomic_fetch_add(good ? &good_reads : &bad_reads, 1);
    }
    lw_memory_close(memory);
}

CASE(a_thread_of_its_own_is_out_of_reach)
{
    lw_thread *thread = NULL;
    struct stat status;

    CHECK_EQUAL(lw_thread_start(&thread, read_in_isolation, NULL), LW_OK);
    while (!atomic_load(&reading)) {
        usleep(100);
    }
    if (atomic_load(&bad_reads) < 0) {
        SKIP("this system has no descriptor table per thread");
    }
    for (int round = 0; round < 200; round++) {
        for (int number = 3; number < 200; number++) {
            close(number);
        }
        int victim = open("victim", O_RDWR | O_CREAT | O_TRUNC, 0600);
        CHECK(victim >= 0);
        usleep(500);
        CHECK_EQUAL(fstat(victim, &status), 0);
        CHECK_EQUAL(status.st_size, 0);
    }
    atomic_store(&over, true);
    lw_thread_join(thread);
    CHECK(atomic_load(&good_reads) > 0);
    CHECK_EQUAL(atomic_load(&bad_reads), 0);
}

/* Every user may have so many pages in pipes; beyond that, a new pipe gets two. */
static int read_through_a_small_pipe(void)
{
    static char source[BIG], into[BIG];
    struct rlimit limit = {8192, 8192};
    lw_piece all = piece(source, sizeof source);
    int ends[2] = {-1, -1};

    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || (geteuid() == 0 && setuid(65534) != 0)) {
        return CHECK_SKIPPED;
    }
    for (int i = 0; i < 4000; i++) {
        if (pipe(ends) != 0 || fcntl(ends[0], F_GETPIPE_SZ) <= 2 * page_size()) {
            break;
        }
    }
    if (fcntl(ends[0], F_GETPIPE_SZ) > 2 * page_size()) {
        return CHECK_SKIPPED;
    }
    memset(source, 'q', sizeof source);
    setenv("LW_PIPES_ONLY", "1", 1);
    lw_memory *memory = open_memory();
    CHECK_EQUAL(lw_memory_read(memory, &all, 1, into), LW_OK);
    CHECK(memcmp(source, into, sizeof source) == 0);
    lw_memory_close(memory);
    return 0;
}

CASE(the_smallest_pipe)
{
    int status;
    pid_t child = fork();

    if (child == 0) {
        _exit(read_through_a_small_pipe());
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHECK_SKIPPED) {
        SKIP("this user may have more pipes, or fewer descriptors, than it takes to get a small one");
    }
    CHECK_EQUAL(WEXITSTATUS(status), 0);
}
