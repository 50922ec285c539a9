/* JSON Lines out (docs/recording.md): to a file, to a queue in memory, or to both.

   Records are formatted into a buffer in memory (lw_recorder_*), without any system call, and go out with
   lw_recorder_flush: so the watchdog may format under its lock and write without it. A disk that is full or
   gone costs the records meanwhile, which are counted, never the program. The buffer is bounded as well.

   Used by one thread, the watchdog's; only lw_recorder_take may be called from any other. */
#ifndef LW_RECORDER_H
#define LW_RECORDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cause.h"
#include "intern.h"
#include "loop.h"
#include "status.h"

typedef struct lw_recorder lw_recorder;

typedef struct lw_recorder_options {
    const char *directory; /* borrowed during create only; NULL: no file */
    const char *header;    /* JSON members for the header, `"a": 1, "b": 2`, without braces; copied */
    uint64_t pid, parent_pid;
    uint64_t part_bytes; /* a part that has reached this size is followed by a new one */
    uint32_t parts;      /* how many parts are kept, at least 2 */
    bool queue;          /* keep records in memory for lw_recorder_take */
    size_t queue_bytes;  /* at most so many; what does not fit is dropped and counted */
} lw_recorder_options;

typedef struct lw_stack_count {
    uint32_t stack;
    uint32_t samples;
} lw_stack_count;

typedef struct lw_request_count {
    uint64_t request;
    uint32_t slot; /* not recorded */
    uint32_t samples;
} lw_request_count;

/* A thread that held the GIL while the loop's thread waited for it. */
typedef struct lw_holder_count {
    uint32_t stack; /* LW_NONE: it could not be read */
    uint32_t samples;
    uint64_t thread; /* the system's number of it */
    char name[16];
} lw_holder_count;

/* What the loop's thread was doing in a stall. */
typedef struct lw_cause_record {
    lw_tally tally;
    uint64_t cpu_ns, cpu_wall_ns; /* between the first and the last sample */
    bool delay_known, throttled_known;
    uint64_t run_delay_ns, throttled_ns;
    uint64_t longest_ns;            /* of samples within one callback */
    const lw_holder_count *holders; /* borrowed; most samples first */
    size_t holder_count;
} lw_cause_record;

/* A stall to be written, ended or still running. */
typedef struct lw_stall_record {
    uint32_t loop;
    lw_iteration iteration; /* end_ns: the moment of writing while it runs */
    uint32_t samples, torn, omitted, outer;
    const lw_stack_count *stacks; /* borrowed; most samples first */
    size_t stack_count;
    const lw_request_count *requests; /* borrowed; most samples first */
    size_t request_count;
    bool cause_known;
    lw_cause_record cause;
} lw_stall_record;

typedef struct lw_loop_record {
    uint32_t loop;
    const char *kind, *poll, *thread; /* borrowed; thread: UTF-8 or WTF-8 */
    uint64_t thread_number;
    uint64_t at_ns;
    uint64_t phases[LW_PHASES];     /* when each began; 0: not yet */
    uint32_t part;                  /* as in lw_code: 0 at first */
    uint32_t phase_part[LW_PHASES]; /* likewise, of the time that was told last: */
    uint64_t phase_told[LW_PHASES];
} lw_loop_record;

typedef struct lw_summary_record {
    uint32_t loop;
    uint64_t at_ns;
    bool running;
    uint64_t watched_ns, busy_ns, iterations, stalls, stalled_ns, longest_ns, lost, lost_ns;
    uint64_t samples, torn, cut, outer, unsampled, sampling_ns;
    uint64_t requests, requests_untracked;
    uint64_t histogram[LW_LOOP_HISTOGRAM];
} lw_summary_record;

/* The file, when there is to be one, is created here: "<directory>/<pid>-<unix ms>.jsonl". LW_SYSTEM with errno
   when it cannot be: the caller may go on without (directory = NULL) or not at all. */
lw_status lw_recorder_create(lw_recorder **out, const lw_recorder_options *options, lw_intern *intern);
void lw_recorder_destroy(lw_recorder *recorder); /* accepts NULL; does not flush */

/* Close the file; what is in the queue can still be taken. On the thread that created it, which must do so before it
   ends, since the descriptor means something else on every other thread. */
void lw_recorder_close(lw_recorder *recorder);

/* Append one record, preceded by those it refers to that this part does not have yet (loop, stacks, frames,
   codes). A record that does not fit into the buffer is dropped whole and counted. A stall whose stacks do not is
   written without the last of them, whose samples are omitted then. */
void lw_recorder_open(lw_recorder *recorder, lw_loop_record *loop, const lw_stall_record *stall);
void lw_recorder_stall(lw_recorder *recorder, lw_loop_record *loop, const lw_stall_record *stall);
void lw_recorder_summary(lw_recorder *recorder, lw_loop_record *loop, const lw_summary_record *summary);
void lw_recorder_delayed(lw_recorder *recorder, lw_loop_record *loop, const lw_delayed *delayed);
void lw_recorder_request(lw_recorder *recorder, uint64_t number,
                         const char *endpoint); /* "": none is known */
void lw_recorder_reset(lw_recorder *recorder);  /* the intern table was cleared */
void lw_recorder_end(lw_recorder *recorder, uint64_t now);

/* Write out what is buffered, to the file and to the queue; begin a new part when this one is full. A record is
   never split between parts. After a failure to write, a later flush begins at a line of its own, so that one
   torn line is all that a reader meets. True: there was something to write. */
bool lw_recorder_flush(lw_recorder *recorder, uint64_t now);

/* Records that could not be kept, so far. */
uint64_t lw_recorder_dropped(const lw_recorder *recorder);

/* Move up to `size` bytes of whole lines from the queue to `into`; returns how many, 0 when there are none.
   Any thread. The queue begins with the header; when records had to be dropped from it, a `dropped` record stands
   in their place. */
size_t lw_recorder_take(lw_recorder *recorder, char *into, size_t size);

#endif
