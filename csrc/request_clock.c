#include "request_clock.h"

#include <stddef.h>

#include "hot.h"

/* The part of an iteration that this request has had for itself. */
static uint64_t own_part(const lw_request_clock *clock, const lw_loop_marks *marks, uint64_t iteration)
{
    return clock->loop == marks && clock->iteration == iteration ? clock->iteration_ns : 0;
}

/* What others had of the stall that is over, where its own part is known from samples: if it was seen last, all since then
   is its own, since the watchdog may not have seen the end yet. */
static uint64_t not_its_own(const lw_slot *slot, const lw_loop_marks *marks, uint64_t number)
{
    if (atomic_load(&slot->seen.loop) != (uintptr_t)marks ||
        atomic_load(&slot->seen.iteration) != marks->window.iteration)
        return marks->window.duration_ns;
    if (atomic_load(&marks->culprit) == number)
        return atomic_load(&slot->seen.others_ns);
    uint64_t part = atomic_load(&slot->seen.part_ns);
    return marks->window.duration_ns > part ? marks->window.duration_ns - part : 0;
}

LW_HOT void lw_request_ready(lw_request_clock *clock, lw_loop_marks *marks, const lw_slot *slot)
{
    if (marks == NULL || !marks->window.open || clock->waited_for == marks->window.iteration)
        return;
    clock->waited_for = marks->window.iteration;
    if (slot == NULL)
        return;
    uint64_t own = own_part(clock, marks, marks->window.iteration);
    uint64_t others = not_its_own(slot, marks, clock->number);
    others = others > own ? others - own : 0;
    if (others >= marks->threshold_ns) {
        clock->delay_ns += others;
        marks->window.requests++;
    }
}

LW_HOT void lw_request_resumed(lw_request_clock *clock, lw_loop_marks *marks, const lw_slot *slot,
                               uint64_t now)
{
    clock->since_ns = now;
    lw_request_ready(clock, marks, slot);
}

LW_HOT void lw_request_suspended(lw_request_clock *clock, const lw_loop_marks *marks, uint64_t now)
{
    if (clock->since_ns == 0)
        return;
    uint64_t step = now - clock->since_ns;
    clock->since_ns = 0;
    clock->own_ns += step;
    if (marks == NULL)
        return;
    uint64_t iteration = atomic_load_explicit(&marks->iteration, memory_order_relaxed);
    clock->iteration_ns = own_part(clock, marks, iteration) + step;
    clock->loop = marks;
    clock->iteration = iteration;
}

LW_HOT uint64_t lw_request_own(const lw_request_clock *clock, uint64_t now)
{
    return clock->own_ns + (clock->since_ns == 0 ? 0 : now - clock->since_ns);
}
