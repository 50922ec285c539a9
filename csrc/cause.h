/* What a thread was doing: from what is known at a sample to one cause, and from samples to the causes of a stall.
   No I/O, no clock: numbers in, numbers out. */
#ifndef LW_CAUSE_H
#define LW_CAUSE_H

#include <stdbool.h>
#include <stdint.h>

typedef enum lw_cause {
    LW_PYTHON,  /* on a CPU, in Python bytecode */
    LW_NATIVE,  /* on a CPU, in one C call */
    LW_BLOCKED, /* off the CPU, in a system call that waits */
    LW_GIL,     /* waiting for the GIL, which another thread holds */
    LW_GC,      /* in a cyclic garbage collection */
    LW_STARVED, /* able to run, and given no CPU */
    LW_CAUSES,
} lw_cause;

/* What is known of the time from one sample to the next. */
typedef struct lw_facts {
    uint64_t wall_ns, cpu_ns; /* how long, and how much of it on a CPU */
    uint64_t delay_ns;        /* waiting for a CPU, so far as it is known to have ended */
    bool runs;                /* on a CPU right now */
    bool stayed;              /* on its CPU all the time, as far as the system knows */
    bool runnable;            /* in no system call; when it does not run, it waits for a CPU */
    bool moved;      /* the innermost frame went on to another instruction, or cannot be in C code for long */
    bool collecting; /* the thread that holds the GIL collects garbage */
    bool holds_gil;  /* it is this one */
    bool waits_for_gil; /* another one holds it, and this one waits at its futex */
} lw_facts;

/* Whether most of the time was spent on a CPU. Then what the thread waited for does not matter, else whether it moved
   does not. */
bool lw_facts_on_cpu(const lw_facts *facts);

lw_cause lw_cause_of(const lw_facts *facts);

/* The causes of one stall. Zero-initialised at its start. */
typedef struct lw_tally {
    uint64_t ns[LW_CAUSES];
    uint64_t gil_held_ns; /* of LW_NATIVE: with the GIL held */
    uint64_t until_ns;    /* up to which moment the time has been put to a cause; 0: none has */
    lw_cause last;        /* where the time after that goes */
    bool last_held;
    uint64_t open_ns; /* of the first sample, when it alone does not tell LW_PYTHON from LW_NATIVE */
} lw_tally;

/* The time up to `now` had this cause; the first time in a stall, from `start` on, and then it is `open` which of the
   two on a CPU it was when nothing moved: the next one decides for both. */
void lw_tally_add(lw_tally *tally, lw_cause cause, bool gil_held, uint64_t start, uint64_t now);

/* The same with the time up to `end`, which goes where the last went. */
lw_tally lw_tally_at(const lw_tally *tally, uint64_t end);

#endif
