#include "chain.h"

#include <stdlib.h>
#include <string.h>

enum { SPAN_MOST = 2048 }; /* bytes, about */

void lw_chain_clear(lw_chain *chain)
{
    free(chain->links);
    free(chain->spans);
    free(chain->kept);
    *chain = (lw_chain){0};
}

static void unsettle_from(lw_chain *chain, size_t span)
{
    while (chain->settled > span)
        chain->kept_size -= chain->spans[--chain->settled].size;
}

/* ---- links ---- */

lw_status lw_chain_set(lw_chain *chain, const lw_link *head, size_t head_count, size_t keep_from, size_t most)
{
    size_t kept = chain->count - keep_from;
    bool cut = head_count + kept > most;
    if (cut)
        kept = most - head_count;
    if (head_count + kept > chain->room) {
        size_t room = head_count + kept + 32;
        lw_link *links = realloc(chain->links, room * sizeof *links);
        if (links == NULL)
            return LW_NO_MEMORY;
        chain->links = links;
        chain->room = room;
    }
    /* What is walked anew is not what was settled, be it at the same address. */
    while (chain->settled > 0 && chain->spans[chain->settled - 1].inner >= kept)
        unsettle_from(chain, chain->settled - 1);
    memmove(chain->links + head_count, chain->links + keep_from, kept * sizeof *chain->links);
    memcpy(chain->links, head, head_count * sizeof *head);
    chain->count = head_count + kept;
    chain->cut_anew = true;
    if (cut) {
        chain->links[chain->count - 1].serial = 0; /* its number stands for those below it, too */
        unsettle_from(chain, 0);
    }
    return LW_OK;
}

size_t lw_chain_find(const lw_chain *chain, size_t from, uintptr_t address)
{
    size_t i = from;
    while (i < chain->count && chain->links[i].frame.address != address)
        i++;
    return i;
}

/* ---- spans ---- */

static bool same_span(const lw_span *one, const lw_span *other)
{
    return one->address == other->address && one->size == other->size && one->outer == other->outer &&
           one->inner == other->inner;
}

static void add_span(lw_chain *chain, size_t number, const lw_span *span)
{
    if (number >= chain->settled || !same_span(span, &chain->spans[number])) {
        unsettle_from(chain, number);
        chain->spans[number] = *span;
    }
}

/* Calls of Python by Python lie side by side, the outer one at the lower address, and one piece for a few of them costs
   the kernel far less than one each. The innermost frames, which change fastest, stay alone, so that they are read in
   the very order that the verdict relies on. */
static void cut_spans(lw_chain *chain)
{
    size_t size = lw_frame_size(), count = 0;
    lw_span span = {0};
    for (size_t n = 0; n < chain->count; n++) {
        size_t link = chain->count - 1 - n;
        uintptr_t address = chain->links[link].frame.address, end = span.address + span.size;
        bool joins = n > 0 && link >= LW_NEAR && address >= end && address - end <= LW_SPAN_GAP &&
                     span.size < SPAN_MOST;
        if (joins) {
            span.size = address + size - span.address;
            span.inner = n;
            continue;
        }
        if (n > 0)
            add_span(chain, count++, &span);
        span = (lw_span){.address = address, .size = size, .outer = n, .inner = n};
    }
    if (chain->count > 0)
        add_span(chain, count++, &span);
    chain->span_count = count;
    unsettle_from(chain, count);
    lw_chain_unsettle(chain, LW_NEAR - 1);
}

lw_status lw_chain_cut(lw_chain *chain)
{
    if (!chain->cut_anew)
        return LW_OK;
    if (chain->count > chain->span_room) {
        lw_span *spans = realloc(chain->spans, chain->room * sizeof *spans);
        if (spans == NULL)
            return LW_NO_MEMORY;
        chain->spans = spans;
        chain->span_room = chain->room;
    }
    cut_spans(chain);
    chain->cut_anew = false;
    return LW_OK;
}

size_t lw_span_first(const lw_chain *chain, const lw_span *span)
{
    return chain->count - 1 - span->inner;
}

size_t lw_span_end(const lw_chain *chain, const lw_span *span)
{
    return chain->count - span->outer;
}

/* ---- what is settled ---- */

size_t lw_chain_open(const lw_chain *chain)
{
    return chain->settled == 0 ? chain->count : lw_span_first(chain, &chain->spans[chain->settled - 1]);
}

bool lw_chain_same(lw_chain *chain, const char *bytes, unsigned look)
{
    const char *kept = chain->kept;
    for (size_t n = 0; n < chain->settled; n++) {
        const lw_span *span = &chain->spans[n];
        if (memcmp(kept, bytes + span->at[look], span->size) != 0) {
            unsettle_from(chain, n);
            return false;
        }
        kept += span->size;
    }
    return true;
}

void lw_chain_unsettle(lw_chain *chain, size_t link)
{
    while (chain->settled > 0 && lw_chain_open(chain) <= link)
        unsettle_from(chain, chain->settled - 1);
}

bool lw_chain_settle(lw_chain *chain, const char *bytes)
{
    const lw_span *span = &chain->spans[chain->settled];
    size_t size = chain->kept_size + span->size;
    if (size > chain->kept_room) {
        char *kept = realloc(chain->kept, 2 * size);
        if (kept == NULL)
            return false;
        chain->kept = kept;
        chain->kept_room = 2 * size;
    }
    memcpy(chain->kept + chain->kept_size, bytes, span->size);
    chain->kept_size = size;
    chain->settled++;
    return true;
}
