#define _GNU_SOURCE
#include "check.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#if __has_include(<linux/seccomp.h>)
#include <linux/filter.h>
#include <linux/seccomp.h>
#define HAS_SECCOMP 1
#endif

#include "os/thread.h"

#ifndef SYS_close_range
#define SYS_close_range 436
#endif

static void run_and_join(void (*run)(void *), void *argument)
{
    lw_thread *thread = NULL;

    CHECK_EQUAL(lw_thread_start(&thread, run, argument), LW_OK);
    lw_thread_join(thread);
}

/* The descriptors of this thread, but for the one that it takes to look. */
static int count_descriptors(void)
{
    DIR *folder = opendir("/proc/thread-self/fd");
    int count = 0;

    CHECK(folder != NULL);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count - 3; /* ".", ".." and the folder itself */
}

static void look_at_mask(void *argument)
{
    sigset_t *mask = argument;

    pthread_sigmask(SIG_SETMASK, NULL, mask);
}

CASE(signals_are_blocked_but_for_faults)
{
    static const int open_signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
    static const int blocked[] = {SIGINT,  SIGTERM, SIGHUP,  SIGCHLD, SIGPIPE,
                                  SIGPROF, SIGALRM, SIGXFSZ, SIGUSR1};
    sigset_t mask, mine;

    run_and_join(look_at_mask, &mask);
    for (size_t i = 0; i < sizeof open_signals / sizeof *open_signals; i++) {
        CHECK(!sigismember(&mask, open_signals[i]));
    }
    for (size_t i = 0; i < sizeof blocked / sizeof *blocked; i++) {
        CHECK(sigismember(&mask, blocked[i]));
    }
    for (int number = SIGRTMIN; number <= SIGRTMAX; number++) {
        CHECK(sigismember(&mask, number));
    }
    look_at_mask(&mine);
    CHECK(!sigismember(&mine, SIGINT)); /* the creator's own mask is as before */
}

static void look_at_stack(void *argument)
{
    pthread_attr_t attributes;

    CHECK_EQUAL(pthread_getattr_np(pthread_self(), &attributes), 0);
    CHECK_EQUAL(pthread_attr_getstacksize(&attributes, argument), 0);
    pthread_attr_destroy(&attributes);
}

CASE(the_stack_has_a_size_of_its_own)
{
    struct rlimit limit;
    size_t size = 0;

    CHECK_EQUAL(getrlimit(RLIMIT_STACK, &limit), 0);
    limit.rlim_cur = limit.rlim_max;
    CHECK_EQUAL(setrlimit(RLIMIT_STACK, &limit), 0);
    run_and_join(look_at_stack, &size);
    CHECK(size >= 200 * 1024 && size <= 512 * 1024);
}

static void look_at_number(void *argument)
{
    *(uint64_t *)argument = lw_thread_number();
}

CASE(threads_have_the_system_s_numbers)
{
    uint64_t number = 0;

    CHECK_EQUAL(lw_thread_number(), getpid());
    run_and_join(look_at_number, &number);
    CHECK(number != 0 && number != (uint64_t)getpid());
}

static lw_mutex *mutex;
static long counted;

static void count(void *argument)
{
    (void)argument;
    for (int i = 0; i < 100000; i++) {
        lw_mutex_lock(mutex);
        counted++;
        lw_mutex_unlock(mutex);
    }
}

CASE(a_mutex_lets_one_in)
{
    lw_thread *threads[2];

    mutex = lw_mutex_create();
    CHECK(mutex != NULL);
    for (int i = 0; i < 2; i++) {
        CHECK_EQUAL(lw_thread_start(&threads[i], count, NULL), LW_OK);
    }
    for (int i = 0; i < 2; i++) {
        lw_thread_join(threads[i]);
    }
    CHECK_EQUAL(counted, 200000);
    lw_mutex_destroy(mutex);
    lw_mutex_destroy(NULL);
}

static int forks_seen;

static void see_fork(void)
{
    forks_seen++;
}

CASE(the_child_of_a_fork_is_told_once)
{
    int status;

    CHECK_EQUAL(lw_thread_at_fork(see_fork), LW_OK);
    pid_t child = fork();
    if (child == 0) {
        _exit(forks_seen);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(WEXITSTATUS(status), 1);
    CHECK_EQUAL(forks_seen, 0);
}

/* ---- isolation ---- */

typedef struct isolation {
    lw_status status;
    bool isolated;   /* what lw_thread_isolated says */
    int descriptors; /* how many are left */
    bool null[3];    /* which of the standard ones are /dev/null */
    int first;       /* the first number that is given to something new */
} isolation;

static void isolate(void *argument)
{
    isolation *result = argument;
    struct stat status;

    result->status = lw_thread_isolate();
    result->isolated = lw_thread_isolated();
    result->descriptors = count_descriptors();
    for (int i = 0; i <= 2; i++) {
        result->null[i] = fstat(i, &status) == 0 && S_ISCHR(status.st_mode) && major(status.st_rdev) == 1 &&
                          minor(status.st_rdev) == 3;
    }
    result->first = open("/", O_RDONLY | O_CLOEXEC);
    close(result->first);
}

static void check_isolated(const isolation *result)
{
    CHECK_EQUAL(result->status, LW_OK);
    CHECK(result->isolated);
    CHECK_EQUAL(result->descriptors, 3);
    CHECK(result->null[0] && result->null[1] && result->null[2]);
    CHECK_EQUAL(result->first, 3);
}

CASE(an_isolated_thread_has_nothing_but_dev_null)
{
    isolation result;
    struct stat before, after;

    for (int i = 0; i < 50; i++) {
        CHECK(open("/", O_RDONLY) >= 0);
    }
    int mine = count_descriptors();
    CHECK_EQUAL(fstat(1, &before), 0);
    run_and_join(isolate, &result);
    check_isolated(&result);
    CHECK(!lw_thread_isolated());
    CHECK_EQUAL(count_descriptors(), mine); /* the program's are all still there */
    CHECK_EQUAL(fstat(1, &after), 0);
    CHECK_EQUAL(before.st_ino, after.st_ino);
}

CASE(isolation_when_the_program_has_closed_its_standard_descriptors)
{
    isolation result;

    for (int missing = 0; missing < 8; missing++) {
        for (int i = 0; i <= 2; i++) {
            if (missing >> i & 1) {
                close(i);
            }
        }
        run_and_join(isolate, &result);
        int opened;
        while ((opened = open("/dev/null", O_RDWR)) <=
               2) { /* whole again for the next round and the messages */
        }
        close(opened);
        check_isolated(&result);
    }
}

static _Atomic bool isolated_now, over;

static void stay(void *argument)
{
    *(lw_status *)argument = lw_thread_isolate();
    atomic_store(&isolated_now, true);
    while (!atomic_load(&over)) {
        usleep(200);
    }
}

CASE(the_peer_sees_the_end_and_locks_stay)
{
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    lw_thread *thread = NULL;
    lw_status isolation_status = LW_SYSTEM;
    int ends[2], status;
    char byte;

    int locked = open("locked", O_RDWR | O_CREAT, 0600);
    CHECK_EQUAL(fcntl(locked, F_SETLK, &lock), 0);
    CHECK_EQUAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    CHECK_EQUAL(lw_thread_start(&thread, stay, &isolation_status), LW_OK);
    while (!atomic_load(&isolated_now)) {
        usleep(100);
    }
    CHECK_EQUAL(isolation_status, LW_OK);
    close(ends[0]);
    CHECK_EQUAL(read(ends[1], &byte, 1), 0);

    pid_t child = fork();
    if (child == 0) {
        CHECK_EQUAL(fcntl(locked, F_GETLK, &lock), 0);
        _exit(lock.l_type == F_WRLCK ? 0 : 1);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK_EQUAL(WEXITSTATUS(status), 0);
    atomic_store(&over, true);
    lw_thread_join(thread);
}

#ifdef HAS_SECCOMP

/* From now on these system calls answer ENOSYS in this process, as in an older kernel or a sandbox. */
static bool forbid(unsigned first, unsigned second)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, first, 1, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, second, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}

#else

static bool forbid(unsigned first, unsigned second)
{
    (void)first;
    (void)second;
    return false;
}

#endif

CASE(isolation_without_close_range)
{
    isolation result;

    if (!forbid(SYS_close_range, SYS_close_range)) {
        SKIP("seccomp filters cannot be set here");
    }
    for (int i = 0; i < 50; i++) {
        CHECK(open("/", O_RDONLY) >= 0);
    }
    int mine = count_descriptors();
    run_and_join(isolate, &result);
    check_isolated(&result);
    CHECK_EQUAL(count_descriptors(), mine);
}

CASE(isolation_where_there_is_none)
{
    isolation result;

    if (!forbid(SYS_close_range, SYS_unshare)) {
        SKIP("seccomp filters cannot be set here");
    }
    int mine = count_descriptors();
    run_and_join(isolate, &result);
    CHECK_EQUAL(result.status, LW_UNSUPPORTED);
    CHECK(!result.isolated);
    CHECK_EQUAL(count_descriptors(), mine);
}
