#include "learn.h"

#include <stdlib.h>

lw_status lw_learner_open(lw_learner *learner, size_t depth)
{
    learner->depth = depth;
    learner->walked = malloc(depth * sizeof *learner->walked);
    return learner->walked == NULL ? LW_NO_MEMORY : LW_OK;
}

void lw_learner_close(lw_learner *learner)
{
    free(learner->walked);
    learner->walked = NULL;
}

bool lw_learn_is_end(const lw_thread_view *view, const lw_raw_frame *frame)
{
    return (frame->previous == 0 && !lw_frame_is_generator(frame)) || lw_thread_view_is_base(view, frame);
}

/* The newest part of the data stack, copied at once; *low is where the copy starts. Empty when it cannot be had. */
static void copy_chunk(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, uintptr_t *low,
                       uintptr_t *high)
{
    if (lw_frame_chunk_find(memory, view, low, high) == LW_OK) {
        if (*high - *low > LW_LEARN_CHUNK_MOST)
            *low = *high - LW_LEARN_CHUNK_MOST;
        if (lw_memory_read(memory, &(lw_piece){*low, *high - *low}, 1, learner->chunk) == LW_OK)
            return;
    }
    *low = *high = 0;
}

/* The walk has come to an end. A frame that has just been left may look like an outermost one, and with it the frames
   that are still there would be forgotten: where the loop's frame was the end, another one has to be it twice in a
   row. */
static lw_status end_walk(lw_learner *learner, const lw_thread_view *view, lw_chain *chain, size_t count)
{
    const lw_raw_frame *frame = &learner->walked[count - 1].frame;
    bool again = chain->loose_end == frame->address;
    chain->loose_end = lw_thread_view_is_base(view, frame) ? 0 : frame->address;
    if (chain->loose_end != 0 && !again && chain->count > 0 &&
        lw_thread_view_is_base(view, &chain->links[chain->count - 1].frame))
        return LW_TORN;
    return lw_chain_set(chain, learner->walked, count, chain->count, learner->depth);
}

/* Walk from the frame at `address` until the walk ends or meets the chain again at `rejoin` or further out. What was
   walked, after the first `kept` links, takes the place of all that was above that point. */
static lw_status walk(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain,
                      size_t kept, uintptr_t address, size_t rejoin)
{
    uintptr_t low, high;
    size_t size = lw_frame_size(), count = kept;
    copy_chunk(learner, memory, view, &low, &high);
    for (;;) {
        size_t meeting = lw_chain_find(chain, rejoin, address);
        if (meeting < chain->count || count == learner->depth)
            return lw_chain_set(chain, learner->walked, count, meeting, learner->depth);
        if (address == 0 || address % sizeof(uintptr_t) != 0)
            return LW_TORN;
        char bytes[LW_FRAME_BYTES];
        const char *frame = bytes;
        if (address >= low && address < high && high - address >= size) {
            frame = learner->chunk + (address - low);
        } else {
            lw_status status = lw_memory_read(memory, &(lw_piece){address, size}, 1, bytes);
            if (status != LW_OK)
                return status;
        }
        lw_link *link = &learner->walked[count++];
        *link = (lw_link){.stack = LW_NONE};
        lw_frame_decode(frame, address, &link->frame);
        if (link->frame.previous == address)
            return LW_TORN;
        if (lw_learn_is_end(view, &link->frame))
            return end_walk(learner, view, chain, count);
        address = link->frame.previous;
    }
}

lw_status lw_learn(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain)
{
    uintptr_t current;
    lw_status status = lw_current_frame_find(memory, view, &current);
    return status == LW_OK ? lw_learn_from(learner, memory, view, chain, current) : status;
}

lw_status lw_learn_from(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain,
                        uintptr_t address)
{
    return walk(learner, memory, view, chain, 0, address, 0);
}

lw_status lw_learn_on(lw_learner *learner, lw_memory *memory, const lw_thread_view *view, lw_chain *chain,
                      size_t kept, size_t rejoin)
{
    const lw_raw_frame *last = &learner->walked[kept - 1].frame;
    if (lw_learn_is_end(view, last))
        return end_walk(learner, view, chain, kept);
    return walk(learner, memory, view, chain, kept, last->previous, rejoin);
}
