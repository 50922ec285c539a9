/* The table of requests in flight, and one request's time. */
#include "check.h"

#include "attention.h"
#include "request_clock.h"
#include "requests.h"

enum { MS = 1000000 };

static lw_requests *create(void)
{
    lw_requests *requests = NULL;

    CHECK_EQUAL(lw_requests_create(&requests), LW_OK);
    return requests;
}

CASE(every_request_has_its_own_number_and_slot)
{
    lw_requests *requests = create();
    static bool taken[LW_REQUEST_SLOTS];
    uint32_t slot;

    for (uint64_t i = 1; i <= LW_REQUEST_SLOTS_USUAL; i++) {
        CHECK_EQUAL(lw_request_begin(requests, &slot), i);
        CHECK(slot < LW_REQUEST_SLOTS_USUAL && !taken[slot]);
        CHECK(lw_request_slot(requests, i, slot) != NULL);
        taken[slot] = true;
    }
    CHECK_EQUAL(lw_requests_untracked(requests), 0);
    lw_requests_destroy(requests);
}

CASE(beyond_the_slots_requests_are_counted)
{
    lw_requests *requests = create();
    uint32_t slot, first = 0;

    for (uint64_t i = 1; i <= LW_REQUEST_SLOTS_USUAL; i++) {
        lw_request_begin(requests, i == 1 ? &first : &slot);
    }
    uint64_t number = lw_request_begin(requests, &slot);
    CHECK_EQUAL(slot, LW_NO_SLOT);
    CHECK(lw_request_slot(requests, number, slot) == NULL);
    CHECK_EQUAL(lw_requests_untracked(requests), 1);
    CHECK_EQUAL(lw_requests_begun(requests), LW_REQUEST_SLOTS_USUAL + 1);
    lw_request_end(requests, number, slot);
    lw_request_end(requests, 1, first);
    CHECK(lw_request_slot(requests, 1, first) == NULL);
    lw_request_end(requests, 1, first); /* again: no effect */
    lw_requests_destroy(requests);
}

CASE(the_number_of_slots_can_be_changed)
{
    lw_requests *requests = create();
    uint32_t slot, least = 0;

    lw_requests_limit(requests, 2);
    for (int i = 0; i < 3; i++) {
        lw_request_begin(requests, &slot);
        CHECK(i < 2 ? slot < 2 : slot == LW_NO_SLOT);
    }
    lw_requests_limit(requests, UINT32_MAX);
    for (uint32_t i = 2; i < LW_REQUEST_SLOTS; i++) {
        lw_request_begin(requests, &slot);
        least += slot != LW_NO_SLOT;
    }
    CHECK(least > LW_REQUEST_SLOTS / 2); /* not every search finds one of the last */
    lw_requests_destroy(requests);
}

CASE(a_marked_request_keeps_its_slot_until_its_name_is_taken)
{
    lw_requests *requests = create();
    uint32_t slot, endpoint, other;
    uint64_t number = lw_request_begin(requests, &slot), taken;

    CHECK(lw_request_mark(requests, number, slot));
    CHECK(lw_request_mark(requests, number, slot)); /* twice: is given once */
    CHECK(!lw_request_take_marked(requests, false, &taken, &endpoint));
    lw_slot_name(lw_request_slot(requests, number, slot), lw_endpoint(requests, "GET /", 5));
    lw_request_end(requests, number, slot);
    CHECK(lw_request_slot(requests, number, slot) != NULL);
    CHECK(lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK_EQUAL(taken, number);
    CHECK(strcmp(lw_endpoint_name(requests, endpoint), "GET /") == 0);
    CHECK(lw_request_slot(requests, number, slot) == NULL);
    CHECK(!lw_request_take_marked(requests, true, &taken, &endpoint));
    CHECK(!lw_request_mark(requests, number, slot));

    number = lw_request_begin(requests, &other);
    CHECK(lw_request_mark(requests, number, other));
    CHECK(lw_request_take_marked(requests, true, &taken, &endpoint)); /* the end of all: whatever is known */
    CHECK_EQUAL(endpoint, LW_NO_ENDPOINT);
    lw_requests_destroy(requests);
}

CASE(while_a_name_is_asked_for_somebody_looks_at_steps)
{
    lw_requests *requests = create();
    uint32_t slot, other, endpoint;
    uint64_t number = lw_request_begin(requests, &slot), second = lw_request_begin(requests, &other), taken;

    CHECK(lw_request_mark(requests, number, slot));
    CHECK(lw_request_mark(requests, number, slot)); /* twice: one reason */
    CHECK(lw_request_mark(requests, second, other));
    CHECK(lw_attention_needed());
    lw_slot_name(lw_request_slot(requests, number, slot), lw_endpoint(requests, "GET /", 5));
    CHECK(lw_attention_needed()); /* nobody has taken it */
    CHECK(lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK_EQUAL(taken, number);
    CHECK(!lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK(lw_attention_needed()); /* because of the second */
    lw_request_end(requests, second, other);
    CHECK(lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK(!lw_attention_needed());
    CHECK(lw_request_mark(requests, number, slot)); /* another stall, and then the end of all */
    CHECK(lw_attention_needed());
    CHECK(lw_request_take_marked(requests, true, &taken, &endpoint));
    CHECK(!lw_attention_needed());
    CHECK(!lw_request_mark(requests, second, other)); /* it is gone */
    CHECK(!lw_attention_needed());
    number = lw_request_begin(requests, &slot);
    CHECK(lw_request_mark(requests, number, slot));
    CHECK(!lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK(lw_attention_needed());
    lw_clock_sleep_until(lw_clock_now() + 3100u * MS); /* it never knows */
    CHECK(!lw_request_take_marked(requests, false, &taken, &endpoint));
    CHECK(!lw_attention_needed());
    CHECK(lw_request_take_marked(requests, true, &taken, &endpoint));
    CHECK(!lw_attention_needed());
    lw_requests_destroy(requests);
}

CASE(equal_names_have_one_number_and_too_many_share_one)
{
    lw_requests *requests = create();
    char name[32];

    CHECK_EQUAL(lw_endpoint(requests, "GET /a", 6), lw_endpoint(requests, "GET /a", 6));
    for (int i = 0; i < LW_ENDPOINTS_MOST + 10; i++) {
        int size = snprintf(name, sizeof name, "GET /%d", i);
        uint32_t number = lw_endpoint(requests, name, (size_t)size);
        bool shared = strcmp(lw_endpoint_name(requests, number), "<other>") == 0;
        CHECK(shared || strcmp(lw_endpoint_name(requests, number), name) == 0);
        CHECK_EQUAL(shared, i >= LW_ENDPOINTS_MOST - 3);
    }
    CHECK(strcmp(lw_endpoint_name(requests, UINT32_MAX), "") == 0);
    lw_requests_destroy(requests);
}

static uint64_t version;
static lw_bell bell;

static lw_loop_marks *begin_loop(void)
{
    lw_loop_marks *marks = calloc(1, sizeof *marks);

    bell.armed = true;
    marks->threshold_ns = 10 * MS;
    marks->context_version = &version;
    marks->bell = &bell;
    lw_loop_poll_returned(marks, 0);
    lw_loop_request_begun(marks, true);
    return marks;
}

static lw_slot steppers; /* without stalls of child tasks */

/* A step of the request, from one time to another. */
static void step(lw_request_clock *clock, lw_loop_marks *marks, uint64_t from, uint64_t to)
{
    lw_request_resumed(clock, marks, &steppers, from);
    lw_request_suspended(clock, marks, to);
}

CASE(who_steps_while_the_loop_catches_up_has_waited)
{
    lw_loop_marks *marks = begin_loop();
    lw_request_clock culprit = {.number = 1}, waiting = {.number = 2}, late = {.number = 3};
    lw_delayed delayed;

    step(&culprit, marks, 1 * MS, 48 * MS);
    lw_loop_poll_entered(marks, 50 * MS); /* the poll that ends the stall counts as none */
    CHECK(!lw_loop_take_delayed(marks, lw_loop_delayed_written(marks), &delayed));
    lw_loop_poll_returned(marks, 50 * MS);
    step(&waiting, marks, 51 * MS, 52 * MS);
    step(&waiting, marks, 52 * MS, 53 * MS); /* counts once */
    step(&culprit, marks, 53 * MS, 54 * MS);
    lw_loop_poll_entered(marks, 54 * MS);
    lw_loop_poll_returned(marks, 60 * MS);
    step(&late, marks, 61 * MS, 62 * MS);
    CHECK_EQUAL(culprit.own_ns, 48 * MS);
    CHECK_EQUAL(culprit.delay_ns, 0); /* 3 ms were not its own: less than the threshold */
    CHECK_EQUAL(waiting.own_ns, 2 * MS);
    CHECK_EQUAL(waiting.delay_ns, 50 * MS);
    CHECK_EQUAL(late.delay_ns, 0);
    CHECK(lw_loop_take_delayed(marks, lw_loop_delayed_written(marks), &delayed));
    CHECK_EQUAL(delayed.iteration, 1);
    CHECK_EQUAL(delayed.requests, 1);
    free(marks);
}

CASE(nobody_has_waited_who_comes_when_nothing_was_ready)
{
    lw_loop_marks *marks = begin_loop();
    lw_request_clock later = {.number = 2};
    lw_delayed delayed;

    CHECK(!lw_loop_catches_up(marks));
    lw_loop_poll_entered(marks, 50 * MS);
    CHECK(lw_loop_catches_up(marks));
    lw_loop_caught_up(marks);
    CHECK(!lw_loop_catches_up(marks));
    lw_loop_poll_returned(marks, 60 * MS);
    step(&later, marks, 61 * MS, 62 * MS);
    CHECK_EQUAL(later.delay_ns, 0);
    CHECK(lw_loop_take_delayed(marks, lw_loop_delayed_written(marks), &delayed));
    CHECK_EQUAL(delayed.requests, 0);
    free(marks);
}

CASE(without_a_slot_it_counts_as_none_that_waited)
{
    lw_loop_marks *marks = begin_loop();
    lw_request_clock untracked = {.number = 2, .slot = LW_NO_SLOT};

    lw_loop_poll_passed(marks, 50 * MS);
    lw_request_resumed(&untracked, marks, NULL, 51 * MS);
    CHECK_EQUAL(untracked.delay_ns, 0);
    CHECK_EQUAL(marks->window.requests, 0);
    free(marks);
}

CASE(a_busy_loop_catches_up_in_eight_iterations)
{
    lw_loop_marks *marks = begin_loop();
    lw_request_clock in_time = {.number = 1}, late = {.number = 2};
    uint64_t now = 20 * MS;

    lw_loop_poll_passed(marks, now);
    for (int i = 1; i <= LW_LOOP_WINDOW + 1; i++) {
        if (i == LW_LOOP_WINDOW) {
            step(&in_time, marks, now, now + 1000);
        } else if (i > LW_LOOP_WINDOW) {
            step(&late, marks, now, now + 1000);
        }
        lw_loop_poll_passed(marks, now += MS);
    }
    CHECK_EQUAL(in_time.delay_ns, 20 * MS);
    CHECK_EQUAL(late.delay_ns, 0);
    free(marks);
}

CASE(a_stall_of_its_own_child_delays_nobody_else_than_others)
{
    lw_requests *requests = create();
    lw_loop_marks *marks = begin_loop();
    lw_request_clock parent = {0};

    parent.number = lw_request_begin(requests, &parent.slot);
    lw_slot *slot = lw_request_slot(requests, parent.number, parent.slot);
    atomic_store(&slot->seen.loop, (uintptr_t)marks);
    atomic_store(&slot->seen.iteration, 1);
    atomic_store(&marks->culprit, parent.number);
    lw_loop_poll_passed(marks, 50 * MS);
    lw_request_resumed(&parent, marks, slot, 51 * MS);
    lw_request_suspended(&parent, marks, 52 * MS);
    CHECK_EQUAL(parent.delay_ns, 0);

    lw_loop_poll_passed(marks, 152 * MS); /* of these 100 ms, others had 70 before its child was seen */
    atomic_store(&slot->seen.iteration, 2);
    atomic_store(&slot->seen.others_ns, 70 * MS);
    lw_request_resumed(&parent, marks, slot, 153 * MS);
    lw_request_suspended(&parent, marks, 154 * MS);
    CHECK_EQUAL(parent.delay_ns, 69 * MS); /* 1 ms was its own */

    lw_loop_poll_passed(marks, 252 * MS); /* its child had 25 of these, and somebody else was seen then */
    atomic_store(&slot->seen.iteration, 3);
    atomic_store(&slot->seen.others_ns, 0);
    atomic_store(&slot->seen.part_ns, 25 * MS);
    atomic_store(&marks->culprit, parent.number + 1);
    lw_request_resumed(&parent, marks, slot, 253 * MS);
    lw_request_suspended(&parent, marks, 254 * MS);
    CHECK_EQUAL(parent.delay_ns, (69 + 74) * MS);
    lw_requests_destroy(requests);
    free(marks);
}
