#include "check.h"

#include "outer.h"

enum { MOST = 8 };

static const uint64_t callback = 7;

/* cpython/frames.c has the real one */
bool lw_frame_same(const lw_raw_frame *one, const lw_raw_frame *other, bool moves)
{
    return one->code == other->code && (moves || one->instruction == other->instruction);
}

/* Frames of the functions 1, 2, … each at its first instruction, the outermost first. */
static void call_each_other(lw_raw_frame frames[MOST])
{
    for (size_t i = 0; i < MOST; i++)
        frames[i] = (lw_raw_frame){.address = 1000 + i, .code = i + 1, .instruction = 1};
}

/* One round that sees the first `count` of these, the one at `unsteady` (MOST: none) not as it should. */
static void look_at(lw_outer *outer, const lw_raw_frame *frames, size_t count, size_t unsteady,
                    lw_steadiness seen)
{
    size_t number = 0;
    bool more = true;
    CHECK_EQUAL(lw_outer_begin_round(outer, MOST, callback), LW_OK);
    for (; more && number < count; number++)
        more = lw_outer_note(outer, number, &frames[number], number == unsteady ? seen : LW_STEADY);
    lw_outer_end_round(outer, count);
}

/* The rounds that are left, all as they should be. */
static void look_on(lw_outer *outer, const lw_raw_frame *frames)
{
    while (outer->rounds < LW_OUTER_ROUNDS)
        look_at(outer, frames, MOST, MOST, LW_STEADY);
}

CASE(nothing_is_shown_before_rounds_enough)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    CHECK_EQUAL(lw_outer_shown(&outer), 0);
    for (unsigned round = 1; round < LW_OUTER_ROUNDS; round++) {
        look_at(&outer, frames, MOST, MOST, LW_STEADY);
        CHECK_EQUAL(lw_outer_shown(&outer), 0);
    }
    look_at(&outer, frames, MOST, MOST, LW_STEADY);
    CHECK_EQUAL(lw_outer_shown(&outer), MOST);
    lw_outer_forget(&outer);
    CHECK_EQUAL(lw_outer_shown(&outer), 0);
    lw_outer_clear(&outer);
}

CASE(it_ends_where_one_look_differs)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    look_at(&outer, frames, MOST, 5, LW_UNSTEADY);
    look_on(&outer, frames); /* what was in doubt once does not come back */
    CHECK_EQUAL(lw_outer_shown(&outer), 5);
    CHECK(!outer.moving);
    lw_outer_clear(&outer);
}

CASE(it_ends_where_rounds_differ)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    for (unsigned round = 0; round < LW_OUTER_ROUNDS; round++) {
        frames[3].code = 100 + round; /* another function each time, steady while it is looked at */
        look_at(&outer, frames, MOST, MOST, LW_STEADY);
    }
    CHECK_EQUAL(lw_outer_shown(&outer), 3);
    lw_outer_clear(&outer);
}

CASE(the_innermost_may_go_on)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    for (unsigned round = 0; round < LW_OUTER_ROUNDS; round++) {
        frames[3].instruction = 2 + round;
        look_at(&outer, frames, MOST, 3, LW_MOVING);
    }
    CHECK_EQUAL(lw_outer_shown(&outer), 4);
    CHECK(outer.moving);
    CHECK_EQUAL(outer.frames[3].instruction, 1 + LW_OUTER_ROUNDS); /* as it was seen last */
    lw_outer_clear(&outer);
}

CASE(one_that_goes_on_between_rounds_is_the_innermost)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    for (unsigned round = 0; round < LW_OUTER_ROUNDS; round++) {
        frames[2].instruction = 2 + round;
        look_at(&outer, frames, MOST, MOST, LW_STEADY);
    }
    CHECK_EQUAL(lw_outer_shown(&outer), 3);
    CHECK(outer.moving);
    lw_outer_clear(&outer);
}

CASE(what_has_returned_once_is_not_shown)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    look_at(&outer, frames, MOST, 6, LW_MOVING);
    look_at(&outer, frames, 4, MOST, LW_STEADY); /* the fourth is current, and the others are gone */
    look_on(&outer, frames);
    CHECK_EQUAL(lw_outer_shown(&outer), 4);
    CHECK(!outer.moving);
    lw_outer_clear(&outer);
}

CASE(the_one_that_goes_on_may_be_the_one_that_is_left)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    look_at(&outer, frames, MOST, MOST, LW_STEADY);
    frames[3].instruction = 2;
    while (outer.rounds < LW_OUTER_ROUNDS)
        look_at(&outer, frames, 4, 3, LW_MOVING);
    CHECK_EQUAL(lw_outer_shown(&outer), 4);
    CHECK(outer.moving);
    look_at(&outer, frames, 3, MOST, LW_STEADY);
    CHECK_EQUAL(lw_outer_shown(&outer), 3);
    CHECK(!outer.moving);
    lw_outer_clear(&outer);
}

CASE(another_callback_has_frames_of_its_own)
{
    lw_outer outer = {0};
    lw_raw_frame frames[MOST];
    call_each_other(frames);
    look_on(&outer, frames);
    CHECK_EQUAL(lw_outer_begin_round(&outer, MOST, callback + 1), LW_TORN);
    CHECK_EQUAL(lw_outer_shown(&outer), 0);
    CHECK_EQUAL(lw_outer_begin_round(&outer, MOST, callback + 1), LW_OK);
    lw_outer_clear(&outer);
}
