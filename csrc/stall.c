#include "stall.h"

#include <stdlib.h>

enum {
    OPEN_EVERY_NS = 100000000,
    OPEN_PART = 20, /* of its age between two open records */
};
static const uint64_t open_at_least_ns = UINT64_C(10000000000);

void lw_stall_begin(lw_stall *stall, uint64_t iteration)
{
    stall->iteration = iteration;
    stall->samples = stall->torn = stall->omitted = stall->outer = 0;
    stall->count = stall->request_count = 0;
    stall->open_due_ns = 0;
}

/* The entry of a stack: most often one with many samples, so the search goes forwards. NULL: no room. */
static lw_stack_count *entry_for(lw_stall *stall, uint32_t stack)
{
    for (size_t i = 0; i < stall->count; i++) {
        if (stall->stacks[i].stack == stack)
            return &stall->stacks[i];
    }
    if (stall->count == stall->room && stall->room < stall->most) {
        size_t room = stall->room == 0 ? 8 : 2 * stall->room;
        room = room < stall->most ? room : stall->most;
        lw_stack_count *stacks = realloc(stall->stacks, room * sizeof *stacks);
        if (stacks == NULL)
            return NULL;
        stall->stacks = stacks;
        stall->room = room;
    }
    if (stall->count == stall->room)
        return NULL;
    stall->stacks[stall->count] = (lw_stack_count){.stack = stack};
    return &stall->stacks[stall->count++];
}

void lw_stall_add(lw_stall *stall, uint32_t stack)
{
    stall->samples++;
    lw_stack_count *entry = entry_for(stall, stack);
    if (entry == NULL) {
        stall->omitted++;
        return;
    }
    entry->samples++;
    for (; entry > stall->stacks && entry->samples > entry[-1].samples; entry--) {
        lw_stack_count fewer = entry[-1];
        entry[-1] = *entry;
        *entry = fewer;
    }
}

bool lw_stall_add_request(lw_stall *stall, uint64_t request, uint32_t slot)
{
    size_t i = 0;
    while (i < stall->request_count && stall->requests[i].request != request)
        i++;
    bool first = i == stall->request_count;
    if (first && stall->request_count == stall->request_room) {
        size_t room = stall->request_room == 0 ? 4 : 2 * stall->request_room;
        lw_request_count *requests =
            room > LW_STALL_REQUESTS ? NULL : realloc(stall->requests, room * sizeof *requests);
        if (requests == NULL)
            return false;
        stall->requests = requests;
        stall->request_room = room;
    }
    if (first)
        stall->requests[stall->request_count++] = (lw_request_count){.request = request, .slot = slot};
    stall->requests[i].samples++;
    for (; i > 0 && stall->requests[i].samples > stall->requests[i - 1].samples; i--) {
        lw_request_count fewer = stall->requests[i - 1];
        stall->requests[i - 1] = stall->requests[i];
        stall->requests[i] = fewer;
    }
    return first;
}

void lw_stall_add_torn(lw_stall *stall)
{
    stall->torn++;
}

uint32_t lw_stall_usual(const lw_stall *stall, uint32_t otherwise)
{
    return stall->count == 0 ? otherwise : stall->stacks[0].stack;
}

void lw_stall_forget_stacks(lw_stall *stall)
{
    stall->omitted = stall->samples;
    stall->count = 0;
}

void lw_stall_clear(lw_stall *stall)
{
    free(stall->stacks);
    free(stall->requests);
    *stall = (lw_stall){.most = stall->most};
}

bool lw_stall_open_due(lw_stall *stall, uint64_t start_ns, uint64_t now, uint64_t threshold_ns)
{
    uint64_t age = now - start_ns;
    if (age < threshold_ns || now < stall->open_due_ns)
        return false;
    uint64_t pause = age / OPEN_PART;
    if (pause < OPEN_EVERY_NS)
        pause = OPEN_EVERY_NS;
    if (pause > open_at_least_ns)
        pause = open_at_least_ns;
    stall->open_due_ns = now + pause;
    return true;
}

lw_stall_record lw_stall_record_of(const lw_stall *stall, uint32_t loop, const lw_iteration *iteration)
{
    return (lw_stall_record){
        .loop = loop,
        .iteration = *iteration,
        .samples = stall->samples,
        .torn = stall->torn,
        .omitted = stall->omitted,
        .outer = stall->outer,
        .stacks = stall->stacks,
        .stack_count = stall->count,
        .requests = stall->requests,
        .request_count = stall->request_count,
    };
}
