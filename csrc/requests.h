/* Requests in flight, in a fixed table: what the watchdog may look at while the loop's thread serves them.

   A request is a number, unique in the process, and a slot while it is in flight; when all slots are taken it goes
   without one, and is counted. The loop's thread takes and gives back slots and says what the endpoint is called; the
   watchdog marks those that a stall refers to, so that their names are recorded even if they end meanwhile. All fields
   are atomics; there are no locks but around the names. */
#ifndef LW_REQUESTS_H
#define LW_REQUESTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

enum {
    LW_REQUEST_SLOTS = 16384,      /* at most */
    LW_REQUEST_SLOTS_USUAL = 4096, /* unless lw_requests_limit says otherwise */
    LW_ENDPOINTS_MOST = 4096,      /* distinct names; later ones are called "<other>" */
    LW_ENDPOINT_BYTES = 256,       /* of a name; a longer one is cut */
};

#define LW_NO_SLOT UINT32_MAX
#define LW_NO_ENDPOINT 0u /* its name is not known yet */

typedef struct lw_slot {
    _Atomic uint64_t number;   /* of the request that has it; 0: free */
    _Atomic uint32_t endpoint; /* number of its name */
    _Atomic bool marked;       /* a stall refers to it: the watchdog frees it when the name is recorded */
    _Atomic bool ended;
    _Atomic bool looked_for; /* its steps are, for its name */
    /* What the watchdog has seen of its part in stalls, of those of its child tasks or, while it rides, its own. */
    struct {
        _Atomic uint64_t ns;        /* its part of all of them */
        _Atomic uintptr_t loop;     /* the last one: the marks of its loop */
        _Atomic uint64_t iteration; /* and its number there */
        _Atomic uint64_t part_ns;   /* its part of that */
        _Atomic uint64_t others_ns; /* what others had of that before its last sample */
    } seen;
    /* Its longest stall: the stack that was seen most in it, a number of the intern table's that many clearings ago. */
    _Atomic uint64_t longest_ns;
    _Atomic uint32_t stack, clearings;
} lw_slot;

typedef struct lw_requests lw_requests;

lw_status lw_requests_create(lw_requests **out);
void lw_requests_destroy(lw_requests *requests); /* accepts NULL */

/* How many slots are given out from now on, from 1 to LW_REQUEST_SLOTS. Any thread. */
void lw_requests_limit(lw_requests *requests, uint32_t slots);

/* A request begins: its number, and a slot or LW_NO_SLOT. One thread at a time: whoever has the GIL. */
uint64_t lw_request_begin(lw_requests *requests, uint32_t *slot);
/* It ends; its slot is given back, at once or when the watchdog is done with it. Any thread. */
void lw_request_end(lw_requests *requests, uint64_t number, uint32_t slot);

/* The number of a name, a new one if there is none yet. Any thread; takes a lock. */
uint32_t lw_endpoint(lw_requests *requests, const char *name, size_t size);
/* The name of a number; lives as long as the table. Any thread. */
const char *lw_endpoint_name(const lw_requests *requests, uint32_t endpoint);

/* The slot of a request if it still has it, else NULL. Any thread. */
lw_slot *lw_request_slot(lw_requests *requests, uint64_t number, uint32_t slot);

/* Whether a slot is that request's, or still is. Any thread. */
static inline bool lw_slot_is_of(const lw_slot *slot, uint64_t number)
{
    return atomic_load_explicit(&slot->number, memory_order_acquire) == number;
}

/* What its endpoint is called is known now. On the thread that serves it. */
void lw_slot_name(lw_slot *slot, uint32_t endpoint);
/* Whether a stall refers to it and its name is not known yet: now is the time to find out. Likewise. */
static inline bool lw_slot_asks_name(const lw_slot *slot)
{
    return atomic_load_explicit(&slot->marked, memory_order_relaxed) &&
           atomic_load_explicit(&slot->endpoint, memory_order_relaxed) == LW_NO_ENDPOINT;
}
/* Its part of stalls that the watchdog has seen so far. Any thread. */
uint64_t lw_slot_seen_ns(const lw_slot *slot);

/* The slot's longest stall, as far as it is known: its stack. False: none. Any thread. */
bool lw_slot_stack(const lw_slot *slot, uint32_t *stack, uint32_t *clearings);

/* A stall refers to this request: lw_request_take_marked will give it. For some seconds its steps are looked for; one that
   takes none, or never knows its name, is asked when it ends. False: it has no slot (any more), what is known of
   its name is all there will be. On the watchdog's thread, like what follows. */
bool lw_request_mark(lw_requests *requests, uint64_t number, uint32_t slot);
/* The next marked request whose name is known or that has ended, or, with `all`, any; it is not marked any more. False:
   none. */
bool lw_request_take_marked(lw_requests *requests, bool all, uint64_t *number, uint32_t *endpoint);

uint64_t lw_requests_begun(const lw_requests *requests);
uint64_t lw_requests_untracked(const lw_requests *requests);

#endif
