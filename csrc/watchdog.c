/* The watchdog's thread, and how loops come under it and leave it.

   parked    every loop is in its poll. No alarm is set; the first loop to leave its poll sets one, a patrol ahead. Only
             for a summary that is held back one is set beforehand: if all stay in their polls, it is written then.
   patrol    the alarm rang: a loop that has been in one iteration for most of the threshold is suspect; a busy one
             is looked at again later. A loop that is the only one puts the alarm off while its iterations are short.
   sampling  a suspect is sampled every interval until it polls again.

   The lock guards the list of loops and what watched.h says is under it. It is held while looking, never while
   writing to a file, so that attach and detach wait for microseconds, not for a disk. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "hot.h"
#include "loopwatch.h"
#include "os/event.h"
#include "os/thread.h"
#include "records.h"
#include "watched.h"

enum {
    LOOPS_KEPT = 32, /* stopped loops that are remembered, so that one that runs again goes on where it was */
    QUEUE_BYTES = 8 << 20,
    PATROL_MOST_NS = 5000000,
    PATROL_LEAST_NS = 20000,
    SUSPECT_MOST_NS = 15000000,
    SLEEP_MOST_NS = 2000000, /* shorter waits are slept, longer ones are left to the alarm */
};

struct lw_watchdog {
    _Atomic unsigned references;
    _Atomic bool stopping;
    _Atomic int trouble;
    lw_mutex *lock;
    lw_thread *thread; /* NULL once joined */
    lw_bell bell;
    lw_options options; /* the strings are owned */
    lw_watched *loops;  /* under the lock */
    uint32_t loop_numbers;
    uint32_t clearings; /* of the intern table; under the lock */
    /* created by the thread */
    lw_alarm *alarm;
    lw_intern *intern;
    lw_sampler *sampler;
    lw_quota *quota;
    _Atomic(lw_recorder *) recorder;
};

static _Atomic unsigned attached_loops;

static const lw_intern_limits usual_limits = {
    .codes = 1 << 16, .frames = 1 << 17, .stacks = 1 << 18, .text = 16 << 20};
/* Whoever reads the queue keeps each of them as an object of Python, several times as big. */
static const lw_intern_limits queue_limits = {
    .codes = 1 << 11, .frames = 1 << 12, .stacks = 1 << 13, .text = 1 << 20};

/* ---- the thread ---- */

static void remember_trouble(lw_watchdog *watchdog, int error)
{
    int none = 0;
    atomic_compare_exchange_strong(&watchdog->trouble, &none, error == 0 ? EIO : error);
}

static lw_status open_recorder(lw_watchdog *watchdog)
{
    lw_recorder *recorder = NULL;
    lw_recorder_options options = {
        .directory = watchdog->options.directory,
        .header = watchdog->options.header,
        .pid = watchdog->options.pid,
        .parent_pid = watchdog->options.parent_pid,
        .part_bytes = watchdog->options.part_bytes,
        .parts = watchdog->options.parts,
        .queue = watchdog->options.queue,
        .queue_bytes = QUEUE_BYTES,
    };
    lw_status status = lw_recorder_create(&recorder, &options, watchdog->intern);
    if (status == LW_SYSTEM && options.directory != NULL) {
        remember_trouble(watchdog, errno);
        options.directory = NULL;
        status = lw_recorder_create(&recorder, &options, watchdog->intern);
    }
    atomic_store(&watchdog->recorder, recorder);
    return status;
}

/* The deepest stack that is kept has room several times over. */
static lw_intern_limits limits_for(const lw_options *options)
{
    lw_intern_limits limits = options->queue ? queue_limits : usual_limits;
    uint32_t least = 8 * (options->stack_depth == 0 ? LW_STACK_DEPTH : options->stack_depth);
    limits.stacks = limits.stacks < least ? least : limits.stacks;
    limits.frames = limits.frames < least / 2 ? least / 2 : limits.frames;
    return limits;
}

/* Everything that belongs to the thread. Without a sampler it goes on: durations are exact all the same. */
static lw_status open_all(lw_watchdog *watchdog)
{
    (void)lw_thread_isolate(); /* where there is none, memory and file check their descriptors */
    lw_intern_limits limits = limits_for(&watchdog->options);
    lw_status status = lw_intern_create(&watchdog->intern, &limits);
    if (status == LW_OK)
        status = open_recorder(watchdog);
    if (status == LW_OK && watchdog->options.sample &&
        lw_sampler_create(&watchdog->sampler, watchdog->intern, watchdog->options.stack_depth) != LW_OK)
        remember_trouble(watchdog, errno);
    watchdog->quota = lw_quota_open();
    if (status == LW_OK)
        status = lw_alarm_open(&watchdog->alarm);
    if (status != LW_OK)
        remember_trouble(watchdog, errno);
    return status;
}

static void clear_tables(lw_watchdog *watchdog, lw_look *look)
{
    lw_intern_clear(watchdog->intern);
    lw_sampler_forget(watchdog->sampler);
    for (lw_watched *loop = watchdog->loops; loop != NULL; loop = loop->next)
        lw_watched_forget_stacks(loop);
    lw_recorder_reset(look->recorder);
    watchdog->clearings++;
    look->tables_full = false;
}

/* From which age on an iteration is sampled. Short of the threshold, so that a stall shows from before it is one; but a
   server at saturation has iterations of several ms all the time, and looking at them all would cost it dearly. */
static uint64_t suspect_for(uint64_t threshold_ns)
{
    uint64_t age = threshold_ns / 4 * 3;
    age = age < SUSPECT_MOST_NS ? age : SUSPECT_MOST_NS;
    return age > PATROL_LEAST_NS ? age : PATROL_LEAST_NS;
}

static lw_look new_look(lw_watchdog *watchdog)
{
    return (lw_look){
        .sampler = watchdog->sampler,
        .recorder = atomic_load(&watchdog->recorder),
        .requests = watchdog->options.requests,
        .quota = watchdog->quota,
        .causes = watchdog->options.causes,
        .now = lw_clock_now(),
        .clearings = watchdog->clearings,
        .patrol_ns = watchdog->bell.patrol_ns,
        .suspect_ns = watchdog->bell.suspect_ns,
        .interval_ns = watchdog->options.interval_ns,
    };
}

/* Write out what was recorded, and tell whoever reads the queue. Without the lock: a disk may take its time. */
static void flush(lw_watchdog *watchdog, const lw_look *look)
{
    if (lw_recorder_flush(look->recorder, look->now) && watchdog->options.queue)
        lw_event_set(watchdog->options.news);
}

/* The names of the requests that stalls refer to, as far as they are known, or all that there will be. */
static void record_requests(lw_look *look, bool all)
{
    uint64_t number;
    uint32_t endpoint;
    while (lw_request_take_marked(look->requests, all, &number, &endpoint))
        lw_recorder_request(look->recorder, number, lw_endpoint_name(look->requests, endpoint));
}

/* Look at all loops once; returns how long until the next look, 0: nobody needs one. `sum_up_ns`: how long until one is
   needed for a summary, even if no loop leaves its poll, 0: never. */
static uint64_t look_around(lw_watchdog *watchdog, uint64_t *sum_up_ns)
{
    uint64_t soonest = 0;
    lw_look look = new_look(watchdog);
    unsigned attached = 0;
    bool hooked = true; /* all of them: they can put the alarm off */
    lw_mutex_lock(watchdog->lock);
    for (lw_watched *loop = watchdog->loops; loop != NULL; loop = loop->next) {
        attached += loop->attached;
        hooked &= !loop->attached || loop->way != LW_POLL_CONTEXT;
        uint64_t again = lw_watched_look(loop, &look);
        if (again != 0 && (soonest == 0 || again < soonest))
            soonest = again;
    }
    if (look.tables_full)
        clear_tables(watchdog, &look);
    atomic_store(&watchdog->bell.looked_ns, look.now);
    atomic_store(&watchdog->bell.alone,
                 attached == 1 && hooked && lw_alarm_is_quiet() && !atomic_load(&watchdog->stopping));
    lw_mutex_unlock(watchdog->lock);
    record_requests(&look, false);
    flush(watchdog, &look);
    *sum_up_ns = look.sum_up_ns;
    return soonest;
}

/* Nobody needs a look, but for a summary: let the first loop that leaves its poll ring, in place of what is set for that.
   One may have left it just before `armed` was cleared and relied on us, or has rung and was overruled, so look once
   more (see lw_loop_poll_returned). True: parked. */
static bool park(lw_watchdog *watchdog, uint64_t sum_up_ns)
{
    bool parked = true;
    if (sum_up_ns != 0)
        lw_alarm_set(watchdog->alarm, sum_up_ns);
    atomic_store_explicit(&watchdog->bell.armed, false, memory_order_seq_cst);
    lw_mutex_lock(watchdog->lock);
    for (lw_watched *loop = watchdog->loops; loop != NULL && parked; loop = loop->next) {
        bool polls = atomic_load_explicit(&loop->marks.polling, memory_order_seq_cst);
        if (loop->attached && (!polls || loop->way == LW_POLL_CONTEXT)) /* such a one never rings */
            parked = atomic_exchange_explicit(&watchdog->bell.armed, true, memory_order_seq_cst);
    }
    lw_mutex_unlock(watchdog->lock);
    return parked;
}

/* Wait until the next look is due. The times of samples do not drift: each is a whole interval after the one before,
   as long as we keep up. */
static void wait_for_look(lw_watchdog *watchdog, uint64_t after, uint64_t sum_up_ns, uint64_t *due)
{
    uint64_t now = lw_clock_now();
    if (after == 0 && !park(watchdog, sum_up_ns))
        after = watchdog->bell.patrol_ns;
    if (after != 0 && after <= SLEEP_MOST_NS) {
        uint64_t next = *due + after;
        *due = next > now && next < now + after ? next : now + after;
        if (after > 1) /* as an interval of nothing asks for */
            lw_clock_sleep_until(*due);
        return;
    }
    if (after != 0)
        lw_alarm_set(watchdog->alarm, after);
    if (!atomic_load(&watchdog->stopping)) /* or its ring may have been overruled */
        lw_alarm_wait(watchdog->alarm);
    *due = lw_clock_now();
}

static void settle_all(lw_watchdog *watchdog)
{
    lw_look look = new_look(watchdog);
    lw_mutex_lock(watchdog->lock);
    for (lw_watched *loop = watchdog->loops; loop != NULL; loop = loop->next)
        lw_watched_settle(loop, &look);
    lw_mutex_unlock(watchdog->lock);
    record_requests(&look, true);
    lw_recorder_end(look.recorder, look.now);
    flush(watchdog, &look);
}

static void run(void *argument)
{
    lw_watchdog *watchdog = argument;
    uint64_t due = lw_clock_now();
    if (open_all(watchdog) == LW_OK) {
        lw_mutex_lock(watchdog->lock);
        watchdog->bell.alarm = watchdog->alarm;
        lw_mutex_unlock(watchdog->lock);
        while (!atomic_load(&watchdog->stopping)) {
            uint64_t sum_up_ns, after = look_around(watchdog, &sum_up_ns);
            wait_for_look(watchdog, after, sum_up_ns, &due);
        }
        settle_all(watchdog);
    }
    atomic_store(&watchdog->bell.armed, true); /* nobody rings any more */
    lw_quota_close(watchdog->quota);
    watchdog->quota = NULL;
    lw_sampler_destroy(watchdog->sampler);
    watchdog->sampler = NULL;
    lw_recorder *recorder = atomic_load(&watchdog->recorder);
    if (recorder != NULL)
        lw_recorder_close(recorder);
}

/* ---- start and stop ---- */

void lw_watchdog_forget(void)
{
    atomic_store(&attached_loops, 0);
    lw_poll_innermost = NULL;
    lw_attention_forget();
}

static uint64_t patrol_for(uint64_t threshold_ns)
{
    uint64_t patrol = threshold_ns / 2;
    patrol = patrol < PATROL_MOST_NS ? patrol : PATROL_MOST_NS;
    return patrol > PATROL_LEAST_NS ? patrol : PATROL_LEAST_NS;
}

static void let_go(lw_watchdog *watchdog)
{
    if (atomic_fetch_sub(&watchdog->references, 1) != 1)
        return;
    while (watchdog->loops != NULL) {
        lw_watched *loop = watchdog->loops;
        watchdog->loops = loop->next;
        lw_watched_free(loop);
    }
    lw_alarm_close(watchdog->alarm);
    lw_recorder_destroy(atomic_load(&watchdog->recorder));
    lw_intern_destroy(watchdog->intern);
    lw_mutex_destroy(watchdog->lock);
    free((char *)watchdog->options.directory);
    free((char *)watchdog->options.header);
    free(watchdog);
}

lw_status lw_watchdog_start(lw_watchdog **out, const lw_options *options)
{
    static bool at_fork;
    if (!at_fork && lw_thread_at_fork(lw_watchdog_forget) == LW_OK)
        at_fork = true;
    lw_watchdog *watchdog = calloc(1, sizeof *watchdog);
    if (watchdog == NULL)
        return LW_NO_MEMORY;
    watchdog->references = 1;
    watchdog->options = *options;
    watchdog->options.directory = options->directory == NULL ? NULL : strdup(options->directory);
    watchdog->options.header = strdup(options->header);
    watchdog->bell.patrol_ns = patrol_for(options->threshold_ns);
    watchdog->bell.suspect_ns = suspect_for(options->threshold_ns);
    watchdog->bell.armed = true; /* until the thread parks, it looks anyway */
    watchdog->lock = lw_mutex_create();
    lw_status status = LW_NO_MEMORY;
    if (watchdog->lock != NULL && watchdog->options.header != NULL &&
        (options->directory == NULL || watchdog->options.directory != NULL))
        status = lw_thread_start(&watchdog->thread, run, watchdog);
    if (status != LW_OK) {
        let_go(watchdog);
        return status;
    }
    *out = watchdog;
    return LW_OK;
}

void lw_watchdog_stop(lw_watchdog *watchdog)
{
    if (watchdog->thread == NULL)
        return;
    lw_mutex_lock(watchdog->lock);
    atomic_store(&watchdog->stopping, true);
    atomic_store(&watchdog->bell.alone, false);
    if (watchdog->bell.alarm != NULL)
        lw_alarm_set(watchdog->bell.alarm, 0);
    lw_mutex_unlock(watchdog->lock);
    lw_thread_join(watchdog->thread);
    watchdog->thread = NULL;
}

uintptr_t lw_watchdog_loop(lw_watchdog *watchdog, unsigned index)
{
    lw_mutex_lock(watchdog->lock);
    const lw_watched *watched = watchdog->loops;
    while (watched != NULL && (!watched->attached || index-- > 0))
        watched = watched->next;
    uintptr_t loop = watched == NULL ? 0 : watched->loop;
    lw_mutex_unlock(watchdog->lock);
    return loop;
}

void lw_watchdog_release(lw_watchdog *watchdog)
{
    if (watchdog == NULL)
        return;
    lw_watchdog_stop(watchdog);
    let_go(watchdog);
}

int lw_watchdog_trouble(const lw_watchdog *watchdog)
{
    return atomic_load(&watchdog->trouble);
}

/* One more string and its end, if there is room. */
static bool append(char *into, size_t size, size_t *used, const char *text)
{
    size_t length = strlen(text) + 1;
    if (size - *used < length)
        return false;
    memcpy(into + *used, text, length);
    *used += length;
    return true;
}

size_t lw_watchdog_stack(lw_watchdog *watchdog, uint32_t stack, uint32_t clearings, char *into, size_t size)
{
    size_t used = 0, whole = 0;
    char line[16];
    lw_mutex_lock(watchdog->lock);
    bool known = watchdog->intern != NULL && clearings == watchdog->clearings &&
                 stack < lw_intern_stacks(watchdog->intern);
    while (known && stack != LW_NONE) {
        const lw_stack *node = lw_intern_stack_at(watchdog->intern, stack);
        const lw_frame *frame = lw_intern_frame_at(watchdog->intern, node->frame);
        const lw_code *code = lw_intern_code_at(watchdog->intern, frame->code);
        snprintf(line, sizeof line, "%d", frame->line == LW_NONE ? 0 : (int)frame->line);
        known = append(into, size, &used, code->file) && append(into, size, &used, code->name) &&
                append(into, size, &used, line);
        whole = known ? used : whole;
        stack = node->parent;
    }
    lw_mutex_unlock(watchdog->lock);
    return whole;
}

size_t lw_watchdog_take(lw_watchdog *watchdog, char *into, size_t size)
{
    lw_recorder *recorder = atomic_load(&watchdog->recorder);
    return recorder == NULL ? 0 : lw_recorder_take(recorder, into, size);
}

size_t lw_watchdog_sum_up(lw_watchdog *watchdog, char *into, size_t size)
{
    size_t used = 0;
    lw_json json;
    lw_json_open(&json, size);
    lw_mutex_lock(watchdog->lock);
    uint64_t now = lw_clock_now();
    for (const lw_watched *loop = watchdog->loops; loop != NULL; loop = loop->next) {
        lw_summary_record summary = lw_watched_summary(loop, now);
        lw_record_summary(&json, &summary);
    }
    lw_mutex_unlock(watchdog->lock);
    if (!json.full && json.size != 0) {
        used = json.size;
        memcpy(into, json.bytes, used);
    }
    lw_json_close(&json);
    return used;
}

/* ---- loops ---- */

static lw_watched *watched_here(unsigned depth)
{
    lw_poll_target *target = lw_poll_innermost;
    while (target != NULL && depth-- > 0)
        target = target->outer;
    return target == NULL ? NULL : (lw_watched *)((char *)target - offsetof(lw_watched, target));
}

static bool has_served(const lw_watched *watched)
{
    for (int phase = 0; phase < LW_PHASES; phase++)
        if (atomic_load(&watched->marks.phases[phase]) != 0)
            return true;
    return false;
}

/* The same loop object on the same thread goes on where it was (asyncio.run starts its loop three times), and so does
   another one at its address, as loops that follow one another are: unless the one before has served, for its phases are
   none of the new one's. Else the place of the longest stopped one is taken when there are many, and its number is never
   heard of again. Locked. */
static lw_watched *place_for(lw_watchdog *watchdog, const lw_loop_options *options, uint64_t thread)
{
    unsigned stopped = 0;
    lw_watched **oldest = NULL;
    for (lw_watched **link = &watchdog->loops; *link != NULL; link = &(*link)->next) {
        lw_watched *watched = *link;
        if (watched->attached)
            continue;
        if (watched->loop == options->loop && watched->record.thread_number == thread) {
            if (!options->fresh || !has_served(watched))
                return watched;
            watched->loop = 0;
        }
        if (watched->settled) {
            stopped++;
            if (oldest == NULL || watched->detached_ns < (*oldest)->detached_ns)
                oldest = link;
        }
    }
    if (stopped >= LOOPS_KEPT) {
        lw_watched *gone = *oldest;
        *oldest = gone->next;
        lw_watched_free(gone);
    }
    lw_watched *watched = calloc(1, sizeof *watched);
    if (watched == NULL)
        return NULL;
    watched->record = (lw_loop_record){.loop = ++watchdog->loop_numbers, .thread_number = thread};
    watched->stall.most = watchdog->options.stacks == 0 ? LW_STALL_STACKS : watchdog->options.stacks;
    watched->next = watchdog->loops;
    watchdog->loops = watched;
    return watched;
}

static const char *way_name(lw_poll_way way)
{
    static const char *const names[] = {[LW_POLL_SLOT] = "slot",
                                        [LW_POLL_SELECT] = "select",
                                        [LW_POLL_UV] = "uv",
                                        [LW_POLL_CONTEXT] = "context"};
    return names[way];
}

static void begin(lw_watched *watched, lw_watchdog *watchdog, const lw_loop_options *options)
{
    lw_loop_marks *marks = &watched->marks;
    uint64_t now = lw_clock_now();
    watched->loop = options->loop;
    watched->way = options->way;
    watched->watchdog = watchdog;
    strncpy(watched->thread, options->thread, sizeof watched->thread - 1);
    watched->record.kind = options->kind;
    watched->record.poll = way_name(options->way);
    watched->record.thread = watched->thread;
    watched->record.at_ns = now;
    lw_thread_view_take(&watched->view, false);
    for (uint64_t i = 0; options->inside && i <= options->contexts_extra; i++)
        lw_thread_view_leave(&watched->view);
    lw_chain_clear(&watched->chain);
    marks->context_version = lw_thread_context_version(&watched->view);
    marks->contexts_extra = options->contexts_extra;
    marks->threshold_ns = watchdog->options.threshold_ns;
    marks->sampled = watchdog->options.sample;
    marks->bell = &watchdog->bell;
    marks->allowed_depth = 0;
    watched->target =
        (lw_poll_target){.marks = marks, .descriptor = options->descriptor, .outer = lw_poll_innermost};
    watched->context.inside = false;
    watched->attached_ns = now;
    watched->attached = true;
    watched->settled = false;
    atomic_store(&watchdog->bell.alone, false); /* until the watchdog has counted */
    /* The first iteration begins now; of a loop whose poll is not seen, with the first callback that is. */
    if (options->way == LW_POLL_CONTEXT)
        atomic_store(&marks->polling, true);
    else
        lw_loop_poll_returned(marks, now);
}

lw_status lw_loop_attach(lw_watchdog *watchdog, const lw_loop_options *options)
{
    lw_mutex_lock(watchdog->lock);
    lw_watched *watched = place_for(watchdog, options, lw_thread_number());
    lw_status status = watched == NULL ? LW_NO_MEMORY : LW_OK;
    if (status == LW_OK && options->way == LW_POLL_UV)
        status = lw_poll_uv_open(&watched->uv, options->uv_library, options->uv_loop, &watched->marks);
    if (status == LW_OK) {
        begin(watched, watchdog, options);
        atomic_fetch_add(&watchdog->references, 1);
        atomic_fetch_add(&attached_loops, 1);
    }
    lw_mutex_unlock(watchdog->lock);
    if (status == LW_OK) {
        lw_poll_innermost = &watched->target;
        lw_bell_ring(&watchdog->bell);
    }
    return status;
}

void lw_loop_detach(void)
{
    lw_watched *watched = watched_here(0);
    if (watched == NULL)
        return;
    lw_watchdog *watchdog = watched->watchdog;
    uint64_t now = lw_clock_now();
    lw_poll_innermost = watched->target.outer;
    if (watched->way == LW_POLL_UV)
        lw_poll_uv_close(watched->uv);
    lw_mutex_lock(watchdog->lock);
    if (watched->attached) {
        if (!atomic_load(&watched->marks.polling))
            lw_loop_poll_entered(&watched->marks, now);
        lw_loop_caught_up(&watched->marks);
        watched->attached = false;
        watched->detached_ns = lw_clock_now(); /* after the summary that we may have waited for */
        watched->watched_ns += watched->detached_ns - watched->attached_ns;
    }
    lw_mutex_unlock(watchdog->lock);
    atomic_fetch_sub(&attached_loops, 1);
    let_go(watchdog);
}

unsigned lw_loops_attached(void)
{
    return atomic_load(&attached_loops);
}

uintptr_t lw_loop_attached(unsigned depth)
{
    lw_watched *watched = watched_here(depth);
    return watched == NULL ? 0 : watched->loop;
}
