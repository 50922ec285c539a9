#include "check.h"

#include <stdbool.h>

#include "chain.h"

enum { FRAME = 80, MOST = 1000, BASE = 0x10000 };

size_t lw_frame_size(void) /* cpython/frames.c has the real one */
{
    return FRAME;
}

/* What is at an address, in any look: the bytes of a process whose memory begins at BASE. */
static char memory[1 << 16];

/* Read all spans one after the other in a look, as a gather does. */
static void look_at(lw_chain *chain, unsigned look, char *into)
{
    size_t at = 0;

    for (size_t n = 0; n < chain->span_count; n++) {
        lw_span *span = &chain->spans[n];
        span->at[look] = at;
        memcpy(into + at, memory + (span->address - BASE), span->size);
        at += span->size;
    }
}

/* Frames, the outermost at BASE, each so many bytes above the one that called it. */
static lw_chain chain_of(size_t count, size_t apart)
{
    lw_chain chain = {0};
    lw_link links[MOST] = {0};

    for (size_t i = 0; i < count; i++) {
        links[i].frame.address = BASE + (count - 1 - i) * apart;
    }
    CHECK_EQUAL(lw_chain_set(&chain, links, count, 0, MOST), LW_OK);
    CHECK_EQUAL(lw_chain_cut(&chain), LW_OK);
    return chain;
}

static void settle_all(lw_chain *chain, char *bytes)
{
    look_at(chain, 3, bytes);
    while (chain->settled < chain->span_count &&
           lw_span_first(chain, &chain->spans[chain->settled]) >= LW_NEAR) {
        CHECK(lw_chain_settle(chain, bytes + chain->spans[chain->settled].at[3]));
    }
}

/* The outermost frames' addresses stay, those of the innermost ones are new. */
static void call_anew(lw_chain *chain, size_t returned, size_t called)
{
    lw_link links[MOST] = {0};

    for (size_t i = 0; i < called; i++) {
        links[i].frame.address = chain->links[returned].frame.address + (called - i) * 128;
    }
    CHECK_EQUAL(lw_chain_set(chain, links, called, returned, MOST), LW_OK);
    CHECK_EQUAL(lw_chain_cut(chain), LW_OK);
}

CASE(every_frame_is_in_one_span)
{
    for (size_t count = 1; count <= 200; count++) {
        for (size_t apart = FRAME; apart < 500; apart += 33) {
            lw_chain chain = chain_of(count, apart);
            size_t next = 0;
            for (size_t n = 0; n < chain.span_count; n++) {
                const lw_span *span = &chain.spans[n];
                CHECK_EQUAL(span->outer, next);
                CHECK(span->inner >= span->outer);
                next = span->inner + 1;
                size_t first = lw_span_first(&chain, span), end = lw_span_end(&chain, span);
                CHECK_EQUAL(chain.links[end - 1].frame.address, span->address);
                CHECK_EQUAL(chain.links[first].frame.address + FRAME, span->address + span->size);
                CHECK(first >= LW_NEAR || end == first + 1);
                CHECK(apart - FRAME <= LW_SPAN_GAP || end == first + 1);
            }
            CHECK_EQUAL(next, count);
            CHECK(count < 20 || apart - FRAME > LW_SPAN_GAP || chain.span_count < count);
            lw_chain_clear(&chain);
        }
    }
}

CASE(frames_elsewhere_are_alone)
{
    lw_chain chain = {0};
    lw_link links[30] = {0};

    /* Coroutines: at any address, and the callee's below the caller's. */
    for (size_t i = 0; i < 30; i++) {
        links[i].frame.address = BASE + (i * 7 % 30) * 300 + i;
    }
    CHECK_EQUAL(lw_chain_set(&chain, links, 30, 0, MOST), LW_OK);
    CHECK_EQUAL(lw_chain_cut(&chain), LW_OK);
    CHECK_EQUAL(chain.span_count, 30);
    /* Addresses that make no sense are no reason to read more than a frame. */
    links[20].frame.address = UINTPTR_MAX - 8;
    links[19].frame.address = 8;
    links[18].frame.address = 0;
    CHECK_EQUAL(lw_chain_set(&chain, links, 30, 30, MOST), LW_OK);
    CHECK_EQUAL(lw_chain_cut(&chain), LW_OK);
    for (size_t n = 0; n < chain.span_count; n++) {
        CHECK(chain.spans[n].size < 1000);
    }
    lw_chain_clear(&chain);
}

CASE(what_is_settled_is_compared)
{
    static char bytes[sizeof memory];
    lw_chain chain = chain_of(40, 128);

    CHECK_EQUAL(lw_chain_open(&chain), 40);
    settle_all(&chain, bytes);
    CHECK_EQUAL(lw_chain_open(&chain), LW_NEAR);
    CHECK(lw_chain_same(&chain, bytes, 3));
    CHECK_EQUAL(lw_chain_open(&chain), LW_NEAR);

    /* Another byte of the 20th frame from outside: it, and what is further in, is settled no more. */
    memory[20 * 128 + 5]++;
    look_at(&chain, 1, bytes);
    CHECK(!lw_chain_same(&chain, bytes, 1));
    size_t open = lw_chain_open(&chain);
    CHECK(open > 40 - 1 - 20 && open <= 40);
    CHECK(lw_chain_same(&chain, bytes, 1));
    settle_all(&chain, bytes);
    CHECK_EQUAL(lw_chain_open(&chain), LW_NEAR);
    look_at(&chain, 1, bytes);
    CHECK(lw_chain_same(&chain, bytes, 1));
    lw_chain_clear(&chain);
}

CASE(nothing_that_was_returned_to_is_settled)
{
    static char bytes[sizeof memory];

    for (size_t returned = 0; returned < 60; returned++) {
        lw_chain chain = chain_of(60, 128);
        settle_all(&chain, bytes);
        lw_chain_unsettle(&chain, returned);
        CHECK(lw_chain_open(&chain) > returned);
        CHECK(returned >= LW_NEAR || lw_chain_open(&chain) == LW_NEAR);
        lw_chain_clear(&chain);
    }
}

CASE(calls_further_in_leave_it_settled)
{
    static char bytes[sizeof memory];

    for (size_t returned = 0; returned < 60; returned++) {
        for (size_t called = 0; called < 40; called += 3) {
            lw_chain chain = chain_of(60, 128);
            settle_all(&chain, bytes);
            const char *kept = chain.kept;
            size_t settled = chain.settled;
            call_anew(&chain, returned, called);
            CHECK_EQUAL(chain.count, 60 - returned + called);
            CHECK(lw_chain_open(&chain) >= called);
            CHECK(lw_chain_open(&chain) >= LW_NEAR || chain.settled == 0);
            CHECK(chain.settled <= settled && chain.kept == kept);
            /* What is settled still has its own bytes, wherever it is cut now. */
            look_at(&chain, 2, bytes);
            CHECK(lw_chain_same(&chain, bytes, 2));
            lw_chain_clear(&chain);
        }
    }
    /* The outermost of a hundred stay settled when a few calls in the middle of nowhere come and go. */
    lw_chain chain = chain_of(100, 128);
    settle_all(&chain, bytes);
    call_anew(&chain, 3, 5);
    CHECK(lw_chain_open(&chain) < 40);
    lw_chain_clear(&chain);
}

CASE(what_is_walked_anew_is_not_settled)
{
    static char bytes[sizeof memory];
    lw_chain chain = chain_of(50, 128), again = chain_of(50, 128);

    settle_all(&chain, bytes);
    /* The same addresses, but links of which nothing is known. */
    CHECK_EQUAL(lw_chain_set(&chain, again.links, 50, 50, MOST), LW_OK);
    CHECK_EQUAL(lw_chain_cut(&chain), LW_OK);
    CHECK_EQUAL(chain.settled, 0);
    settle_all(&chain, bytes);
    CHECK(chain.settled > 0);
    /* Deeper than what is kept: the outermost go, so the numbers of all others mean something else. */
    CHECK_EQUAL(lw_chain_set(&chain, again.links, 30, 0, 60), LW_OK);
    CHECK_EQUAL(chain.count, 60);
    CHECK_EQUAL(lw_chain_cut(&chain), LW_OK);
    CHECK_EQUAL(chain.settled, 0);
    lw_chain_clear(&again);
    lw_chain_clear(&chain);
}
