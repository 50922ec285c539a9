#include "outer.h"

#include <stdlib.h>

void lw_outer_clear(lw_outer *outer)
{
    free(outer->frames);
    *outer = (lw_outer){0};
}

void lw_outer_forget(lw_outer *outer)
{
    outer->rounds = 0;
    outer->count = 0;
    outer->moving = false;
}

lw_status lw_outer_begin_round(lw_outer *outer, size_t frames, uint64_t version)
{
    if (frames > outer->room) {
        lw_raw_frame *more = realloc(outer->frames, 2 * frames * sizeof *more);
        if (more == NULL)
            return LW_NO_MEMORY;
        outer->frames = more;
        outer->room = 2 * frames;
    }
    if (outer->rounds > 0 && outer->version != version) {
        lw_outer_forget(outer);
        return LW_TORN;
    }
    outer->version = version;
    return LW_OK;
}

/* Whether the frame is the one that earlier rounds saw, and where. */
static lw_steadiness as_before(const lw_outer *outer, size_t number, const lw_raw_frame *frame)
{
    const lw_raw_frame *before = &outer->frames[number];
    if (outer->rounds == 0)
        return LW_STEADY;
    if (before->address != frame->address || !lw_frame_same(before, frame, true))
        return LW_UNSTEADY;
    return number < outer->count && lw_frame_same(before, frame, false) ? LW_STEADY : LW_MOVING;
}

bool lw_outer_note(lw_outer *outer, size_t number, const lw_raw_frame *frame, lw_steadiness seen)
{
    if (outer->rounds > 0 && number >= outer->count + outer->moving)
        return false;
    lw_steadiness before = as_before(outer, number, frame);
    lw_steadiness now = seen < before ? seen : before;
    outer->frames[number] = *frame;
    if (now == LW_STEADY) {
        outer->count = outer->rounds == 0 ? number + 1 : outer->count;
        return true;
    }
    outer->count = number;
    outer->moving = now == LW_MOVING;
    return false;
}

void lw_outer_end_round(lw_outer *outer, size_t noted)
{
    if (noted < outer->count + outer->moving) {
        outer->moving = noted > outer->count;
        outer->count = noted < outer->count ? noted : outer->count;
    }
    outer->rounds++;
}

size_t lw_outer_shown(const lw_outer *outer)
{
    return outer->rounds < LW_OUTER_ROUNDS ? 0 : outer->count + outer->moving;
}
