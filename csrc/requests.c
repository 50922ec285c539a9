#include "requests.h"

#include <stdlib.h>
#include <string.h>

#include "attention.h"
#include "hot.h"
#include "os/clock.h"
#include "os/thread.h"
#include "text.h"

enum { PROBES = 64 }; /* slots that are tried before a request goes without one */

static const uint64_t look_most_ns = 3000000000; /* at steps, after a stall, for the name of a request */

static const uint64_t CLEANING = UINT64_MAX; /* the number of no request */

struct lw_requests {
    _Atomic uint64_t begun, untracked;
    _Atomic uint32_t freed; /* the slot to try first: it is still in the cache */
    _Atomic uint32_t next;  /* where the search for another begins */
    _Atomic uint32_t limit;
    lw_slot slots[LW_REQUEST_SLOTS];
    /* names; under the lock, but the pointers below `endpoints` never change */
    lw_mutex *lock;
    lw_text text;
    _Atomic uint32_t endpoints;
    const char *names[LW_ENDPOINTS_MOST];
    /* the watchdog's thread only */
    uint32_t marked[LW_REQUEST_SLOTS];
    uint64_t marked_ns[LW_REQUEST_SLOTS]; /* when */
    size_t marked_count;
};

static const char *const no_endpoint = "", *const other_endpoints = "<other>";

lw_status lw_requests_create(lw_requests **out)
{
    lw_requests *requests = calloc(1, sizeof *requests);
    if (requests == NULL)
        return LW_NO_MEMORY;
    requests->lock = lw_mutex_create();
    if (requests->lock == NULL) {
        free(requests);
        return LW_NO_MEMORY;
    }
    atomic_store(&requests->limit, LW_REQUEST_SLOTS_USUAL);
    lw_text_open(&requests->text, (size_t)LW_ENDPOINTS_MOST * LW_ENDPOINT_BYTES);
    requests->names[LW_NO_ENDPOINT] = no_endpoint;
    requests->names[1] = other_endpoints;
    requests->endpoints = 2;
    *out = requests;
    return LW_OK;
}

void lw_requests_destroy(lw_requests *requests)
{
    if (requests == NULL)
        return;
    lw_text_clear(&requests->text);
    lw_mutex_destroy(requests->lock);
    free(requests);
}

/* Two may want to free it at once; one does. A free slot is clean: whoever sees the number of its next request in it
   sees nothing of the one before. */
LW_HOT static void free_slot(lw_requests *requests, lw_slot *slot, uint64_t number)
{
    if (!atomic_compare_exchange_strong(&slot->number, &number, CLEANING))
        return;
    atomic_store_explicit(&slot->endpoint, LW_NO_ENDPOINT, memory_order_relaxed);
    atomic_store_explicit(&slot->seen.ns, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->seen.iteration, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->longest_ns, 0, memory_order_relaxed);
    atomic_store_explicit(&slot->ended, false, memory_order_relaxed);
    atomic_store_explicit(&slot->number, 0, memory_order_release);
    atomic_store_explicit(&requests->freed, (uint32_t)(slot - requests->slots), memory_order_relaxed);
}

/* Only those who begin requests take slots, one after the other. */
static inline bool take_slot(lw_slot *slot, uint64_t number)
{
    if (atomic_load_explicit(&slot->number, memory_order_acquire) != 0)
        return false;
    atomic_store_explicit(&slot->number, number, memory_order_release);
    return true;
}

static inline uint64_t one_more(_Atomic uint64_t *counter)
{
    uint64_t value = atomic_load_explicit(counter, memory_order_relaxed) + 1;
    atomic_store_explicit(counter, value, memory_order_relaxed);
    return value;
}

void lw_requests_limit(lw_requests *requests, uint32_t slots)
{
    atomic_store(&requests->limit, slots == 0 ? 1 : slots < LW_REQUEST_SLOTS ? slots : LW_REQUEST_SLOTS);
}

LW_HOT uint64_t lw_request_begin(lw_requests *requests, uint32_t *slot)
{
    uint64_t number = one_more(&requests->begun);
    uint32_t limit = atomic_load_explicit(&requests->limit, memory_order_relaxed);
    uint32_t candidate = atomic_load_explicit(&requests->freed, memory_order_relaxed);
    for (unsigned probe = 0; probe < PROBES; probe++) {
        if (probe > 0 || candidate >= limit)
            candidate = atomic_fetch_add(&requests->next, 1) % limit;
        if (take_slot(&requests->slots[candidate], number)) {
            *slot = candidate;
            return number;
        }
    }
    (void)one_more(&requests->untracked);
    *slot = LW_NO_SLOT;
    return number;
}

LW_HOT lw_slot *lw_request_slot(lw_requests *requests, uint64_t number, uint32_t slot)
{
    if (slot >= LW_REQUEST_SLOTS || !lw_slot_is_of(&requests->slots[slot], number))
        return NULL;
    return &requests->slots[slot];
}

void lw_slot_name(lw_slot *slot, uint32_t endpoint)
{
    atomic_store(&slot->endpoint, endpoint);
}

LW_HOT uint64_t lw_slot_seen_ns(const lw_slot *slot)
{
    return atomic_load(&slot->seen.ns);
}

bool lw_slot_stack(const lw_slot *slot, uint32_t *stack, uint32_t *clearings)
{
    *stack = atomic_load(&slot->stack);
    *clearings = atomic_load(&slot->clearings);
    return atomic_load(&slot->longest_ns) != 0;
}

LW_HOT void lw_request_end(lw_requests *requests, uint64_t number, uint32_t slot)
{
    lw_slot *taken = lw_request_slot(requests, number, slot);
    if (taken == NULL)
        return;
    /* `ended` before `marked`, and the watchdog the other way round: one of the two frees it. */
    atomic_store(&taken->ended, true);
    if (!atomic_load(&taken->marked))
        free_slot(requests, taken, number);
}

uint32_t lw_endpoint(lw_requests *requests, const char *name, size_t size)
{
    const char *kept;
    size = size < LW_ENDPOINT_BYTES ? size : LW_ENDPOINT_BYTES;
    lw_mutex_lock(requests->lock);
    uint32_t count = atomic_load(&requests->endpoints), found = 1;
    if (lw_text_keep(&requests->text, name, size, &kept) == LW_OK) {
        found = 2;
        while (found < count && requests->names[found] != kept)
            found++;
        if (found == LW_ENDPOINTS_MOST) {
            found = 1;
        } else if (found == count) {
            requests->names[count] = kept;
            atomic_store(&requests->endpoints, count + 1);
        }
    }
    lw_mutex_unlock(requests->lock);
    return found;
}

const char *lw_endpoint_name(const lw_requests *requests, uint32_t endpoint)
{
    return endpoint < atomic_load(&requests->endpoints) ? requests->names[endpoint] : no_endpoint;
}

bool lw_request_mark(lw_requests *requests, uint64_t number, uint32_t slot)
{
    lw_slot *taken = lw_request_slot(requests, number, slot);
    if (taken == NULL)
        return false;
    if (!atomic_load(&taken->marked)) {
        atomic_store(&taken->marked, true);
        requests->marked_ns[requests->marked_count] = lw_clock_now();
        requests->marked[requests->marked_count++] = slot;
        atomic_store(&taken->looked_for, true);
        lw_attention_raise();
    }
    return true;
}

static void look_no_more(lw_slot *slot)
{
    if (atomic_exchange(&slot->looked_for, false))
        lw_attention_drop();
}

bool lw_request_take_marked(lw_requests *requests, bool all, uint64_t *number, uint32_t *endpoint)
{
    for (size_t i = 0; i < requests->marked_count; i++) {
        lw_slot *slot = &requests->slots[requests->marked[i]];
        bool ended = atomic_load(&slot->ended);
        *endpoint = atomic_load(&slot->endpoint);
        if (*endpoint == LW_NO_ENDPOINT && !ended && !all) {
            if (lw_clock_now() - requests->marked_ns[i] > look_most_ns)
                look_no_more(slot);
            continue;
        }
        *number = atomic_load(&slot->number);
        requests->marked[i] = requests->marked[--requests->marked_count];
        requests->marked_ns[i] = requests->marked_ns[requests->marked_count];
        atomic_store(&slot->marked, false);
        look_no_more(slot);
        if (atomic_load(&slot->ended))
            free_slot(requests, slot, *number);
        return true;
    }
    return false;
}

uint64_t lw_requests_begun(const lw_requests *requests)
{
    return atomic_load(&requests->begun);
}

uint64_t lw_requests_untracked(const lw_requests *requests)
{
    return atomic_load(&requests->untracked);
}
