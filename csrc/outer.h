/* The outer part of a stack whose innermost frames come and go faster than they can be read.

   Of code that calls every 50 ns no whole stack stays for the microsecond that a sample takes. But who called all that
   stays much longer: the frames that are the same in every look of several rounds, each of three looks at a random
   moment, have been there all the time, or were there anew each time, which is the same stack. The first frame further
   in that is still of the same code and caller, but goes on from instruction to instruction, belongs to them as well.

   The watchdog's thread only. */
#ifndef LW_OUTER_H
#define LW_OUTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpython/frames.h"
#include "status.h"

enum { LW_OUTER_ROUNDS = 4 }; /* at least, of three looks each */

/* How a frame was in the looks of one round. */
typedef enum lw_steadiness {
    LW_UNSTEADY, /* another one, or linked to another one */
    LW_MOVING,   /* at another instruction */
    LW_STEADY,
} lw_steadiness;

/* Zero-initialised. */
typedef struct lw_outer {
    lw_raw_frame *frames; /* outermost first; owned */
    size_t count, room;   /* the steady ones */
    bool moving;          /* one more, frames[count], goes on */
    unsigned rounds;
    uint64_t version; /* of the context, in all rounds */
} lw_outer;

void lw_outer_clear(lw_outer *outer); /* frees what it owns; may be used again */

/* Another sample begins. */
void lw_outer_forget(lw_outer *outer);

/* A round begins, of a chain of so many frames. LW_NO_MEMORY. LW_TORN: the callback is another one than before, and all
   that was noted is forgotten. */
lw_status lw_outer_begin_round(lw_outer *outer, size_t frames, uint64_t version);

/* What the round saw of frame `number`, counted from the outermost, which is noted first. False: nothing further in
   needs to be noted; else the next one is, or the round ends. */
bool lw_outer_note(lw_outer *outer, size_t number, const lw_raw_frame *frame, lw_steadiness seen);

/* The round ends: there were `noted` frames that ran, or waited for others to. */
void lw_outer_end_round(lw_outer *outer, size_t noted);

/* Frames that may be shown, counted from the outermost: 0 before there were rounds enough. */
size_t lw_outer_shown(const lw_outer *outer);

#endif
