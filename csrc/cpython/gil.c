/* struct _gil_runtime_state (Include/internal/pycore_gil.h): 3.12 gave each interpreter a pointer to the one that it
   uses. `last_holder` stays when the GIL is released, so it counts only while it is locked. */
#include "layout.h" /* Python.h comes first */

#include "gil.h"

#include <string.h>

_Static_assert(sizeof(((struct _gil_runtime_state *)NULL)->locked) == sizeof(int), "locked is an int");
_Static_assert(sizeof(((struct _gil_runtime_state *)NULL)->last_holder) == sizeof(uintptr_t), "a pointer");
_Static_assert(2 * sizeof(int) + sizeof(uintptr_t) == LW_GIL_BYTES, "what the pieces take");

void lw_gil_view_take(lw_gil_view *out)
{
    PyInterpreterState *interpreter = PyThreadState_Get()->interp;
    const struct _gil_runtime_state *gil = lw_layout_gil(interpreter);
    *out = (lw_gil_view){
        .start = (uintptr_t)gil,
        .end = (uintptr_t)(gil + 1),
        .locked = (uintptr_t)&gil->locked,
        .holder = (uintptr_t)&gil->last_holder,
        .collecting = (uintptr_t)&interpreter->gc.collecting,
    };
}

void lw_gil_pieces(const lw_gil_view *view, lw_piece out[LW_GIL_PIECES])
{
    out[0] = (lw_piece){view->locked, sizeof(int)};
    out[1] = (lw_piece){view->collecting, sizeof(int)};
    out[2] = (lw_piece){view->holder, sizeof(uintptr_t)};
}

void lw_gil_decode(const void *bytes, lw_gil_state *out)
{
    int flags[2];
    memcpy(flags, bytes, sizeof flags);
    memcpy(&out->holder, (const char *)bytes + sizeof flags, sizeof out->holder);
    if (flags[0] != 1) /* -1: not made yet */
        out->holder = 0;
    out->collecting = flags[1] != 0;
}

bool lw_gil_reads_right(void)
{
    lw_gil_view view;
    lw_piece pieces[LW_GIL_PIECES];
    lw_gil_state state;
    char bytes[LW_GIL_BYTES], *to = bytes;
    lw_gil_view_take(&view);
    lw_gil_pieces(&view, pieces);
    for (size_t i = 0; i < LW_GIL_PIECES; i++) {
        memcpy(to, (const void *)pieces[i].address, pieces[i].size);
        to += pieces[i].size;
    }
    lw_gil_decode(bytes, &state);
    return state.holder == (uintptr_t)PyThreadState_Get();
}

bool lw_gil_has(const lw_gil_view *view, uintptr_t address)
{
    return address >= view->start && address < view->end;
}
