/* Whether somebody has to look at steps: reasons that come and go on any thread. */
#include "check.h"

#include <stdatomic.h>

#include "attention.h"
#include "os/thread.h"

enum { THREADS = 4, ROUNDS = 100000 };

static _Atomic unsigned looks;

static void look(void)
{
    CHECK(lw_attention_needed()); /* the reason is there when somebody is called to look */
    atomic_fetch_add(&looks, 1);
}

CASE(each_reason_calls_and_the_last_one_lets_go)
{
    CHECK(!lw_attention_needed());
    lw_attention_raise(); /* nobody looks yet */
    CHECK(lw_attention_needed());
    lw_attention_call(look);
    lw_attention_raise();
    CHECK_EQUAL(looks, 1);
    lw_attention_drop();
    CHECK(lw_attention_needed());
    lw_attention_drop();
    CHECK(!lw_attention_needed());
    lw_attention_raise();
    CHECK_EQUAL(looks, 2);
    lw_attention_drop();
    CHECK(!lw_attention_needed());
}

CASE(one_drop_too_many_has_no_effect)
{
    lw_attention_drop();
    CHECK(!lw_attention_needed());
    lw_attention_raise();
    CHECK(lw_attention_needed());
    lw_attention_drop();
    CHECK(!lw_attention_needed());
}

CASE(what_was_forgotten_may_still_be_dropped)
{
    lw_attention_raise();
    lw_attention_raise();
    lw_attention_forget();
    CHECK(!lw_attention_needed());
    lw_attention_drop();
    lw_attention_drop();
    CHECK(!lw_attention_needed());
    lw_attention_raise();
    CHECK(lw_attention_needed());
}

static void come_and_go(void *unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        lw_attention_raise();
        CHECK(lw_attention_needed());
        lw_attention_drop();
    }
}

CASE(threads_do_not_lose_each_others_reasons)
{
    lw_thread *threads[THREADS];

    lw_attention_call(look);
    for (int i = 0; i < THREADS; i++) {
        CHECK_EQUAL(lw_thread_start(&threads[i], come_and_go, NULL), LW_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        lw_thread_join(threads[i]);
    }
    CHECK_EQUAL(looks, THREADS * ROUNDS);
    CHECK(!lw_attention_needed());
}
