/* The fall-back for uvloop where its import slot cannot be written: libuv's prepare and check handles.

   libuv runs I/O callbacks inside its poll phase, before the check handle, so the time in the kernel is taken
   from uv_metrics_idle_time: an iteration starts at (time of prepare + growth of the idle time). Source: libuv
   src/unix/core.c uv_run, src/uv-common.c uv_metrics_idle_time. The handles are unref'd and must be closed at
   every stop of the loop, or loop.close() fails with EBUSY; libuv frees nothing, so their memory goes in the
   close callback. */
#ifndef LW_POLL_UV_H
#define LW_POLL_UV_H

#include "loop.h"
#include "status.h"

typedef struct lw_poll_uv lw_poll_uv; /* one loop's two handles; owned by libuv once closed */

/* `library`: path of the shared object that holds libuv (uvloop's extension), already loaded.
   `uv_loop`: the uv_loop_t, borrowed. `marks`: borrowed until close. On the loop's thread, with the loop not
   inside its poll. LW_UNSUPPORTED when the object exports no libuv, LW_NO_MEMORY. */
lw_status lw_poll_uv_open(lw_poll_uv **out, const char *library, void *uv_loop, lw_loop_marks *marks);

/* On the loop's thread; `marks` are not touched any more. The memory goes when libuv says so. */
void lw_poll_uv_close(lw_poll_uv *poll);

/* The descriptor that the loop polls, -1 when it cannot be told. */
int lw_poll_uv_descriptor(const char *library, void *uv_loop);

#endif
