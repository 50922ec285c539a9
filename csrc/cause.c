#include "cause.h"

bool lw_facts_on_cpu(const lw_facts *facts)
{
    return facts->cpu_ns >= facts->wall_ns / 2;
}

/* Off the CPU: most of the time was not spent on one. Where it is back on a CPU now, what it did is told by how long the
   system made it wait for that, which is known only afterwards. */
static lw_cause off_cpu(const lw_facts *facts)
{
    uint64_t off = facts->wall_ns - facts->cpu_ns;
    if (facts->waits_for_gil)
        return LW_GIL;
    if (facts->runnable && !facts->runs)
        return LW_STARVED;
    /* It never left its CPU: a virtual one, which the host had given to others. */
    if (facts->runnable && facts->stayed)
        return LW_STARVED;
    return facts->delay_ns >= off / 2 ? LW_STARVED : LW_BLOCKED;
}

lw_cause lw_cause_of(const lw_facts *facts)
{
    if (!lw_facts_on_cpu(facts))
        return off_cpu(facts);
    if (facts->collecting && facts->holds_gil)
        return LW_GC;
    return facts->moved ? LW_PYTHON : LW_NATIVE;
}

static void put(lw_tally *tally, lw_cause cause, bool gil_held, uint64_t ns)
{
    tally->ns[cause] += ns;
    if (cause == LW_NATIVE && gil_held)
        tally->gil_held_ns += ns;
}

void lw_tally_add(lw_tally *tally, lw_cause cause, bool gil_held, uint64_t start, uint64_t now)
{
    bool first = tally->until_ns == 0;
    uint64_t from = first ? start : tally->until_ns;
    uint64_t ns = now > from ? now - from : 0;
    if (first && cause == LW_NATIVE) {
        tally->open_ns = ns;
    } else {
        put(tally, cause == LW_NATIVE ? LW_NATIVE : LW_PYTHON, gil_held, tally->open_ns);
        put(tally, cause, gil_held, ns);
        tally->open_ns = 0;
    }
    tally->until_ns = now;
    tally->last = cause;
    tally->last_held = gil_held;
}

lw_tally lw_tally_at(const lw_tally *tally, uint64_t end)
{
    lw_tally whole = *tally;
    if (whole.until_ns == 0)
        return whole;
    if (end > whole.until_ns)
        put(&whole, whole.last, whole.last_held, end - whole.until_ns);
    put(&whole, whole.last, whole.last_held, whole.open_ns);
    whole.open_ns = 0;
    return whole;
}
