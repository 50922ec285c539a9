#include "poll_uv.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "os/clock.h"
#include "os/import_slot.h"

/* Of libuv's headers, which need not be here: values that are part of its ABI. */
enum {
    UV_CHECK = 2,             /* uv_handle_type */
    UV_PREPARE = 9,           /* likewise */
    UV_METRICS_IDLE_TIME = 1, /* uv_loop_option */
};

typedef void (*uv_callback)(void *handle);

/* libuv, as exported by the object that holds it. */
typedef struct uv_api {
    size_t (*handle_size)(int type);
    int (*loop_configure)(void *loop, int option, ...);
    uint64_t (*metrics_idle_time)(void *loop);
    int (*backend_timeout)(const void *loop);
    int (*prepare_init)(void *loop, void *prepare);
    int (*prepare_start)(void *prepare, uv_callback callback);
    int (*check_init)(void *loop, void *check);
    int (*check_start)(void *check, uv_callback callback);
    void (*unref)(void *handle);
    void (*close)(void *handle, uv_callback callback);
} uv_api;

/* One handle, and whose it is. libuv's user pointer stays NULL, since uvloop takes any other for an object
   of its own. */
typedef struct uv_box {
    lw_poll_uv *poll; /* borrowed; the one that both handles share */
    uint64_t uv[];    /* what libuv knows as the handle; it holds nothing wider */
} uv_box;

struct lw_poll_uv {
    uv_api uv;
    void *loop;              /* borrowed */
    lw_loop_marks *marks;    /* borrowed */
    uv_box *prepare, *check; /* owned; by libuv once closing */
    int open_handles;        /* the last one to close frees everything */
    uint64_t prepared_ns;    /* when the poll began; 0: there was none yet */
    uint64_t idle_ns;        /* the loop's idle time then */
};

static bool import(const char *library, const char *symbol, void *into)
{
    void *address = lw_import_symbol(library, symbol);

    memcpy(into, &address, sizeof address); /* a pointer to a function, which C keeps apart from void * */
    return address != NULL;
}

static bool import_all(uv_api *uv, const char *library)
{
    return import(library, "uv_handle_size", &uv->handle_size) &&
           import(library, "uv_loop_configure", &uv->loop_configure) &&
           import(library, "uv_metrics_idle_time", &uv->metrics_idle_time) &&
           import(library, "uv_backend_timeout", &uv->backend_timeout) &&
           import(library, "uv_prepare_init", &uv->prepare_init) &&
           import(library, "uv_prepare_start", &uv->prepare_start) &&
           import(library, "uv_check_init", &uv->check_init) &&
           import(library, "uv_check_start", &uv->check_start) && import(library, "uv_unref", &uv->unref) &&
           import(library, "uv_close", &uv->close);
}

static uv_box *box_of(void *uv_handle)
{
    return (uv_box *)((char *)uv_handle - offsetof(uv_box, uv));
}

static uv_box *box_create(lw_poll_uv *poll, int type)
{
    uv_box *box = calloc(1, sizeof *box + poll->uv.handle_size(type));

    if (box != NULL) {
        box->poll = poll;
    }
    return box;
}

/* Right before the poll phase. That it will not wait is not sure: libuv says so as well when it is to watch a new
   descriptor (uv_backend_timeout, src/unix/core.c of libuv 1.51). */
static void prepared(void *uv_handle)
{
    lw_poll_uv *poll = box_of(uv_handle)->poll;

    poll->idle_ns = poll->uv.metrics_idle_time(poll->loop);
    poll->prepared_ns = lw_clock_now();
    if (poll->uv.backend_timeout(poll->loop) == 0) {
        lw_loop_poll_begun(poll->marks, poll->prepared_ns);
    } else {
        lw_loop_poll_entered(poll->marks, poll->prepared_ns);
    }
}

/* Right after the poll phase, in which callbacks may have run for long. */
static void checked(void *uv_handle)
{
    lw_poll_uv *poll = box_of(uv_handle)->poll;

    if (poll->prepared_ns != 0) {
        uint64_t waited = poll->uv.metrics_idle_time(poll->loop) - poll->idle_ns;
        /* libuv looks first what is ready, and only then waits (uv__io_poll, UV_METRICS_IDLE_TIME). What it has called
           since counts as ready all the same. */
        if (waited > 0) {
            lw_loop_caught_up(poll->marks);
        }
        lw_loop_poll_returned(poll->marks, poll->prepared_ns + waited);
    }
}

static void free_all(lw_poll_uv *poll)
{
    free(poll->prepare);
    free(poll->check);
    free(poll);
}

static void closed(void *uv_handle)
{
    lw_poll_uv *poll = box_of(uv_handle)->poll;

    if (--poll->open_handles == 0) {
        free_all(poll);
    }
}

lw_status lw_poll_uv_open(lw_poll_uv **out, const char *library, void *uv_loop, lw_loop_marks *marks)
{
    lw_status status = LW_NO_MEMORY;

    lw_poll_uv *poll = calloc(1, sizeof *poll);
    if (poll == NULL) {
        return status;
    }
    poll->loop = uv_loop;
    poll->marks = marks;
    if (!import_all(&poll->uv, library) || poll->uv.loop_configure(uv_loop, UV_METRICS_IDLE_TIME) != 0) {
        status = LW_UNSUPPORTED;
        goto failed;
    }
    poll->prepare = box_create(poll, UV_PREPARE);
    poll->check = box_create(poll, UV_CHECK);
    if (poll->prepare == NULL || poll->check == NULL) {
        goto failed;
    }

    /* None of these can fail: libuv declares them so. */
    poll->uv.prepare_init(uv_loop, poll->prepare->uv);
    poll->uv.check_init(uv_loop, poll->check->uv);
    poll->uv.prepare_start(poll->prepare->uv, prepared);
    poll->uv.check_start(poll->check->uv, checked);
    poll->uv.unref(poll->prepare->uv);
    poll->uv.unref(poll->check->uv);
    poll->open_handles = 2;
    *out = poll;
    return LW_OK;

failed:
    free_all(poll);
    return status;
}

void lw_poll_uv_close(lw_poll_uv *poll)
{
    /* a closing handle is stopped at once, so neither callback runs again */
    poll->uv.close(poll->prepare->uv, closed);
    poll->uv.close(poll->check->uv, closed);
}

int lw_poll_uv_descriptor(const char *library, void *uv_loop)
{
    int (*backend_fd)(void *loop);

    return import(library, "uv_backend_fd", &backend_fd) ? backend_fd(uv_loop) : -1;
}
