#include "activity.h"

#include <string.h>

#include "os/clock.h"

void lw_activity_begin(lw_activity *activity, uint64_t thread)
{
    if (activity->thread != thread || activity->task == NULL) {
        lw_task_close(activity->task);
        activity->task = NULL;
        activity->thread = thread;
        (void)lw_task_open(&activity->task, thread);
    }
    activity->begun = activity->stands = false;
    activity->stood = 0;
    activity->tally = (lw_tally){0};
    activity->holder_count = 0;
    activity->callback_ns = activity->longest_ns = 0;
}

void lw_activity_rest(lw_activity *activity)
{
    lw_task_close(activity->task);
    activity->task = NULL;
    activity->begun = false;
}

void lw_activity_clear(lw_activity *activity)
{
    lw_task_close(activity->task);
    lw_chain_clear(&activity->holder_chain);
    *activity = (lw_activity){0};
}

void lw_activity_forget_stacks(lw_activity *activity)
{
    lw_chain_clear(&activity->holder_chain);
    activity->holder = 0;
    activity->stands = false;
    for (size_t i = 0; i < activity->holder_count; i++)
        activity->holders[i].stack = LW_NONE;
}

static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* ---- who holds the GIL ---- */

static void count_holder(lw_activity *activity, uint32_t stack, uint64_t thread)
{
    lw_holder_count *holders = activity->holders;
    size_t i = 0;
    while (i < activity->holder_count && (holders[i].stack != stack || holders[i].thread != thread))
        i++;
    if (i == LW_HOLDERS)
        i--; /* the rarest makes room */
    if (i == activity->holder_count || holders[i].stack != stack || holders[i].thread != thread) {
        holders[i] = (lw_holder_count){.stack = stack, .thread = thread};
        lw_task_name(thread, holders[i].name, sizeof holders[i].name);
        activity->holder_count = i + 1;
    }
    holders[i].samples++;
    for (; i > 0 && holders[i].samples > holders[i - 1].samples; i--) {
        lw_holder_count fewer = holders[i - 1];
        holders[i - 1] = holders[i];
        holders[i] = fewer;
    }
}

/* Sample the thread that holds the GIL. Where there is no room for its stack, it is not counted: the loop's own next
   sample finds that out, too. */
static void sample_holder(lw_activity *activity, lw_sampler *sampler, const lw_thread_view *view,
                          uintptr_t holder)
{
    lw_thread_view other;
    uint64_t thread;
    uint32_t stack = LW_NONE;
    if (activity->holder != holder) {
        lw_chain_clear(&activity->holder_chain);
        activity->holder = holder;
    }
    if (lw_sampler_other(sampler, view, holder, &other, &thread) != LW_OK)
        return;
    lw_status status = lw_sampler_take(sampler, &other, &activity->holder_chain, &stack);
    if (status != LW_FULL)
        count_holder(activity, status == LW_OK ? stack : LW_NONE, thread);
}

/* ---- one sample ---- */

/* Before the stack is read. */
typedef struct moment {
    uint64_t at_ns, cpu_ns;
} moment;

/* A thread that has run for most of the time needs no further look. One that has not: is it in a system call, and does
   it wait for the GIL? `gil`: as it was seen with the stack, all zero where that was not read this time. */
static void look_closer(lw_activity *activity, lw_sampler *sampler, const lw_thread_view *view,
                        const moment *before, lw_gil_state gil, lw_facts *facts)
{
    uintptr_t address;
    uint64_t delay, times, cpu;
    lw_task_state state = lw_task_look(activity->task, &address);
    facts->runnable = state == LW_TASK_RUNNABLE;
    if (facts->runnable) {
        facts->runs = lw_task_cpu(activity->task, &cpu) && cpu != before->cpu_ns;
    } else if (lw_gil_has(&view->gil, address)) {
        /* It may have been released a moment ago, by a thread that takes it back at once. */
        if (gil.holder == 0 || gil.holder == view->state)
            (void)lw_sampler_gil(sampler, view, &gil);
        facts->waits_for_gil = true;
        if (gil.holder != 0 && gil.holder != view->state)
            sample_holder(activity, sampler, view, gil.holder);
    }
    if (lw_task_run_delay(activity->task, &delay, &times)) {
        facts->delay_ns = since(delay, activity->delay_ns);
        facts->stayed = times == activity->times;
        activity->delay_ns = delay;
        activity->times = times;
    }
}

/* The first sample has none before it to be compared with: whether the thread runs is told by what its CPU clock does
   while its stack is read. */
static lw_facts first_facts(const lw_activity *activity, const moment *before)
{
    uint64_t cpu = before->cpu_ns;
    (void)lw_task_cpu(activity->task, &cpu);
    return (lw_facts){.wall_ns = since(lw_clock_now(), before->at_ns), .cpu_ns = since(cpu, before->cpu_ns)};
}

static void begin_stall(lw_activity *activity, const lw_quota *quota, const moment *before)
{
    activity->first_at_ns = before->at_ns;
    activity->first_cpu_ns = before->cpu_ns;
    activity->delay_known = lw_task_run_delay(activity->task, &activity->first_delay_ns, &activity->times);
    activity->delay_ns = activity->first_delay_ns;
    activity->throttled_known = lw_quota_throttled(quota, &activity->first_throttled_ns);
}

/* Whether the code moves: while it was read; since the last sample; or it is at an instruction that never stays. The
   first alone would miss a thread that stood still just because the watchdog had its core. What seems to stand is looked
   at more closely, the first times. */
static bool has_moved(lw_activity *activity, lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain,
                      uint32_t stack)
{
    enum { CLOSELY = 2 };
    bool same = stack == activity->stack && chain->instruction == activity->instruction;
    bool moved = chain->moved || (activity->stands && !same) || lw_sampler_quick(sampler, chain->instruction);
    if (!moved && activity->stood < CLOSELY)
        moved = lw_sampler_moves(sampler, view, chain);
    activity->stood = moved ? 0 : activity->stood + 1;
    return moved;
}

static void follow_callback(lw_activity *activity, uint64_t version, uint64_t start, uint64_t now)
{
    if (activity->callback_ns == 0 || activity->callback_version != version) {
        activity->callback_ns = activity->begun ? now : start;
        activity->callback_version = version;
    }
    uint64_t lasted = since(now, activity->callback_ns);
    if (lasted > activity->longest_ns)
        activity->longest_ns = lasted;
}

lw_status lw_activity_sample(lw_activity *activity, lw_sampler *sampler, const lw_quota *quota,
                             const lw_thread_view *view, lw_chain *chain, uint64_t start, uint32_t *stack)
{
    moment before = {.at_ns = lw_clock_now()};
    if (activity->task == NULL || !lw_task_cpu(activity->task, &before.cpu_ns))
        return lw_sampler_take(sampler, view, chain, stack);
    bool still = activity->stands && before.cpu_ns == activity->cpu_ns;
    lw_status status = LW_OK;
    if (still)
        *stack = activity->stack;
    else
        status = lw_sampler_take(sampler, view, chain, stack);
    if (status == LW_FULL || status == LW_SYSTEM)
        return status;
    bool first = !activity->begun, accepted = status == LW_OK;
    lw_facts facts = first ? first_facts(activity, &before)
                           : (lw_facts){.wall_ns = since(before.at_ns, activity->at_ns),
                                        .cpu_ns = since(before.cpu_ns, activity->cpu_ns)};
    if (first)
        begin_stall(activity, quota, &before);
    facts.holds_gil = accepted && chain->gil.holder == view->state;
    facts.collecting = accepted && chain->gil.collecting;
    /* Each of the two asks the system for more, and says nothing about the other case. */
    if (lw_facts_on_cpu(&facts))
        facts.moved = !accepted || has_moved(activity, sampler, view, chain, *stack);
    else
        look_closer(activity, sampler, view, &before, accepted && !still ? chain->gil : (lw_gil_state){0},
                    &facts);
    lw_cause cause = lw_cause_of(&facts);
    lw_tally_add(&activity->tally, cause, facts.holds_gil, start, before.at_ns);
    if (accepted)
        follow_callback(activity, chain->version, start, before.at_ns);
    activity->begun = true;
    activity->stands = accepted && !chain->outer;
    activity->at_ns = before.at_ns;
    activity->cpu_ns = before.cpu_ns;
    activity->stack = *stack;
    activity->instruction = chain->instruction;
    return status;
}

bool lw_activity_report(const lw_activity *activity, const lw_quota *quota, uint64_t end,
                        lw_cause_record *out)
{
    uint64_t delay, times, throttled;
    if (!activity->begun)
        return false;
    *out = (lw_cause_record){
        .tally = lw_tally_at(&activity->tally, end),
        .cpu_ns = since(activity->cpu_ns, activity->first_cpu_ns),
        .cpu_wall_ns = since(activity->at_ns, activity->first_at_ns),
        .longest_ns = activity->longest_ns,
        .holders = activity->holders,
        .holder_count = activity->holder_count,
    };
    out->delay_known = activity->delay_known && lw_task_run_delay(activity->task, &delay, &times);
    if (out->delay_known)
        out->run_delay_ns = since(delay, activity->first_delay_ns);
    out->throttled_known = activity->throttled_known && lw_quota_throttled(quota, &throttled);
    if (out->throttled_known)
        out->throttled_ns = since(throttled, activity->first_throttled_ns);
    return true;
}
