/* The harness of the C tests: a program holds cases, and runs the one that is named on its command line in
   a process of its own, in an empty folder. test_native.py finds the cases by their `CASE(`. */
#ifndef LW_TEST_CHECK_H
#define LW_TEST_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECK_MOST_CASES = 64, CHECK_SKIPPED = 77 };

static struct {
    const char *name;
    void (*run)(void);
} check_cases[CHECK_MOST_CASES];
static int check_case_count;

static void check_register(const char *name, void (*run)(void))
{
    check_cases[check_case_count].name = name;
    check_cases[check_case_count++].run = run;
}

#define CASE(name)                                                                                           \
    static void name(void);                                                                                  \
    __attribute__((constructor)) static void register_##name(void)                                           \
    {                                                                                                        \
        check_register(#name, name);                                                                         \
    }                                                                                                        \
    static void name(void)

/* End the case at once: `expression` does not hold. */
#define CHECK(expression)                                                                                    \
    do {                                                                                                     \
        if (!(expression)) {                                                                                 \
            fprintf(stderr, "%s:%d: %s: does not hold (errno: %s)\n", __FILE__, __LINE__, #expression,       \
                    strerror(errno));                                                                        \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* The same for two numbers, which are shown. */
#define CHECK_EQUAL(left, right)                                                                             \
    do {                                                                                                     \
        long long left_ = (long long)(left), right_ = (long long)(right);                                    \
        if (left_ != right_) {                                                                               \
            fprintf(stderr, "%s:%d: %s is %lld, not %lld (%s)\n", __FILE__, __LINE__, #left, left_, right_,  \
                    #right);                                                                                 \
            exit(1);                                                                                         \
        }                                                                                                    \
    } while (0)

/* This machine cannot run the case. */
#define SKIP(reason)                                                                                         \
    do {                                                                                                     \
        printf("%s\n", reason);                                                                              \
        exit(CHECK_SKIPPED);                                                                                 \
    } while (0)

int main(int count, char **arguments)
{
    for (int i = 0; count == 2 && i < check_case_count; i++) {
        if (strcmp(check_cases[i].name, arguments[1]) == 0) {
            check_cases[i].run();
            return 0;
        }
    }
    fprintf(stderr, "no such case\n");
    return 2;
}

#endif
