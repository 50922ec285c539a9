/* Both functions look alike to a loop: they differ in a signal mask, which we pass on. The original is libc's in all
   objects, so one pointer per function serves all slots. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>

#include "../hot.h"
#include "../poll.h"
#include "import_slot.h"

enum { HOOKS_MOST = 8 };

typedef int wait_function(int, struct epoll_event *, int, int);
typedef int pwait_function(int, struct epoll_event *, int, int, const sigset_t *);

static wait_function *original_wait;
static pwait_function *original_pwait;
static lw_import_slot hooks[HOOKS_MOST];
static size_t hook_count;

/* The loop that may wait here, and whose poll has to be noted when it ends; NULL for every other caller. */
static lw_loop_marks *poll_begins(int descriptor, int timeout)
{
    lw_poll_target *target = lw_poll_innermost;
    if (target == NULL || target->descriptor != descriptor)
        return NULL;
    if (timeout == 0) {
        lw_loop_poll_passed(target->marks, lw_clock_now());
        return NULL;
    }
    lw_loop_poll_entered(target->marks, lw_clock_now());
    return target->marks;
}

static int poll_ends(lw_loop_marks *marks, int result)
{
    int saved = errno;
    lw_loop_poll_returned(marks, lw_clock_now());
    errno = saved;
    return result;
}

LW_HOT static int hooked_wait(int descriptor, struct epoll_event *events, int most, int timeout)
{
    lw_loop_marks *marks = poll_begins(descriptor, timeout);
    int result = 0;
    if (marks != NULL && lw_loop_catches_up(marks) &&
        (result = original_wait(descriptor, events, most, 0)) == 0)
        lw_loop_caught_up(marks);
    if (result == 0)
        result = original_wait(descriptor, events, most, timeout);
    return marks == NULL ? result : poll_ends(marks, result);
}

LW_HOT static int hooked_pwait(int descriptor, struct epoll_event *events, int most, int timeout,
                               const sigset_t *mask)
{
    lw_loop_marks *marks = poll_begins(descriptor, timeout);
    int result = 0;
    if (marks != NULL && lw_loop_catches_up(marks) &&
        (result = original_pwait(descriptor, events, most, 0, mask)) == 0)
        lw_loop_caught_up(marks);
    if (result == 0)
        result = original_pwait(descriptor, events, most, timeout, mask);
    return marks == NULL ? result : poll_ends(marks, result);
}

static bool is_hooked(const lw_import_slot *slot)
{
    for (size_t i = 0; i < hook_count; i++) {
        if (hooks[i].address == slot->address)
            return true;
    }
    return false;
}

lw_status lw_poll_slot_hook(const char *library, const char *anchor, const char *symbol)
{
    lw_import_slot slot;
    const void *inside = lw_import_symbol(library, anchor);
    if (inside == NULL)
        return LW_UNSUPPORTED;
    lw_status status = lw_import_slot_find(inside, symbol, &slot);
    if (status != LW_OK || is_hooked(&slot))
        return status;
    if (hook_count == HOOKS_MOST)
        return LW_FULL;
    /* The originals must stand before the slot leads to us: another thread may call through it at once. */
    bool masked = strcmp(symbol, "epoll_pwait") == 0;
    if (masked)
        original_pwait = (pwait_function *)slot.original;
    else
        original_wait = (wait_function *)slot.original;
    status = lw_import_slot_point(&slot, masked ? (void *)hooked_pwait : (void *)hooked_wait);
    if (status == LW_OK)
        hooks[hook_count++] = slot;
    return status;
}

void lw_poll_slots_unhook(void)
{
    while (hook_count > 0) {
        hook_count--;
        lw_import_slot_point(&hooks[hook_count], hooks[hook_count].original);
    }
}
