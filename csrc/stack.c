#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/code_watch.h"
#include "learn.h"
#include "os/clock.h"
#include "outer.h"

enum {
    TRIES = 5,     /* gathers that may fail before a sample is torn */
    LEARNING = 64, /* rounds of learning code objects within one sample */
    MOMENTS = 3,   /* of leaving a thread alone, to see whether it stands */
    MOMENT_NS = 10000,
    PAD_PIECE = 64, /* bytes of one piece of padding */
    PADS_B = 3,
    PADS_C = 31,     /* most pieces of padding before B and C, both 2^n - 1 */
    GLANCES = 4,     /* further looks at the innermost frames */
    GLANCED = 2,     /* frames in a glance: those whose calls follow each other fastest */
    PADS_GLANCE = 7, /* as above, before each */
    PIECES_PER_FRAME = LW_LOOKS + 1 + LW_PROOF_PIECES,
    BYTES_PER_FRAME = LW_LOOKS * (LW_FRAME_BYTES + LW_SPAN_GAP) + 2 * LW_PROOF_BYTES,
    PADS = PADS_B + PADS_C + GLANCES * PADS_GLANCE,
    PIECES_FIXED = 1 + LW_GIL_PIECES + (2 + GLANCES) * LW_CURRENT_PIECES + GLANCES * GLANCED + PADS,
    BYTES_FIXED = LW_CONTEXT_BYTES + LW_GIL_BYTES + (2 + GLANCES) * LW_CURRENT_BYTES +
                  GLANCES * GLANCED * LW_FRAME_BYTES + PADS * PAD_PIECE,
};

/* Where the answers of one glance lie. */
typedef struct glance {
    size_t current;
    size_t frames[GLANCED];
} glance;

/* What one gather asks for, and where each answer lies. */
typedef struct script {
    lw_piece *pieces;
    size_t count, size;
    size_t current, context, gil;
} script;

/* Per frame of the chain that is not settled, for the gather under way. */
typedef struct evidence {
    size_t before, proof; /* offsets of the code's bytes; `before` only where one is asked for, else 0 */
    lw_raw_frame frame;   /* as read in A */
    intptr_t slots;       /* the fewest that it used in any look; see lw_frame_slots */
    bool shim;
    bool proven; /* its code is what it was */
} evidence;

struct lw_sampler {
    lw_intern *intern; /* borrowed */
    lw_memory *memory;
    lw_codes *codes;
    uint32_t random;
    uint64_t freed; /* lw_codes_freed before the gather */
    bool moved;     /* in this sample, not all looks saw the same */
    bool faulted;   /* the last gather met an address that cannot be read */
    lw_learner learner;
    lw_outer outer;
    /* scratch for a chain of `room` frames */
    size_t room;
    lw_piece *pieces;
    char *bytes; /* borrowed from the memory */
    evidence *evidence;
    char padding[PAD_PIECE];
};

/* ---- buffers ---- */

static lw_status reserve(lw_sampler *sampler, size_t frames)
{
    if (frames <= sampler->room)
        return LW_OK;
    size_t room = 64;
    while (room < frames)
        room *= 2;
    lw_piece *pieces = realloc(sampler->pieces, (room * PIECES_PER_FRAME + PIECES_FIXED) * sizeof *pieces);
    if (pieces != NULL)
        sampler->pieces = pieces;
    char *bytes = lw_memory_buffer(sampler->memory, room * BYTES_PER_FRAME + BYTES_FIXED);
    if (bytes != NULL)
        sampler->bytes = bytes;
    evidence *seen = realloc(sampler->evidence, room * sizeof *seen);
    if (seen != NULL) {
        memset(seen + sampler->room, 0, (room - sampler->room) * sizeof *seen);
        sampler->evidence = seen;
    }
    if (pieces == NULL || bytes == NULL || seen == NULL)
        return LW_NO_MEMORY;
    sampler->room = room;
    return LW_OK;
}

lw_status lw_sampler_create(lw_sampler **out, lw_intern *intern, uint32_t depth)
{
    lw_sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL)
        return LW_NO_MEMORY;
    sampler->intern = intern;
    sampler->random = 1;
    /* Links of a chain: two for a frame of Python, as others stand between C and Python code. */
    lw_status status = lw_learner_open(&sampler->learner, 2 * (size_t)(depth == 0 ? LW_STACK_DEPTH : depth));
    if (status == LW_OK)
        status = lw_memory_open(&sampler->memory);
    if (status == LW_OK)
        status = lw_codes_create(&sampler->codes, intern);
    if (status == LW_OK)
        status = reserve(sampler, 64);
    if (status != LW_OK) {
        lw_sampler_destroy(sampler);
        return status;
    }
    *out = sampler;
    return LW_OK;
}

void lw_sampler_destroy(lw_sampler *sampler)
{
    if (sampler == NULL)
        return;
    lw_codes_destroy(sampler->codes);
    lw_memory_close(sampler->memory);
    free(sampler->pieces);
    free(sampler->evidence);
    lw_learner_close(&sampler->learner);
    lw_outer_clear(&sampler->outer);
    free(sampler);
}

void lw_sampler_forget(lw_sampler *sampler)
{
    lw_codes_forget(sampler->codes);
}

static uint32_t random_below(lw_sampler *sampler, uint32_t mask)
{
    sampler->random = sampler->random * 1664525u + 1013904223u;
    return sampler->random >> 16 & mask;
}

/* The link of frame `broken` leads elsewhere than predicted: keep the frames from `first` to it, as they were just
   read, and walk on from there. */
static void mend_chain(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                       size_t broken)
{
    size_t kept = broken - first + 1;
    for (size_t i = 0; i < kept; i++)
        sampler->learner.walked[i] = (lw_link){.frame = sampler->evidence[first + i].frame, .stack = LW_NONE};
    (void)lw_learn_on(&sampler->learner, sampler->memory, view, chain, kept, broken + 1);
}

/* ---- the gather ---- */

static size_t ask(script *script, uintptr_t address, size_t size)
{
    size_t offset = script->size;
    script->pieces[script->count++] = (lw_piece){address, size};
    script->size += size;
    return offset;
}

static size_t ask_pieces(script *script, const lw_piece *pieces, size_t count)
{
    size_t offset = script->size;
    for (size_t i = 0; i < count; i++)
        ask(script, pieces[i].address, pieces[i].size);
    return offset;
}

static void ask_padding(lw_sampler *sampler, script *script, uint32_t most)
{
    for (uint32_t n = random_below(sampler, most); n > 0; n--)
        ask(script, (uintptr_t)sampler->padding, PAD_PIECE);
}

/* What is known of the link's code; NULL: nothing. What is known now is older than the next gather. */
static const lw_known_code *known_of(const lw_link *link)
{
    return link->known.address == 0 ? NULL : &link->known;
}

static void refresh_known(const lw_sampler *sampler, lw_link *link, bool shim)
{
    if (!shim && link->known.address == link->frame.code)
        return;
    link->freed = 0;
    const lw_known_code *known = shim ? NULL : lw_codes_find(sampler->codes, link->frame.code);
    link->known = known == NULL ? (lw_known_code){0} : *known;
}

static void ask_codes_before(lw_sampler *sampler, const lw_chain *chain, script *script)
{
    lw_piece pieces[1];
    if (lw_code_before_pieces(0, pieces) == 0)
        return; /* this version needs none */
    for (size_t i = 0; i < chain->count; i++) {
        const lw_raw_frame *frame = &chain->links[i].frame;
        if (!lw_frame_is_shim(frame))
            sampler->evidence[i].before =
                ask_pieces(script, pieces, lw_code_before_pieces(frame->code, pieces));
    }
}

/* Of the codes that may have been freed since they were proven. The others' headers are spared: cold memory in as many
   places as there are frames. */
static void ask_proofs(lw_sampler *sampler, const lw_chain *chain, size_t first, script *script)
{
    lw_piece pieces[LW_PROOF_PIECES];
    size_t open = lw_chain_open(chain);
    for (size_t i = first; i < open; i++) {
        const lw_link *link = &chain->links[i];
        evidence *seen = &sampler->evidence[i];
        seen->proven = seen->shim || (link->freed != 0 && link->freed == sampler->freed);
        if (!seen->proven)
            seen->proof =
                ask_pieces(script, pieces, lw_code_proof_pieces(known_of(link), link->frame.code, pieces));
    }
}

typedef enum look { LOOK_A, LOOK_B, LOOK_C, LOOK_LATER } look;

/* All frames once: in look A the outermost first, in the others the innermost. What is settled is not looked at in A and
   C: the last sample did that. */
static void ask_frames(lw_chain *chain, script *script, look look)
{
    size_t from = look == LOOK_A || look == LOOK_C ? chain->settled : 0;
    for (size_t n = from; n < chain->span_count; n++) {
        lw_span *span = &chain->spans[look == LOOK_A ? n : chain->span_count - 1 - (n - from)];
        span->at[look] = ask(script, span->address, span->size);
    }
}

/* The bytes of a frame in a look. */
static const char *seen_in(const lw_sampler *sampler, const lw_chain *chain, const lw_span *span, size_t link,
                           look look)
{
    return sampler->bytes + span->at[look] + (chain->links[link].frame.address - span->address);
}

static size_t ask_current(script *script, const lw_thread_view *view, const lw_chain *chain)
{
    lw_piece pieces[LW_CURRENT_PIECES];
    return ask_pieces(script, pieces, lw_current_frame_pieces(view, &chain->hint, pieces));
}

static lw_status gather(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, script *out)
{
    lw_status status = reserve(sampler, chain->count);
    if (status == LW_OK)
        status = lw_chain_cut(chain);
    if (status != LW_OK)
        return status;
    if (chain->settled_freed != sampler->freed)
        lw_chain_unsettle(chain, chain->count - 1); /* all codes are to be proven again */
    *out = (script){.pieces = sampler->pieces};
    ask_codes_before(sampler, chain, out);
    ask_frames(chain, out, LOOK_A);
    out->current = ask_current(out, view, chain);
    lw_piece context = lw_thread_context_piece(view);
    out->context = ask_pieces(out, &context, 1);
    lw_piece gil[LW_GIL_PIECES];
    lw_gil_pieces(&view->gil, gil);
    out->gil = ask_pieces(out, gil, LW_GIL_PIECES);
    ask_padding(sampler, out, PADS_B);
    ask_frames(chain, out, LOOK_B);
    ask_padding(sampler, out, PADS_C);
    ask_frames(chain, out, LOOK_C);
    return lw_memory_read(sampler->memory, out->pieces, out->count, sampler->bytes);
}

/* ---- the verdict ---- */

static intptr_t fewest(intptr_t a, intptr_t b)
{
    return a < b ? a : b;
}

/* Whether a frame is linked as predicted. */
static bool is_linked(const lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain, size_t i)
{
    const lw_raw_frame *frame = &sampler->evidence[i].frame, *predicted = &chain->links[i].frame;
    if (i + 1 == chain->count)
        return lw_learn_is_end(view, frame) ||
               (chain->count == sampler->learner.depth && frame->previous == predicted->previous);
    /* It was no end when the chain was learnt, and is none while it runs the same code. */
    return frame->previous == chain->links[i + 1].frame.address &&
           (frame->code == predicted->code || !lw_learn_is_end(view, frame));
}

/* How frame `i` was in A, B and C. */
static lw_steadiness look_at_frame(lw_sampler *sampler, const lw_chain *chain, const lw_span *span, size_t i)
{
    evidence *seen = &sampler->evidence[i];
    uintptr_t address = chain->links[i].frame.address;
    lw_raw_frame *a = &seen->frame, b, c;
    lw_frame_decode(seen_in(sampler, chain, span, i, LOOK_A), address, a);
    lw_frame_decode(seen_in(sampler, chain, span, i, LOOK_B), address, &b);
    lw_frame_decode(seen_in(sampler, chain, span, i, LOOK_C), address, &c);
    seen->slots = fewest(lw_frame_slots(a), fewest(lw_frame_slots(&b), lw_frame_slots(&c)));
    if (lw_frame_same(a, &b, false) && lw_frame_same(a, &c, false))
        return LW_STEADY;
    return lw_frame_same(a, &b, true) && lw_frame_same(a, &c, true) ? LW_MOVING : LW_UNSTEADY;
}

/* Whether the frames from `first` outwards agree in A, B and C and are linked as predicted. *broken is the frame
   whose link leads elsewhere, when that is what is wrong; else the chain's length. */
static bool frames_agree(lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain, size_t first,
                         size_t *broken)
{
    *broken = chain->count;
    for (size_t n = chain->span_count; n-- > chain->settled;) {
        const lw_span *span = &chain->spans[n];
        for (size_t i = lw_span_first(chain, span), end = lw_span_end(chain, span); i < end; i++) {
            if (i < first)
                continue;
            lw_steadiness seen = look_at_frame(sampler, chain, span, i);
            sampler->moved |= seen != LW_STEADY;
            if (seen < (i == first ? LW_MOVING : LW_STEADY))
                return false;
            if (!is_linked(sampler, view, chain, i)) {
                *broken = i;
                return false;
            }
        }
    }
    return true;
}

/* Frame `i` as it was just read. */
static const lw_raw_frame *frame_at(const lw_sampler *sampler, const lw_chain *chain, size_t i)
{
    return i < lw_chain_open(chain) ? &sampler->evidence[i].frame : &chain->links[i].frame;
}

/* Learn the codes that are not known. LW_FAULT: some were learnt, gather again. LW_TORN: one cannot be read.
   LW_FULL and LW_NO_MEMORY pass through. */
static lw_status learn_codes(lw_sampler *sampler, const lw_chain *chain, size_t first)
{
    lw_status verdict = LW_OK;
    size_t open = lw_chain_open(chain);
    for (size_t i = first; i < open; i++) {
        const lw_link *link = &chain->links[i];
        if (sampler->evidence[i].shim || known_of(link) != NULL)
            continue;
        lw_status status = lw_codes_learn(sampler->codes, sampler->memory, link->frame.code);
        if (status != LW_OK)
            return status == LW_FAULT ? LW_TORN : status;
        verdict = LW_FAULT;
    }
    return verdict;
}

/* The codes that were found in the frames, and what is known of them. As learn_codes; LW_TORN also when another code
   was asked for beforehand, where that matters. */
static lw_status find_codes(lw_sampler *sampler, lw_chain *chain, size_t first)
{
    bool surprise = false;
    size_t open = lw_chain_open(chain);
    for (size_t i = first; i < open; i++) {
        evidence *seen = &sampler->evidence[i];
        lw_link *link = &chain->links[i];
        lw_piece unused[1];
        seen->shim = lw_frame_is_shim(&seen->frame);
        if (seen->frame.code != link->frame.code || seen->shim != lw_frame_is_shim(&link->frame)) {
            *link = (lw_link){.frame = seen->frame, .stack = LW_NONE};
            surprise |= !seen->shim && lw_code_before_pieces(link->frame.code, unused) > 0;
        }
        refresh_known(sampler, link, seen->shim);
    }
    return surprise ? LW_TORN : learn_codes(sampler, chain, first);
}

/* Whether a caller of the innermost frame is current now. A thread that was stopped in between would show the same
   frames in B, C and now, be they of another moment than the pointer or not. */
static bool has_returned(lw_chain *chain, size_t first, const char *bytes)
{
    uintptr_t current;
    if (lw_current_frame_decode(bytes, &chain->hint, &current) != LW_OK)
        return false;
    return lw_chain_find(chain, first + 1, current) < chain->count;
}

/* The innermost frames and which one is current, over and over at random moments. Calls that follow each other in the
   very rhythm of the gather may look the same each time by chance: the more irregular looks, the rarer. */
static void ask_glances(lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain, size_t first,
                        script *script, glance glances[GLANCES])
{
    for (size_t n = 0; n < GLANCES; n++) {
        ask_padding(sampler, script, PADS_GLANCE);
        glances[n].current = ask_current(script, view, chain);
        for (size_t i = 0; i < GLANCED && first + i < chain->count; i++)
            glances[n].frames[i] = ask(script, chain->links[first + i].frame.address, lw_frame_size());
    }
}

static bool glances_agree(lw_sampler *sampler, lw_chain *chain, size_t first, const char *bytes,
                          const glance glances[GLANCES])
{
    for (size_t n = 0; n < GLANCES; n++) {
        if (has_returned(chain, first, bytes + glances[n].current))
            return false;
        for (size_t i = 0; i < GLANCED && first + i < chain->count; i++) {
            lw_raw_frame again;
            lw_frame_decode(bytes + glances[n].frames[i], chain->links[first + i].frame.address, &again);
            const lw_raw_frame *before = frame_at(sampler, chain, first + i);
            if (!lw_frame_same(before, &again, i == 0))
                return false;
            sampler->moved |= i == 0 && before->instruction != again.instruction;
        }
    }
    return true;
}

/* Whether the frames are the same in the later look, too. */
static bool still_agree(lw_sampler *sampler, const lw_chain *chain, size_t first)
{
    for (size_t n = chain->span_count; n-- > chain->settled;) {
        const lw_span *span = &chain->spans[n];
        for (size_t i = lw_span_first(chain, span), end = lw_span_end(chain, span); i < end; i++) {
            lw_raw_frame again;
            evidence *seen = &sampler->evidence[i];
            if (i < first)
                continue;
            lw_frame_decode(seen_in(sampler, chain, span, i, LOOK_LATER), chain->links[i].frame.address,
                            &again);
            if (!lw_frame_same(&seen->frame, &again, i == first))
                return false;
            sampler->moved |= i == first && seen->frame.instruction != again.instruction;
            seen->slots = fewest(seen->slots, lw_frame_slots(&again));
        }
    }
    return true;
}

/* Whether the codes are those that are known, and their frames alive. LW_TORN: not so. */
static lw_status prove_codes(const lw_sampler *sampler, lw_chain *chain, size_t first)
{
    const char *bytes = sampler->bytes;
    size_t open = lw_chain_open(chain);
    for (size_t i = first; i < open; i++) {
        const evidence *seen = &sampler->evidence[i];
        lw_link *link = &chain->links[i];
        if (seen->shim)
            continue;
        if (known_of(link) != NULL && !lw_code_frame_alive(known_of(link), seen->slots))
            return LW_TORN;
        if (seen->proven)
            continue;
        lw_status status = lw_code_prove(known_of(link), bytes + seen->before, bytes + seen->proof);
        if (status == LW_TORN)
            return LW_TORN;
        if (status != LW_OK)
            link->known.address = 0; /* another one has its address now */
        link->freed = status == LW_OK ? sampler->freed : 0;
    }
    return LW_OK;
}

/* One more look, a random moment later: at the frames, at which one is current, and at the codes. */
static lw_status look_again(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                            const script *before)
{
    for (volatile uint32_t spin = random_below(sampler, 255); spin > 0; spin--)
        ;
    script later = {.pieces = sampler->pieces, .size = before->size};
    later.current = ask_current(&later, view, chain);
    ask_frames(chain, &later, LOOK_LATER);
    ask_proofs(sampler, chain, first, &later);
    glance glances[GLANCES];
    ask_glances(sampler, view, chain, first, &later, glances);
    char *bytes = sampler->bytes;
    lw_status status = lw_memory_read(sampler->memory, later.pieces, later.count, bytes + before->size);
    if (status != LW_OK)
        return status == LW_FAULT ? LW_TORN : status;
    if (has_returned(chain, first, bytes + later.current) ||
        !glances_agree(sampler, chain, first, bytes, glances) || !lw_chain_same(chain, bytes, LOOK_LATER) ||
        !still_agree(sampler, chain, first)) {
        sampler->moved = true;
        return LW_TORN;
    }
    if (lw_codes_freed() != sampler->freed)
        return LW_TORN; /* and all are proven the next time */
    status = prove_codes(sampler, chain, first);
    if (status != LW_OK)
        return status;
    return learn_codes(sampler, chain, first);
}

/* ---- from frames to a number ---- */

/* The stack that ends with the link's frame on top of `parent`; `parent` itself for a frame that is not shown. */
static lw_status intern_link(lw_sampler *sampler, const evidence *seen, uint32_t parent, lw_link *link)
{
    int32_t unit;
    lw_code_place place;
    link->stack = parent;
    link->leaves = false;
    if (seen->shim)
        return LW_OK;
    lw_status status = lw_code_unit(&link->known, &seen->frame, &unit);
    if (status != LW_OK)
        return status;
    if (lw_code_incomplete(&link->known, &seen->frame, unit)) {
        /* On the way into the evaluator, 3.11 and 3.12 point for an instruction at what an earlier call left there: a
           frame above one that stands before its first instruction. A thread that is stopped just then shows it for
           milliseconds. Others that have not begun do call: what 3.13 and later put under a constructor. */
        link->leaves = unit < 0;
        return LW_OK;
    }
    status = lw_codes_place(sampler->codes, sampler->memory, &link->known, unit, &place);
    if (status != LW_OK)
        return status;
    link->leaves = place.leaves;
    return lw_intern_stack(sampler->intern, parent, place.frame, &link->stack);
}

/* The numbers of the links further in stand for what was below them before. */
static void forget_numbers(lw_chain *chain, size_t count)
{
    for (size_t i = 0; i < count; i++)
        chain->links[i].serial = 0;
}

/* Whether frame `i` runs and has thrown an exception through the generator further in. On the way to the one that it
   waits for, a generator's frame stays as it was left, and is linked to the one that throws with no shim between
   (Objects/genobject.c, _gen_throw, 3.12 and 3.13). At no other time is a frame that waits linked to one that runs.
   The innermost frame may move: all looks have to say so of it. */
static bool has_thrown(const lw_sampler *sampler, const lw_chain *chain, size_t i, size_t first)
{
    const lw_link *link = &chain->links[i];
    return link->frame.running && !link->leaves && (i > first + 1 || !sampler->moved) &&
           lw_code_awaits(sampler->memory, &sampler->evidence[i - 1].frame);
}

/* Whether frame `i` can have called the one further in. */
static bool can_call(const lw_sampler *sampler, const lw_chain *chain, size_t i, size_t first)
{
    const lw_link *link = &chain->links[i];
    return !lw_frame_called_directly(&link->frame, &sampler->evidence[i - 1].frame) ||
           lw_code_can_call(&link->known, &link->frame, link->leaves) || has_thrown(sampler, chain, i, first);
}

/* Intern frame `i`, unless it is, as all further out, what it was in the last sample: *same. */
static lw_status intern_frame(lw_sampler *sampler, lw_chain *chain, size_t i, size_t first, uint32_t parent,
                              bool *same)
{
    lw_link *link = &chain->links[i];
    const evidence *seen = &sampler->evidence[i];
    uint32_t serial = seen->shim ? UINT32_MAX : link->known.serial;
    *same = *same && link->serial == serial && link->frame.instruction == seen->frame.instruction;
    lw_status status = *same ? LW_OK : intern_link(sampler, seen, parent, link);
    link->frame = seen->frame;
    if (status == LW_OK && i > first && !can_call(sampler, chain, i, first))
        status = LW_TORN;
    if (status == LW_OK)
        link->serial = serial;
    return status;
}

/* Intern the frames from the outermost in; what is as it was in the last sample costs nothing. The loop's own frame
   is left out unless there is no other. */
static lw_status intern_chain(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                              uint32_t *stack)
{
    uint32_t parent = LW_NONE;
    bool same = true;
    size_t open = lw_chain_open(chain), end = chain->count;
    if (end > first + 1 && lw_thread_view_is_base(view, frame_at(sampler, chain, end - 1)))
        end--;
    if (open < end) {
        if (!can_call(sampler, chain, open, first)) {
            lw_chain_unsettle(chain, chain->count - 1);
            return LW_TORN;
        }
        end = open;
        parent = chain->links[open].stack;
    }
    for (size_t i = end; i-- > first;) {
        lw_status status = intern_frame(sampler, chain, i, first, parent, &same);
        if (status != LW_OK) {
            forget_numbers(chain, i + 1);
            return status;
        }
        parent = chain->links[i].stack;
    }
    if (!same)
        forget_numbers(chain, first);
    *stack = parent;
    return parent == LW_NONE ? LW_TORN : LW_OK;
}

/* The sample is accepted: settle what is not among the innermost frames, where the interpreter tells of codes that are
   freed. */
static void settle(const lw_sampler *sampler, lw_chain *chain, size_t first)
{
    if (sampler->freed == 0)
        return;
    chain->settled_freed = sampler->freed;
    while (chain->settled < chain->span_count) {
        const lw_span *next = &chain->spans[chain->settled];
        size_t link = lw_span_first(chain, next);
        if (link < LW_NEAR || link <= first || !lw_chain_settle(chain, sampler->bytes + next->at[LOOK_LATER]))
            break;
    }
}

/* ---- one sample ---- */

/* The number of the stack whose innermost frame is `first`, and what else was seen with it. */
static lw_status show(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                      const script *script, uint32_t *stack)
{
    lw_thread_context_decode(sampler->bytes + script->context, &chain->context, &chain->version);
    lw_gil_decode(sampler->bytes + script->gil, &chain->gil);
    chain->innermost = sampler->evidence[first].frame.address;
    chain->instruction = sampler->evidence[first].frame.instruction;
    chain->moved = sampler->moved;
    chain->cut = !lw_learn_is_end(view, frame_at(sampler, chain, chain->count - 1));
    return intern_chain(sampler, view, chain, first, stack);
}

/* The link of the frame that was current; the chain's length where that is another one, or not known: *current is 0. */
static size_t find_current(const lw_sampler *sampler, lw_chain *chain, const script *script,
                           uintptr_t *current)
{
    if (lw_current_frame_decode(sampler->bytes + script->current, &chain->hint, current) != LW_OK)
        *current = 0;
    return *current == 0 ? chain->count : lw_chain_find(chain, 0, *current);
}

/* ---- the outer frames, where those further in change too fast ---- */

/* What this gather saw of the frames that may be steady. `first` is the one that was current, the chain's length when
   that is not known. */
static lw_status note_round(lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain,
                            size_t first, const script *script)
{
    lw_outer *outer = &sampler->outer;
    uintptr_t context;
    uint64_t version;
    lw_thread_context_decode(sampler->bytes + script->context, &context, &version);
    lw_status status = lw_outer_begin_round(outer, chain->count, version);
    if (status != LW_OK)
        return status;
    size_t open = lw_chain_open(chain), innermost = first == chain->count ? 0 : first, number = 0;
    bool more = true;
    for (; more && number < chain->count - open; number++)
        more = lw_outer_note(outer, number, &chain->links[chain->count - 1 - number].frame, LW_STEADY);
    for (size_t n = chain->settled; more && n < chain->span_count; n++) {
        const lw_span *span = &chain->spans[n];
        for (size_t i = lw_span_end(chain, span);
             more && i > innermost && i-- > lw_span_first(chain, span);) {
            lw_steadiness seen = look_at_frame(sampler, chain, span, i);
            if (!is_linked(sampler, view, chain, i))
                seen = LW_UNSTEADY;
            more = lw_outer_note(outer, number++, &sampler->evidence[i].frame, seen);
        }
    }
    lw_outer_end_round(outer, chain->count - innermost);
    return LW_OK;
}

/* The innermost frame from `first` outwards that runs now or waits for others to: the current one, or one on the data
   stack. Of generators' frames, which lie elsewhere, only the current one is known. The chain's length: none, or it has
   returned. */
static size_t alive(const lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first)
{
    uintptr_t current;
    if (lw_current_frame_find(sampler->memory, view, &current) == LW_OK) {
        size_t found = lw_chain_find(chain, 0, current);
        if (found < chain->count)
            return found <= first ? first : chain->count;
    }
    while (first < chain->count && lw_frame_is_generator(&chain->links[first].frame))
        first++;
    if (first < chain->count && lw_frame_on_stack(sampler->memory, view, chain->links[first].frame.address))
        return first;
    return chain->count;
}

/* One more gather, after all tries have failed: its verdict on the outer frames that have been steady. As try_once. */
static lw_status try_outer(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    script script;
    sampler->freed = lw_codes_freed();
    if (chain->count == 0)
        return LW_TORN;
    lw_status status = gather(sampler, view, chain, &script);
    if (status != LW_OK)
        return status == LW_FAULT ? LW_TORN : status;
    if (!lw_chain_same(chain, sampler->bytes, LOOK_B))
        return LW_FAULT;
    uintptr_t current;
    status = note_round(sampler, view, chain, find_current(sampler, chain, &script, &current), &script);
    if (status != LW_OK)
        return status;
    size_t shown = lw_outer_shown(&sampler->outer), end = chain->count, settled = chain->settled;
    size_t first = shown == 0 ? end : alive(sampler, view, chain, end - shown);
    if (first == end)
        return LW_TORN;
    lw_chain_unsettle(chain, first);
    if (chain->settled < settled)
        return LW_FAULT;
    status = find_codes(sampler, chain, first);
    if (status == LW_OK)
        status = look_again(sampler, view, chain, first, &script);
    if (status == LW_OK && alive(sampler, view, chain, first) != first)
        status = LW_TORN;
    if (status != LW_OK)
        return status;
    return show(sampler, view, chain, first, &script, stack);
}

/* One gather and its verdict. LW_OK: *stack is set. LW_TORN: try again. LW_FAULT: code was learnt, or what was settled
   is not; try again for free. Anything else ends the sample. `again`: an earlier one in this sample has failed. */
static lw_status try_once(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, bool again,
                          uint32_t *stack)
{
    script script;
    sampler->freed = lw_codes_freed();
    if (chain->count == 0 && lw_learn(&sampler->learner, sampler->memory, view, chain) != LW_OK)
        return LW_TORN;
    lw_status status = gather(sampler, view, chain, &script);
    if (status == LW_FAULT) {
        /* An everyday event: calls at the edge of a data-stack chunk map and unmap it. Twice in a row, it is the part
           that would be kept that cannot be read: it was learnt while the thread was about to link a frame. */
        if (sampler->faulted || lw_learn(&sampler->learner, sampler->memory, view, chain) != LW_OK)
            chain->count = 0;
        sampler->faulted = true;
        return LW_TORN;
    }
    sampler->faulted = false;
    if (status != LW_OK)
        return status;
    size_t broken, settled = chain->settled;
    if (!lw_chain_same(chain, sampler->bytes, LOOK_B))
        return LW_FAULT;
    uintptr_t current;
    size_t first = find_current(sampler, chain, &script, &current);
    if (again && note_round(sampler, view, chain, first, &script) == LW_NO_MEMORY)
        return LW_NO_MEMORY;
    if (current == 0)
        return LW_TORN;
    if (first == chain->count) {
        (void)lw_learn_from(&sampler->learner, sampler->memory, view, chain, current);
        return LW_TORN;
    }
    if (first > sampler->learner.depth / 8 && chain->count == sampler->learner.depth) {
        chain->count = 0; /* it may have been cut, and there is room for more of it now */
        return LW_TORN;
    }
    lw_chain_unsettle(chain, first);
    if (chain->settled < settled)
        return LW_FAULT;
    if (!frames_agree(sampler, view, chain, first, &broken)) {
        if (broken < chain->count)
            mend_chain(sampler, view, chain, first, broken);
        return LW_TORN;
    }
    status = find_codes(sampler, chain, first);
    if (status == LW_OK)
        status = look_again(sampler, view, chain, first, &script);
    if (status != LW_OK)
        return status;
    status = show(sampler, view, chain, first, &script, stack);
    if (status == LW_OK)
        settle(sampler, chain, first);
    return status;
}

/* After the program has closed our descriptors, where they could not be hidden from it: new ones. */
static lw_status reopen_memory(lw_sampler *sampler)
{
    lw_memory_close(sampler->memory);
    sampler->memory = NULL;
    sampler->room = 0; /* the bytes were the memory's */
    return lw_memory_open(&sampler->memory);
}

/* Tries, until one succeeds or enough have failed. */
static lw_status take_whole(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    lw_status status = LW_TORN;
    unsigned learnt = 0;
    for (unsigned failed = 0; failed < TRIES && learnt < LEARNING;) {
        status = try_once(sampler, view, chain, failed > 0, stack);
        if (status == LW_FAULT)
            learnt++;
        else if (status == LW_TORN)
            failed++;
        else
            break;
    }
    return status == LW_FAULT ? LW_TORN : status;
}

static lw_status take_outer(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    lw_status status = LW_FAULT;
    sampler->moved = true; /* nothing that stands fails so often */
    for (unsigned failed = 0; failed < TRIES && status == LW_FAULT; failed++)
        status = try_outer(sampler, view, chain, stack);
    return status == LW_FAULT ? LW_TORN : status;
}

lw_status lw_sampler_take(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    if (sampler->memory == NULL && reopen_memory(sampler) != LW_OK)
        return LW_SYSTEM;
    sampler->moved = false;
    lw_outer_forget(&sampler->outer);
    lw_status status = take_whole(sampler, view, chain, stack);
    chain->outer = status == LW_TORN;
    if (status == LW_TORN)
        status = take_outer(sampler, view, chain, stack);
    if (status == LW_SYSTEM && reopen_memory(sampler) == LW_OK)
        return LW_TORN;
    return status;
}

lw_status lw_sampler_request(lw_sampler *sampler, uintptr_t context, lw_seen_request *out)
{
    if (sampler->memory == NULL || lw_context_learnt() == NULL)
        return LW_UNSUPPORTED;
    return lw_context_request(sampler->memory, context, out);
}

uintptr_t lw_sampler_variables(lw_sampler *sampler, uintptr_t context)
{
    return sampler->memory == NULL ? 0 : lw_context_variables(sampler->memory, context);
}

bool lw_sampler_quick(lw_sampler *sampler, uintptr_t instruction)
{
    return sampler->memory != NULL && lw_code_is_quick(sampler->memory, instruction);
}

/* Whether the frame that was the innermost is current still, and where it was. */
static bool stands(const lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain)
{
    char bytes[LW_CURRENT_BYTES + LW_FRAME_BYTES];
    script script = {.pieces = sampler->pieces};
    uintptr_t current;
    lw_raw_frame frame;
    size_t pointer = ask_current(&script, view, chain);
    size_t innermost = ask(&script, chain->innermost, lw_frame_size());
    if (lw_memory_read(sampler->memory, script.pieces, script.count, bytes) != LW_OK ||
        lw_current_frame_decode(bytes + pointer, &chain->hint, &current) != LW_OK)
        return false;
    lw_frame_decode(bytes + innermost, chain->innermost, &frame);
    return current == chain->innermost && frame.instruction == chain->instruction;
}

bool lw_sampler_moves(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain)
{
    for (unsigned n = 0; n < MOMENTS; n++) {
        uint64_t until = lw_clock_now() + MOMENT_NS;
        while (lw_clock_now() < until)
            ;
        if (sampler->memory == NULL || !stands(sampler, view, chain))
            return true;
    }
    return false;
}

lw_status lw_sampler_gil(lw_sampler *sampler, const lw_thread_view *view, lw_gil_state *out)
{
    lw_piece pieces[LW_GIL_PIECES];
    char bytes[LW_GIL_BYTES];
    if (sampler->memory == NULL)
        return LW_SYSTEM;
    lw_gil_pieces(&view->gil, pieces);
    lw_status status = lw_memory_read(sampler->memory, pieces, LW_GIL_PIECES, bytes);
    if (status == LW_OK)
        lw_gil_decode(bytes, out);
    return status;
}

lw_status lw_sampler_other(lw_sampler *sampler, const lw_thread_view *view, uintptr_t state,
                           lw_thread_view *out, uint64_t *number)
{
    if (sampler->memory == NULL)
        return LW_SYSTEM;
    return lw_thread_view_of(sampler->memory, state, &view->gil, out, number);
}

lw_status lw_sampler_context(lw_sampler *sampler, const lw_thread_view *view, uintptr_t *context,
                             uint64_t *version)
{
    if (sampler->memory == NULL)
        return LW_SYSTEM;
    char bytes[LW_CONTEXT_BYTES];
    lw_piece piece = lw_thread_context_piece(view);
    lw_status status = lw_memory_read(sampler->memory, &piece, 1, bytes);
    if (status == LW_OK)
        lw_thread_context_decode(bytes, context, version);
    return status;
}
