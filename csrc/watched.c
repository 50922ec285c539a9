#include "watched.h"

#include <stdlib.h>

enum {
    LOOK_AGAIN_LEAST_NS = 1000000, /* between two patrols, so that one falls not on the heels of the other */
};
static const uint64_t summary_every_ns = 1000000000;
/* After that, for a summary that waits: a loop that wakes now and then has it written on a wake-up of its own. */
static const uint64_t summary_patience_ns = 250000000;

static uint64_t load(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

/* The iteration under way. False while the loop polls. */
static bool current_iteration(const lw_loop_marks *marks, lw_iteration *out)
{
    if (atomic_load_explicit(&marks->polling, memory_order_seq_cst))
        return false;
    out->number = atomic_load_explicit(&marks->iteration, memory_order_acquire);
    out->start_ns = atomic_load_explicit(&marks->started_ns, memory_order_acquire);
    return true;
}

/* Whether that iteration goes on, so that what was read meanwhile belongs to it. */
static bool still_in(const lw_loop_marks *marks, const lw_iteration *iteration)
{
    atomic_thread_fence(memory_order_seq_cst);
    return load(&marks->iteration) == iteration->number &&
           !atomic_load_explicit(&marks->polling, memory_order_relaxed);
}

/* ---- records ---- */

/* What has passed since the last sample was the culprit's, whoever that is. If it is a child task, or a request that rides,
   it is that request's own time as well, where its own steps are all that is timed. */
static void charge(lw_watched *watched, lw_look *look, const lw_iteration *iteration, uint64_t until)
{
    const lw_seen_request *request = &watched->culprit.request;
    uint64_t from = watched->culprit.charged_ns;
    if (until <= from)
        return;
    watched->culprit.charged_ns = until;
    atomic_store(&watched->marks.culprit, request->number);
    if (request->number == 0 || request->stepping)
        return;
    lw_slot *slot = lw_request_slot(look->requests, request->number, request->slot);
    if (slot == NULL)
        return;
    bool again = load(&slot->seen.iteration) == iteration->number &&
                 atomic_load(&slot->seen.loop) == (uintptr_t)&watched->marks;
    uint64_t part = (again ? load(&slot->seen.part_ns) : 0) + (until - from);
    atomic_fetch_add(&slot->seen.ns, until - from);
    atomic_store(&slot->seen.part_ns, part);
    atomic_store(&slot->seen.others_ns, until - iteration->start_ns - part);
    atomic_store(&slot->seen.loop, (uintptr_t)&watched->marks);
    atomic_store(&slot->seen.iteration, iteration->number);
}

static void record_finished(lw_watched *watched, lw_look *look)
{
    static const lw_stall nothing;
    lw_iteration iteration;
    lw_delayed delayed;
    /* Those that are told of below have been written after their stalls. */
    uint64_t delays = lw_loop_delayed_written(&watched->marks);
    for (int phase = 0; phase < LW_PHASES; phase++)
        watched->record.phases[phase] = load(&watched->marks.phases[phase]);
    while (lw_loop_take_finished(&watched->marks, &iteration)) {
        bool sampled = watched->stall.iteration == iteration.number;
        const lw_stall *stall = sampled ? &watched->stall : &nothing;
        watched->unsampled += stall->samples == 0;
        lw_stall_record record = lw_stall_record_of(stall, watched->record.loop, &iteration);
        record.cause_known =
            sampled && lw_activity_report(&watched->activity, look->quota, iteration.end_ns, &record.cause);
        lw_recorder_stall(look->recorder, &watched->record, &record);
        if (sampled) {
            charge(watched, look, &iteration, iteration.end_ns);
            lw_stall_begin(&watched->stall, 0);
        }
    }
    while (lw_loop_take_delayed(&watched->marks, delays, &delayed))
        lw_recorder_delayed(look->recorder, &watched->record, &delayed);
}

static void record_running(lw_watched *watched, lw_look *look, lw_iteration *iteration)
{
    uintptr_t context;
    uint64_t version = watched->marks.version;
    if (look->sampler != NULL)
        lw_sampler_context(look->sampler, &watched->view, &context, &version);
    iteration->end_ns = look->now;
    iteration->callbacks = lw_loop_callbacks(&watched->marks, version);
    lw_stall_record record = lw_stall_record_of(&watched->stall, watched->record.loop, iteration);
    record.cause_known =
        lw_activity_report(&watched->activity, look->quota, iteration->end_ns, &record.cause);
    lw_recorder_open(look->recorder, &watched->record, &record);
}

lw_summary_record lw_watched_summary(const lw_watched *watched, uint64_t now)
{
    const lw_loop_counters *counters = &watched->marks.counters;
    lw_iteration current;
    uint64_t until = watched->attached ? now : watched->detached_ns;
    lw_summary_record summary = {
        .loop = watched->record.loop,
        .at_ns = until,
        .running = watched->attached,
        .watched_ns = watched->watched_ns + (watched->attached ? until - watched->attached_ns : 0),
        .busy_ns = load(&counters->busy_ns),
        .iterations = load(&counters->iterations),
        .stalls = load(&counters->stalls),
        .stalled_ns = load(&counters->stalled_ns),
        .longest_ns = load(&counters->longest_ns),
        .lost = load(&counters->lost),
        .lost_ns = load(&counters->lost_ns),
        .samples = watched->samples,
        .torn = watched->torn,
        .cut = watched->cut,
        .outer = watched->outer,
        .unsampled = watched->unsampled,
        .sampling_ns = watched->sampling_ns,
        .requests = load(&watched->marks.requests),
        .requests_untracked = load(&watched->marks.requests_untracked),
    };
    if (watched->attached && current_iteration(&watched->marks, &current) && now > current.start_ns)
        summary.busy_ns += now - current.start_ns;
    for (unsigned i = 0; i < LW_LOOP_HISTOGRAM; i++)
        summary.histogram[i] = load(&counters->histogram[i]);
    return summary;
}

static void record_summary(lw_watched *watched, lw_look *look)
{
    lw_summary_record summary = lw_watched_summary(watched, look->now);
    lw_recorder_summary(look->recorder, &watched->record, &summary);
}

/* What changes when there is something new to sum up. */
static uint64_t summary_version(const lw_watched *watched)
{
    return 2 * load(&watched->marks.counters.iterations) + watched->attached;
}

static void sum_up(lw_watched *watched, lw_look *look, bool at_once)
{
    uint64_t version = summary_version(watched);
    if (version == watched->summary_version)
        return;
    if (!at_once && look->now < watched->summary_due_ns) {
        uint64_t rest = watched->summary_due_ns - look->now + summary_patience_ns;
        look->sum_up_ns = look->sum_up_ns == 0 || rest < look->sum_up_ns ? rest : look->sum_up_ns;
        return;
    }
    watched->summary_version = version;
    watched->summary_due_ns = look->now + summary_every_ns;
    record_summary(watched, look);
}

/* ---- samples ---- */

/* Whether the callback still works for the request that was found: another one may begin or end inside of it, which
   changes the variables of its context. */
static bool is_culprit(const lw_watched *watched, const lw_look *look, uintptr_t variables)
{
    const lw_seen_request *request = &watched->culprit.request;
    const lw_slot *slot = lw_request_slot(look->requests, request->number, request->slot);
    return watched->culprit.version == watched->chain.version && watched->culprit.variables == variables &&
           slot != NULL && !atomic_load(&slot->ended);
}

/* Whose code it was: the number is 0 if it was no request's. */
static void find_culprit(lw_watched *watched, lw_look *look)
{
    lw_seen_request *request = &watched->culprit.request;
    const lw_chain *chain = &watched->chain;
    uintptr_t variables = lw_sampler_variables(look->sampler, chain->context);
    if (!is_culprit(watched, look, variables)) {
        if (lw_sampler_request(look->sampler, chain->context, request) != LW_OK)
            *request = (lw_seen_request){0};
        watched->culprit.version = chain->version;
        watched->culprit.variables = variables;
    }
}

/* Put what was sampled down to the request whose code it was. */
static void blame(lw_watched *watched, lw_look *look, const lw_iteration *iteration, uint32_t stack)
{
    const lw_seen_request *request = &watched->culprit.request;
    if (load(&watched->marks.requests) != 0)
        find_culprit(watched, look);
    charge(watched, look, iteration, look->now);
    if (request->number == 0)
        return;
    if (lw_stall_add_request(&watched->stall, request->number, request->slot) &&
        !lw_request_mark(look->requests, request->number, request->slot))
        lw_recorder_request(look->recorder, request->number,
                            lw_endpoint_name(look->requests, request->endpoint));
    lw_slot *slot = lw_request_slot(look->requests, request->number, request->slot);
    if (slot != NULL && look->now - iteration->start_ns >= load(&slot->longest_ns)) {
        atomic_store(&slot->longest_ns, look->now - iteration->start_ns);
        /* Not this one: the last sample may be of what came after. */
        atomic_store(&slot->stack, lw_stall_usual(&watched->stall, stack));
        atomic_store(&slot->clearings, look->clearings);
    }
}

static void take_sample(lw_watched *watched, lw_look *look, const lw_iteration *iteration)
{
    uint32_t stack;
    uint64_t before = lw_clock_now();
    lw_status status = !look->causes
                           ? lw_sampler_take(look->sampler, &watched->view, &watched->chain, &stack)
                           : lw_activity_sample(&watched->activity, look->sampler, look->quota,
                                                &watched->view, &watched->chain, iteration->start_ns, &stack);
    uint64_t after = lw_clock_now();
    if (!still_in(&watched->marks, iteration))
        return; /* it may show the poll, or the next iteration */
    watched->sampling_ns += after - before;
    if (status == LW_OK) {
        watched->samples++;
        watched->cut += watched->chain.cut;
        watched->outer += watched->chain.outer;
        watched->stall.outer += watched->chain.outer;
        lw_stall_add(&watched->stall, stack);
        look->now = after;
        blame(watched, look, iteration, stack);
    } else if (status == LW_FULL) {
        look->tables_full = true;
    } else {
        watched->torn++;
        lw_stall_add_torn(&watched->stall);
    }
}

static void sample(lw_watched *watched, lw_look *look, lw_iteration *iteration)
{
    if (watched->stall.iteration != iteration->number) {
        record_finished(watched, look); /* it may have ended after we looked, and its samples belong to it */
        lw_stall_begin(&watched->stall, iteration->number);
        if (look->causes)
            lw_activity_begin(&watched->activity, watched->record.thread_number);
        watched->culprit.request.number = 0;
        watched->culprit.charged_ns = iteration->start_ns;
    }
    if (look->sampler != NULL)
        take_sample(watched, look, iteration);
    look->now = lw_clock_now();
    bool due =
        lw_stall_open_due(&watched->stall, iteration->start_ns, look->now, watched->marks.threshold_ns);
    if (due && still_in(&watched->marks, iteration))
        record_running(watched, look, iteration);
}

/* ---- loops without a hook in their poll ---- */

/* Play the part of the hook: the thread is in a callback when its context is another one than before the loop ran, and
   in the same callback as at the last look when no context was entered or left since. Good to one patrol. A context
   that a callback enters by itself (Context.run) splits it in two. */
static void look_at_context(lw_watched *watched, lw_look *look)
{
    uintptr_t context;
    uint64_t version;
    if (look->sampler == NULL ||
        lw_sampler_context(look->sampler, &watched->view, &context, &version) != LW_OK)
        return;
    bool inside = context != watched->view.context;
    bool moved = version != watched->context.version;
    if (watched->context.inside && (!inside || moved))
        lw_loop_poll_entered(&watched->marks, look->now);
    if (inside && (!watched->context.inside || moved))
        lw_loop_poll_returned(&watched->marks, look->now);
    watched->context.inside = inside;
    watched->context.version = version;
}

/* ---- the look ---- */

/* Whether nothing of it is left to be recorded. */
static bool is_settled(const lw_watched *watched)
{
    return !watched->attached && watched->summary_version == summary_version(watched) &&
           load(&watched->marks.finished_read) == load(&watched->marks.finished_written);
}

uint64_t lw_watched_look(lw_watched *watched, lw_look *look)
{
    lw_iteration iteration = {0};
    uint64_t again = 0;
    watched->settled = is_settled(watched); /* without what this look records: it is in the buffer yet */
    if (watched->attached && watched->way == LW_POLL_CONTEXT) {
        look_at_context(watched, look);
        again = look->patrol_ns;
    }
    record_finished(watched, look);
    if (watched->attached && current_iteration(&watched->marks, &iteration)) {
        look->now = lw_clock_now();
        uint64_t age = look->now > iteration.start_ns ? look->now - iteration.start_ns : 0;
        if (age >= look->suspect_ns) {
            sample(watched, look, &iteration);
            again = look->interval_ns + (look->interval_ns == 0); /* 0 would mean "never" */
        } else {
            uint64_t least = look->patrol_ns < LOOK_AGAIN_LEAST_NS ? look->patrol_ns : LOOK_AGAIN_LEAST_NS;
            uint64_t rest = look->suspect_ns - age;
            again = rest > least ? rest : least;
        }
    }
    sum_up(watched, look, !watched->attached);
    if (!watched->attached) /* here, not where it is freed: descriptors are those of this thread */
        lw_activity_rest(&watched->activity);
    return again;
}

void lw_watched_settle(lw_watched *watched, lw_look *look)
{
    record_finished(watched, look);
    sum_up(watched, look, true);
}

void lw_watched_forget_stacks(lw_watched *watched)
{
    lw_chain_clear(&watched->chain);
    lw_activity_forget_stacks(&watched->activity);
    lw_stall_forget_stacks(&watched->stall);
}

void lw_watched_free(lw_watched *watched)
{
    lw_loop_caught_up(&watched->marks); /* its thread may have ended without saying so */
    lw_chain_clear(&watched->chain);
    lw_activity_clear(&watched->activity);
    lw_stall_clear(&watched->stall);
    free(watched);
}
