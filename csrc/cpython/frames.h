/* Interpreter frames and thread states, as bytes that were read from elsewhere. No Python.h here: this is the
   border of csrc/cpython. Which fields lie where comes from the interpreter's own headers (layout.h). */
#ifndef LW_CPYTHON_FRAMES_H
#define LW_CPYTHON_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../os/memory.h"
#include "../status.h"
#include "gil.h"

enum {
    LW_FRAME_BYTES = 96, /* room for a frame without its locals, every version */
    LW_THREAD_BASES = 8,
};

/* What a frame says about itself. */
typedef struct lw_raw_frame {
    uintptr_t address;
    uintptr_t code;
    uintptr_t instruction;
    uintptr_t previous;
    intptr_t slots; /* locals and stack that it used when it was last left */
    uint8_t owner;
    bool entered; /* from C, without a shim that would say so (3.11) */
    bool running; /* it executes, or C code that it called does. 3.14 and later do not tell: false */
} lw_raw_frame;

/* A thread whose stack can be walked, and where the walk ends. */
typedef struct lw_thread_view {
    uintptr_t state;   /* PyThreadState; borrowed from the interpreter, may be freed under us */
    uintptr_t context; /* what its current context was when the view was taken */
    lw_gil_view gil;   /* its interpreter's */
    size_t base_count;
    struct {
        uintptr_t frame, code;
    } bases[LW_THREAD_BASES]; /* frames below which the loop runs: innermost first */
} lw_thread_view;

/* The calling thread, with the GIL held. With `whole`, walks go on to the outermost frame. */
void lw_thread_view_take(lw_thread_view *out, bool whole);

/* Its context is to be the one that comes back when that is left. While the thread is in it, with the GIL held. */
void lw_thread_view_leave(lw_thread_view *view);

/* Any thread of the same interpreter, by its state, with no base; *number is the system's number of it. LW_FAULT when it
   is gone. */
lw_status lw_thread_view_of(lw_memory *memory, uintptr_t state, const lw_gil_view *gil, lw_thread_view *out,
                            uint64_t *number);

/* Whether this is one of the frames below which the loop runs. Any thread. */
bool lw_thread_view_is_base(const lw_thread_view *view, const lw_raw_frame *frame);

/* Address of the counter that every PyContext_Enter and Exit moves on by one. */
const volatile uint64_t *lw_thread_context_version(const lw_thread_view *view);

/* `context` and `context_ver`, neighbours in every version. */
enum { LW_CONTEXT_BYTES = 16 };
lw_piece lw_thread_context_piece(const lw_thread_view *view);
void lw_thread_context_decode(const void *bytes, uintptr_t *context, uint64_t *version);

/* How to read "which frame is running" in one gather. 3.11 and 3.12 keep the pointer in a C frame, of which there is
   one for each call from C: the last two that were seen stand for where it may be. Zero-initialised. */
typedef struct lw_current_hint {
    uintptr_t cframes[2]; /* the last one first */
} lw_current_hint;

enum { LW_CURRENT_PIECES = 4, LW_CURRENT_BYTES = 32 };
size_t lw_current_frame_pieces(const lw_thread_view *view, const lw_current_hint *hint,
                               lw_piece out[LW_CURRENT_PIECES]);
/* LW_TORN when it changed meanwhile, or the pointer was elsewhere; the hint knows better then. */
lw_status lw_current_frame_decode(const void *bytes, lw_current_hint *hint, uintptr_t *frame);
/* Ask anew, in as many reads as it takes. */
lw_status lw_current_frame_find(lw_memory *memory, const lw_thread_view *view, uintptr_t *frame);

/* The chunk of memory that holds the thread's newest frames: [*low, *high). Frames of generators and coroutines
   lie elsewhere. LW_FAULT when it cannot be told. */
lw_status lw_frame_chunk_find(lw_memory *memory, const lw_thread_view *view, uintptr_t *low, uintptr_t *high);

/* Whether what lies at this address of the data stack, if it does, is in use: all below the top is. */
bool lw_frame_on_stack(lw_memory *memory, const lw_thread_view *view, uintptr_t address);

size_t lw_frame_size(void); /* bytes of a frame that lw_frame_decode looks at */
void lw_frame_decode(const void *bytes, uintptr_t address, lw_raw_frame *out);
/* Whether two looks at one address saw the same frame; `moves`: be it at another instruction. */
bool lw_frame_same(const lw_raw_frame *one, const lw_raw_frame *other, bool moves);
/* A frame that belongs to the interpreter itself, without code of its own. */
bool lw_frame_is_shim(const lw_raw_frame *frame);
/* Whether no C code is between the two, as far as the version tells. */
bool lw_frame_called_directly(const lw_raw_frame *caller, const lw_raw_frame *callee);
/* Locals and stack that it uses, as far as one can see: of a running frame, any number. */
intptr_t lw_frame_slots(const lw_raw_frame *frame);
/* A frame of a generator or coroutine. */
bool lw_frame_is_generator(const lw_raw_frame *frame);

#endif
