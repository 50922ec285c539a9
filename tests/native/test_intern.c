#include "check.h"

#include "intern.h"

static const lw_intern_limits roomy = {
    .codes = 1u << 20, .frames = 1u << 20, .stacks = 1u << 20, .text = 64u << 20};

static lw_intern *create(const lw_intern_limits *limits)
{
    lw_intern *intern = NULL;

    CHECK_EQUAL(lw_intern_create(&intern, limits), LW_OK);
    return intern;
}

static lw_status add_code(lw_intern *intern, const char *file, const char *name, uint32_t line, uint32_t *id)
{
    return lw_intern_code(intern, file, strlen(file), name, strlen(name), line, id);
}

CASE(equal_values_have_one_number)
{
    lw_intern *intern = create(&roomy);
    uint32_t first, second, other;

    CHECK_EQUAL(add_code(intern, "a.py", "f", 1, &first), LW_OK);
    CHECK_EQUAL(add_code(intern, "a.py", "f", 2, &other), LW_OK);
    CHECK_EQUAL(add_code(intern, "a.py", "f", 1, &second), LW_OK);
    CHECK(first == second && first != other);

    lw_frame place = {.code = first, .line = 3, .end_line = 3, .column = 4, .end_column = 9, .part = 77};
    CHECK_EQUAL(lw_intern_frame(intern, &place, &first), LW_OK);
    CHECK_EQUAL(lw_intern_frame_at(intern, first)->part, 0);
    place.part = 0;
    CHECK_EQUAL(lw_intern_frame(intern, &place, &second), LW_OK);
    place.column = LW_NONE;
    CHECK_EQUAL(lw_intern_frame(intern, &place, &other), LW_OK);
    CHECK(first == second && first != other);

    CHECK_EQUAL(lw_intern_stack(intern, LW_NONE, first, &first), LW_OK);
    CHECK_EQUAL(lw_intern_stack(intern, first, other, &second), LW_OK);
    CHECK_EQUAL(lw_intern_stack(intern, first, other, &other), LW_OK);
    CHECK(second == other && second != first);
    CHECK_EQUAL(lw_intern_stacks(intern), 2);
    CHECK_EQUAL(lw_intern_stack_at(intern, second)->parent, first);
    lw_intern_destroy(intern);
}

CASE(strings_are_copied_and_cut_at_a_zero)
{
    lw_intern *intern = create(&roomy);
    char file[] = "a.py\0hidden", name[] = "f";
    uint32_t id, same;

    CHECK_EQUAL(lw_intern_code(intern, file, sizeof file - 1, name, 1, 1, &id), LW_OK);
    memset(file, 'x', sizeof file);
    name[0] = 'x';
    CHECK(strcmp(lw_intern_code_at(intern, id)->file, "a.py") == 0);
    CHECK(strcmp(lw_intern_code_at(intern, id)->name, "f") == 0);
    CHECK_EQUAL(add_code(intern, "a.py", "f", 1, &same), LW_OK);
    CHECK_EQUAL(same, id);
    CHECK_EQUAL(lw_intern_code(intern, "", 0, "", 0, 1, &id), LW_OK);
    CHECK(strcmp(lw_intern_code_at(intern, id)->file, "") == 0);
    lw_intern_destroy(intern);
}

CASE(full_tables_say_so_and_stay_whole)
{
    lw_intern_limits limits = {.codes = 100, .frames = 70, .stacks = 65, .text = 1u << 16};
    lw_intern *intern = create(&limits);
    uint32_t id = 0, untouched = 12345;

    for (uint32_t i = 0; i < limits.codes; i++) {
        CHECK_EQUAL(add_code(intern, "a.py", "f", i, &id), LW_OK);
        CHECK_EQUAL(id, i);
    }
    CHECK_EQUAL(add_code(intern, "a.py", "f", limits.codes, &untouched), LW_FULL);
    CHECK_EQUAL(untouched, 12345);
    CHECK_EQUAL(add_code(intern, "a.py", "f", 50, &id), LW_OK); /* those that are there are still found */
    CHECK_EQUAL(id, 50);

    lw_frame place = {0};
    for (; place.line < limits.frames; place.line++) {
        CHECK_EQUAL(lw_intern_frame(intern, &place, &id), LW_OK);
    }
    CHECK_EQUAL(lw_intern_frame(intern, &place, &untouched), LW_FULL);
    for (uint32_t i = 0; i < limits.stacks; i++) {
        CHECK_EQUAL(lw_intern_stack(intern, i == 0 ? LW_NONE : i - 1, 0, &id), LW_OK);
    }
    CHECK_EQUAL(lw_intern_stack(intern, id, 0, &untouched), LW_FULL);
    CHECK_EQUAL(untouched, 12345);

    lw_intern_clear(intern);
    CHECK_EQUAL(lw_intern_stacks(intern), 0);
    CHECK_EQUAL(add_code(intern, "b.py", "g", 9, &id), LW_OK);
    CHECK_EQUAL(id, 0);
    CHECK(strcmp(lw_intern_code_at(intern, 0)->file, "b.py") == 0);
    CHECK_EQUAL(lw_intern_code_at(intern, 0)->part, 0);
    lw_intern_destroy(intern);
}

CASE(text_is_bounded)
{
    lw_intern_limits limits = roomy;
    limits.text = 100000;
    lw_intern *intern = create(&limits);
    static char big[90000];
    char name[32];
    uint32_t id, line = 0;

    memset(big, 'n', sizeof big);
    CHECK_EQUAL(lw_intern_code(intern, "a.py", 4, big, sizeof big, 1, &id), LW_OK); /* more than a block */
    CHECK_EQUAL(strlen(lw_intern_code_at(intern, id)->name), sizeof big);
    CHECK_EQUAL(lw_intern_code(intern, "b.py", 4, big, sizeof big - 1, 1, &id), LW_FULL);
    lw_status status;
    do {
        snprintf(name, sizeof name, "function %u", line++);
        status = add_code(intern, "a.py", name, 1, &id);
    } while (status == LW_OK);
    CHECK_EQUAL(status, LW_FULL);
    CHECK(line > 400);
    CHECK_EQUAL(add_code(intern, "a.py", "function 7", 1, &id), LW_OK);
    lw_intern_destroy(intern);
}

CASE(nothing_is_confused_among_many)
{
    lw_intern *intern = create(&roomy);
    char file[64], name[64];
    uint32_t id;

    for (int round = 0; round < 2; round++) {
        for (uint32_t i = 0; i < 50000; i++) {
            snprintf(file, sizeof file, "dir/file%u.py", i % 500);
            snprintf(name, sizeof name, "Class%u.method", i % 7919);
            CHECK_EQUAL(add_code(intern, file, name, i, &id), LW_OK);
            CHECK_EQUAL(id, i);
        }
    }
    for (uint32_t i = 0; i < 50000; i++) {
        const lw_code *code = lw_intern_code_at(intern, i);
        snprintf(file, sizeof file, "dir/file%u.py", i % 500);
        snprintf(name, sizeof name, "Class%u.method", i % 7919);
        CHECK(strcmp(code->file, file) == 0 && strcmp(code->name, name) == 0 && code->first_line == i);
    }
    lw_intern_destroy(intern);
}

CASE(ten_thousand_sites_are_small)
{
    lw_intern *intern = create(&roomy);
    char file[128], name[64];
    uint32_t code, frame, stack = LW_NONE, base = LW_NONE;

    for (uint32_t i = 0; i < 10000; i++) {
        snprintf(file, sizeof file, "/usr/lib/python3/site-packages/some_package/module_%u.py", i / 20);
        snprintf(name, sizeof name, "SomeClass.some_method_%u", i);
        CHECK_EQUAL(add_code(intern, file, name, i, &code), LW_OK);
        lw_frame place = {.code = code, .line = i, .end_line = i, .column = 4, .end_column = 40};
        CHECK_EQUAL(lw_intern_frame(intern, &place, &frame), LW_OK);
        CHECK_EQUAL(lw_intern_stack(intern, base, frame, &stack), LW_OK);
        base = i % 40 == 0 ? LW_NONE : stack;
    }
    printf("%zu bytes\n", lw_intern_bytes(intern));
    CHECK(lw_intern_bytes(intern) < 2000000);
    lw_intern_clear(intern);
    CHECK(lw_intern_bytes(intern) < 1000);
    lw_intern_destroy(intern);
    lw_intern_destroy(NULL);
}
