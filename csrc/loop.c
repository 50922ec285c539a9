#include "loop.h"

#include "attention.h"
#include "hot.h"

enum {
    LOOK_NS = 250000000, /* the watchdog looks at least so often at a loop that is busy */
    PUT_OFF_PARTS = 2,
};

/* Counters have one writer, so a plain load and store do; the atomics are for the watchdog's eye. */
static void add(_Atomic uint64_t *counter, uint64_t amount)
{
    uint64_t old = atomic_load_explicit(counter, memory_order_relaxed);
    atomic_store_explicit(counter, old + amount, memory_order_relaxed);
}

static unsigned histogram_entry(uint64_t duration_ns)
{
    uint64_t microseconds = duration_ns / 1000;
    unsigned entry = 0;
    while (microseconds > 1 && entry < LW_LOOP_HISTOGRAM - 1) {
        microseconds >>= 1;
        entry++;
    }
    return entry;
}

static void keep_finished(lw_loop_marks *marks, const lw_iteration *iteration)
{
    uint64_t written = atomic_load_explicit(&marks->finished_written, memory_order_relaxed);
    uint64_t read = atomic_load_explicit(&marks->finished_read, memory_order_acquire);
    uint64_t duration = iteration->end_ns - iteration->start_ns;
    add(&marks->counters.stalls, 1);
    add(&marks->counters.stalled_ns, duration);
    if (written - read == LW_LOOP_FINISHED) {
        add(&marks->counters.lost, 1);
        add(&marks->counters.lost_ns, duration);
        return;
    }
    marks->finished[written % LW_LOOP_FINISHED] = *iteration;
    atomic_store_explicit(&marks->finished_written, written + 1, memory_order_release);
}

/* The part of the current iteration that lay inside allowed(). A block that was entered in an earlier one
   (an `await` within it) counts from the start of this one. */
static uint64_t allowed_time(const lw_loop_marks *marks, uint64_t started, uint64_t now)
{
    if (marks->allowed_depth == 0)
        return marks->allowed_ns;
    uint64_t since = marks->allowed_since_ns > started ? marks->allowed_since_ns : started;
    return marks->allowed_ns + (now - since);
}

/* True: it was a stall. */
static bool finish_iteration(lw_loop_marks *marks, uint64_t now)
{
    uint64_t started = atomic_load_explicit(&marks->started_ns, memory_order_relaxed);
    uint64_t duration = now - started;
    lw_loop_counters *counters = &marks->counters;
    add(&counters->iterations, 1);
    add(&counters->busy_ns, duration);
    add(&counters->histogram[histogram_entry(duration)], 1);
    if (duration > atomic_load_explicit(&counters->longest_ns, memory_order_relaxed))
        atomic_store_explicit(&counters->longest_ns, duration, memory_order_relaxed);
    bool stalled = duration >= marks->threshold_ns;
    if (stalled) {
        uint64_t allowed = allowed_time(marks, started, now);
        keep_finished(marks, &(lw_iteration){
                                 .number = atomic_load_explicit(&marks->iteration, memory_order_relaxed),
                                 .start_ns = started,
                                 .end_ns = now,
                                 .callbacks = lw_loop_callbacks(marks, *marks->context_version),
                                 .allowed = duration - allowed < marks->threshold_ns,
                             });
    }
    marks->allowed_ns = 0;
    return stalled;
}

uint64_t lw_loop_callbacks(const lw_loop_marks *marks, uint64_t version)
{
    uint64_t entered = (version - marks->version + 1) / 2; /* entering and leaving count one each */
    return entered > marks->contexts_extra ? entered - marks->contexts_extra : entered;
}

static void close_window(lw_loop_marks *marks)
{
    if (!marks->window.open)
        return;
    marks->window.open = false;
    lw_attention_drop();
    uint64_t written = atomic_load_explicit(&marks->delayed_written, memory_order_relaxed);
    uint64_t read = atomic_load_explicit(&marks->delayed_read, memory_order_acquire);
    bool serves = atomic_load_explicit(&marks->requests, memory_order_relaxed) != 0;
    if (!serves || written - read == LW_LOOP_DELAYED)
        return;
    marks->delayed[written % LW_LOOP_DELAYED] = (lw_delayed){marks->window.iteration, marks->window.requests};
    atomic_store_explicit(&marks->delayed_written, written + 1, memory_order_release);
}

static void open_window(lw_loop_marks *marks, uint64_t now)
{
    marks->window.open = true;
    marks->window.iteration = atomic_load_explicit(&marks->iteration, memory_order_relaxed);
    marks->window.duration_ns = now - atomic_load_explicit(&marks->started_ns, memory_order_relaxed);
    marks->window.left = LW_LOOP_WINDOW;
    marks->window.requests = 0;
    lw_attention_raise();
}

/* The iteration ends, and with it, or some iterations after a stall, the time in which the loop catches up. */
LW_HOT static void end_iteration(lw_loop_marks *marks, uint64_t now, bool waits)
{
    if (finish_iteration(marks, now)) {
        close_window(marks);
        open_window(marks, now);
    } else if (marks->window.open && (waits || --marks->window.left == 0)) {
        close_window(marks);
    }
}

static void start_iteration(lw_loop_marks *marks, uint64_t now)
{
    marks->version = *marks->context_version;
    /* The watchdog reads the number first, then the time: it never sees a new number with an old time. */
    uint64_t number = atomic_load_explicit(&marks->iteration, memory_order_relaxed) + 1;
    atomic_store_explicit(&marks->started_ns, now, memory_order_release);
    atomic_store_explicit(&marks->iteration, number, memory_order_release);
}

/* Whether the watchdog has something to write down of what has ended, or soon will. On the loop's thread. */
static inline bool has_news(const lw_loop_marks *marks)
{
    return lw_attention_needed() ||
           atomic_load_explicit(&marks->finished_written, memory_order_relaxed) !=
               atomic_load_explicit(&marks->finished_read, memory_order_relaxed) ||
           atomic_load_explicit(&marks->delayed_written, memory_order_relaxed) !=
               atomic_load_explicit(&marks->delayed_read, memory_order_relaxed);
}

/* Let the watchdog sleep on, since an iteration begins: until this one is suspect, at most LOOK_NS after its last
   look. So a busy loop wakes it for what may become a stall, or has been one, not for being busy: a hundred and more
   times a second, each of which takes a core from the program or its peers. On the loop's thread; a system call at
   most PUT_OFF_PARTS times in the time after which an iteration is suspect. */
LW_HOT static void put_off(const lw_loop_marks *marks, uint64_t now)
{
    lw_bell *bell = marks->bell;
    if (!atomic_load_explicit(&bell->alone, memory_order_acquire) || has_news(marks))
        return;
    uint64_t before = atomic_load_explicit(&bell->put_off_ns, memory_order_relaxed);
    uint64_t looked = atomic_load_explicit(&bell->looked_ns, memory_order_relaxed);
    if (now - before < bell->suspect_ns / PUT_OFF_PARTS || now > looked + LOOK_NS)
        return;
    atomic_store_explicit(&bell->put_off_ns, now, memory_order_relaxed);
    lw_alarm_set(bell->alarm, bell->suspect_ns);
}

LW_HOT static void enter_poll(lw_loop_marks *marks, uint64_t now, bool waits)
{
    end_iteration(marks, now, waits);
    atomic_store_explicit(&marks->polling, true, memory_order_release);
}

LW_HOT void lw_loop_poll_entered(lw_loop_marks *marks, uint64_t now)
{
    enter_poll(marks, now, true);
}

LW_HOT void lw_loop_poll_begun(lw_loop_marks *marks, uint64_t now)
{
    enter_poll(marks, now, false);
}

LW_HOT void lw_loop_poll_passed(lw_loop_marks *marks, uint64_t now)
{
    end_iteration(marks, now, false);
    start_iteration(marks, now);
    put_off(marks, now);
}

bool lw_loop_catches_up(const lw_loop_marks *marks)
{
    return marks->window.open;
}

void lw_loop_caught_up(lw_loop_marks *marks)
{
    close_window(marks);
}

uint64_t lw_loop_delayed_written(const lw_loop_marks *marks)
{
    return atomic_load_explicit(&marks->delayed_written, memory_order_acquire);
}

bool lw_loop_take_delayed(lw_loop_marks *marks, uint64_t until, lw_delayed *out)
{
    uint64_t read = atomic_load_explicit(&marks->delayed_read, memory_order_relaxed);
    if (read == until)
        return false;
    *out = marks->delayed[read % LW_LOOP_DELAYED];
    atomic_store_explicit(&marks->delayed_read, read + 1, memory_order_release);
    return true;
}

LW_HOT void lw_loop_poll_returned(lw_loop_marks *marks, uint64_t now)
{
    start_iteration(marks, now);
    /* This store and the next load must not change places (seq_cst): the watchdog, about to park, stores
       `armed` and then looks at `polling`; one of the two always sees the other. */
    atomic_store_explicit(&marks->polling, false, memory_order_seq_cst);
    if (atomic_load_explicit(&marks->bell->armed, memory_order_seq_cst))
        put_off(marks, now);
    else
        lw_bell_ring(marks->bell);
}

LW_HOT void lw_bell_ring(lw_bell *bell)
{
    if (atomic_load_explicit(&bell->armed, memory_order_seq_cst))
        return;
    if (!atomic_exchange_explicit(&bell->armed, true, memory_order_seq_cst))
        lw_alarm_set(bell->alarm, bell->patrol_ns);
}

bool lw_loop_take_finished(lw_loop_marks *marks, lw_iteration *out)
{
    uint64_t read = atomic_load_explicit(&marks->finished_read, memory_order_relaxed);
    if (read == atomic_load_explicit(&marks->finished_written, memory_order_acquire))
        return false;
    *out = marks->finished[read % LW_LOOP_FINISHED];
    atomic_store_explicit(&marks->finished_read, read + 1, memory_order_release);
    return true;
}

void lw_loop_allow(lw_loop_marks *marks, uint64_t now)
{
    if (marks->allowed_depth++ == 0)
        marks->allowed_since_ns = now;
}

void lw_loop_disallow(lw_loop_marks *marks, uint64_t now)
{
    if (marks->allowed_depth == 0)
        return;
    uint64_t started = atomic_load_explicit(&marks->started_ns, memory_order_relaxed);
    uint64_t allowed = allowed_time(marks, started, now);
    if (--marks->allowed_depth == 0)
        marks->allowed_ns = allowed;
}

static inline bool phase_begun(const lw_loop_marks *marks, lw_phase phase)
{
    return atomic_load_explicit(&marks->phases[phase], memory_order_relaxed) != 0;
}

LW_HOT void lw_loop_request_begun(lw_loop_marks *marks, bool tracked)
{
    if (!phase_begun(marks, LW_PHASE_SERVING))
        lw_loop_enter_phase(marks, LW_PHASE_SERVING, lw_clock_now());
    add(&marks->requests, 1);
    if (!tracked)
        add(&marks->requests_untracked, 1);
}

/* In whichever order the watchdog sees these stores: a time that it reads is when that phase began, for this server or
   for the one before, so it tells nothing untrue. */
void lw_loop_enter_phase(lw_loop_marks *marks, lw_phase phase, uint64_t now)
{
    if (phase == LW_PHASE_STARTUP && phase_begun(marks, LW_PHASE_SHUTDOWN)) {
        for (int each = 0; each < LW_PHASES; each++)
            atomic_store_explicit(&marks->phases[each], 0, memory_order_relaxed);
    }
    if (!phase_begun(marks, phase))
        atomic_store_explicit(&marks->phases[phase], now, memory_order_relaxed);
}
