/* The poll hook: what tells a loop's marks when it enters and leaves its poll.

   - slot: the dynamic-link slot of epoll_wait or epoll_pwait in the object that polls (Linux). Nothing of Python is
     touched, and the hook runs before the GIL is taken again, so that waiting for the GIL counts as busy.
   - select: `loop._selector.select` shadowed by a C callable (cpython/poll_select.h).
   - uv: libuv's prepare and check handles (poll_uv.h).
   - context: none of these; the watchdog looks whether the thread is inside a callback's context (watched.h).

   A thread-local pointer names the loop that runs on this thread. Loops nest: the inner one hides the outer, whose
   iteration goes on. */
#ifndef LW_POLL_H
#define LW_POLL_H

#include <stddef.h>

#include "loop.h"
#include "status.h"

typedef enum lw_poll_way {
    LW_POLL_SLOT,
    LW_POLL_SELECT,
    LW_POLL_UV,
    LW_POLL_CONTEXT,
} lw_poll_way;

/* A loop that runs on the calling thread. */
typedef struct lw_poll_target {
    lw_loop_marks *marks;         /* borrowed */
    int descriptor;               /* what the loop polls; polls of other descriptors are work. -1: none */
    struct lw_poll_target *outer; /* the loop that it interrupts */
} lw_poll_target;

/* The innermost loop that runs on this thread, NULL when there is none. */
extern _Thread_local lw_poll_target *lw_poll_innermost;

/* Its marks, NULL when there is none. Any thread. A function, since before glibc 2.40 (BZ 31372) to find a thread-local
   variable may change registers that its reader counts on. */
lw_loop_marks *lw_loop_marks_here(void);

/* Hook the slot of `symbol` ("epoll_wait" or "epoll_pwait") in the loaded object that defines `anchor`: the one at
   `library`, or, when that is NULL, the program or one of its libraries. Again for the same object: LW_OK at once.
   With the GIL held. LW_UNSUPPORTED, LW_SYSTEM, LW_FULL: use another way. */
lw_status lw_poll_slot_hook(const char *library, const char *anchor, const char *symbol);

/* Put all slots back. With the GIL held. Threads that are just inside a hook leave it by themselves. */
void lw_poll_slots_unhook(void);

#endif
