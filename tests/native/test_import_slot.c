#define _GNU_SOURCE
#include "check.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/import_slot.h"

static int fake_getppid(void)
{
    return -12345;
}

/* The protection of the page, as the kernel tells: 'w' where it can be written. */
static char page_mode(const void *address)
{
    FILE *maps = fopen("/proc/self/maps", "r");
    char line[512], mode[8] = "?";
    unsigned long start, end;

    CHECK(maps != NULL);
    while (fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && (unsigned long)address >= start &&
            (unsigned long)address < end) {
            break;
        }
    }
    fclose(maps);
    return mode[1];
}

/* Point the slot of the caller elsewhere and back, several times. */
static void check_slot(const void *inside, int (*call)(void))
{
    lw_import_slot slot;

    CHECK_EQUAL(lw_import_slot_find(inside, "getppid", &slot), LW_OK);
    CHECK(slot.original == dlsym(RTLD_DEFAULT, "getppid"));
    char mode = page_mode(slot.address);
    CHECK_EQUAL(mode == 'w', slot.writable);
    for (int i = 0; i < 3; i++) {
        CHECK_EQUAL(lw_import_slot_point(&slot, (void *)fake_getppid), LW_OK);
        CHECK_EQUAL(call(), -12345);
        CHECK_EQUAL(page_mode(slot.address), mode);
        CHECK_EQUAL(lw_import_slot_point(&slot, slot.original), LW_OK);
        CHECK_EQUAL(call(), getppid());
        CHECK_EQUAL(page_mode(slot.address), mode);
    }
    CHECK_EQUAL(lw_import_slot_find(inside, "getppid", &slot), LW_OK);
    CHECK(slot.original == dlsym(RTLD_DEFAULT, "getppid"));
}

static void *load(const char *name)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/%s.so", getenv("LW_TARGETS"), name);
    void *object = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (object == NULL) {
        SKIP("the linker could not make this kind of object");
    }
    return object;
}

static void check_object(const char *name)
{
    void *function = dlsym(load(name), "target_call");

    CHECK(function != NULL);
    check_slot(function, (int (*)(void))function);
}

CASE(bound_at_start)
{
    check_object("now");
}

CASE(bound_lazily_and_not_called_yet)
{
    check_object("lazy");
}

CASE(bound_lazily_after_a_call)
{
    void *function = dlsym(load("lazy"), "target_call");

    CHECK_EQUAL(((int (*)(void))function)(), getppid());
    check_slot(function, (int (*)(void))function);
}

CASE(read_directly_in_relro)
{
    check_object("noplt");
}

CASE(without_relro)
{
    check_object("norelro");
}

static int call_here(void)
{
    return getppid();
}

CASE(the_program_itself)
{
    check_slot((void *)call_here, call_here);
}

CASE(a_page_in_relro_cannot_be_written_to_otherwise)
{
    void *function = dlsym(load("now"), "target_call");
    lw_import_slot slot;
    int status;

    CHECK_EQUAL(lw_import_slot_find(function, "getppid", &slot), LW_OK);
    if (slot.writable) {
        SKIP("the dynamic linker protects nothing here");
    }
    pid_t child = fork();
    if (child == 0) {
        signal(SIGSEGV, SIG_DFL);
        *(void *volatile *)slot.address = NULL;
        _exit(0);
    }
    CHECK_EQUAL(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

CASE(what_is_not_imported)
{
    lw_import_slot slot = {0};
    void *function = dlsym(load("now"), "target_call");
    int on_the_stack;

    CHECK_EQUAL(lw_import_slot_find(function, "getpp", &slot), LW_UNSUPPORTED);
    CHECK_EQUAL(lw_import_slot_find(function, "epoll_wait", &slot), LW_UNSUPPORTED);
    CHECK_EQUAL(lw_import_slot_find(&on_the_stack, "getppid", &slot), LW_UNSUPPORTED);
    CHECK_EQUAL(lw_import_slot_find(NULL, "getppid", &slot), LW_UNSUPPORTED);
    CHECK(slot.address == NULL);
}

CASE(symbols_by_the_object_s_path)
{
    char path[4096];
    void *function = dlsym(load("now"), "target_call");

    snprintf(path, sizeof path, "%s/now.so", getenv("LW_TARGETS"));
    CHECK(lw_import_symbol(path, "target_call") == function);
    CHECK(lw_import_symbol(path, "no_such_symbol") == NULL);
    CHECK(lw_import_symbol("/no/such/object.so", "target_call") == NULL);
    snprintf(path, sizeof path, "%s/norelro.so", getenv("LW_TARGETS"));
    CHECK(lw_import_symbol(path, "target_call") == NULL); /* not loaded, and not loaded by asking */
    CHECK(lw_import_symbol(NULL, "getppid") == dlsym(RTLD_DEFAULT, "getppid"));
}
