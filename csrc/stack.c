#include "stack.h"

#include <stdlib.h>
#include <string.h>

#include "cpython/codes.h"

enum {
    TRIES = 5,          /* gathers that may fail before a sample is torn */
    LEARNING = 64,      /* rounds of learning code objects within one sample */
    CHUNK_MOST = 32768, /* bytes of the newest frames copied at once */
    PAD_PIECE = 64,     /* bytes of one piece of padding */
    PADS_B = 3,
    PADS_C = 31, /* most pieces of padding before B and C, both 2^n - 1 */
    PIECES_PER_FRAME = 3 + 1 + LW_PROOF_PIECES,
    BYTES_PER_FRAME = 3 * LW_FRAME_BYTES + 2 * LW_PROOF_BYTES,
    PIECES_FIXED = 2 + LW_CURRENT_PIECES + PADS_B + PADS_C,
    BYTES_FIXED = 2 * LW_CONTEXT_BYTES + LW_CURRENT_BYTES + (PADS_B + PADS_C) * PAD_PIECE,
};

/* What one gather asks for, and where each answer lies. */
typedef struct script {
    lw_piece *pieces;
    size_t count, size;
    size_t context_before, outermost_a, current, innermost_b, innermost_c, context_after;
} script;

/* Per frame of the chain, for the gather under way. */
typedef struct evidence {
    const lw_known_code *known; /* as it was before the gather; NULL: unknown, or a shim */
    size_t before, proof;       /* offsets of the code's bytes */
    lw_raw_frame frame;         /* as read in A */
    bool shim;
} evidence;

struct lw_sampler {
    lw_intern *intern; /* borrowed */
    lw_memory *memory;
    lw_codes *codes;
    uint32_t random;
    /* scratch for a chain of `room` frames */
    size_t room;
    lw_piece *pieces;
    char *bytes;
    evidence *evidence;
    lw_link *walked;
    char chunk[CHUNK_MOST];
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
    char *bytes = realloc(sampler->bytes, room * BYTES_PER_FRAME + BYTES_FIXED);
    if (bytes != NULL)
        sampler->bytes = bytes;
    evidence *seen = realloc(sampler->evidence, room * sizeof *seen);
    if (seen != NULL)
        sampler->evidence = seen;
    if (pieces == NULL || bytes == NULL || seen == NULL)
        return LW_NO_MEMORY;
    sampler->room = room;
    return LW_OK;
}

lw_status lw_sampler_create(lw_sampler **out, lw_intern *intern)
{
    lw_sampler *sampler = calloc(1, sizeof *sampler);
    if (sampler == NULL)
        return LW_NO_MEMORY;
    sampler->intern = intern;
    sampler->random = 1;
    lw_status status = lw_memory_open(&sampler->memory);
    if (status == LW_OK)
        status = lw_codes_create(&sampler->codes, intern);
    if (status == LW_OK)
        status = reserve(sampler, 64);
    sampler->walked = malloc(LW_STACK_DEPTH * sizeof *sampler->walked);
    if (status == LW_OK && sampler->walked == NULL)
        status = LW_NO_MEMORY;
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
    free(sampler->bytes);
    free(sampler->evidence);
    free(sampler->walked);
    free(sampler);
}

void lw_sampler_forget(lw_sampler *sampler)
{
    lw_codes_forget(sampler->codes);
}

void lw_chain_clear(lw_chain *chain)
{
    free(chain->links);
    *chain = (lw_chain){0};
}

static uint32_t random_below(lw_sampler *sampler, uint32_t mask)
{
    sampler->random = sampler->random * 1664525u + 1013904223u;
    return sampler->random >> 16 & mask;
}

/* ---- the chain: learn it by walking, keep it as the prediction ---- */

/* Where a walk ends: below the loop, or at the outermost frame (a greenlet's stack never meets the loop's frame). */
static bool is_end(const lw_thread_view *view, const lw_raw_frame *frame)
{
    return frame->previous == 0 || lw_thread_view_is_base(view, frame);
}

static lw_status set_chain(lw_chain *chain, const lw_link *head, size_t head_count, size_t keep_from)
{
    size_t kept = chain->count - keep_from;
    if (head_count + kept > LW_STACK_DEPTH)
        kept = LW_STACK_DEPTH - head_count;
    if (head_count + kept > chain->room) {
        size_t room = head_count + kept + 32;
        lw_link *links = realloc(chain->links, room * sizeof *links);
        if (links == NULL)
            return LW_NO_MEMORY;
        chain->links = links;
        chain->room = room;
    }
    memmove(chain->links + head_count, chain->links + keep_from, kept * sizeof *chain->links);
    memcpy(chain->links, head, head_count * sizeof *head);
    chain->count = head_count + kept;
    return LW_OK;
}

static size_t find_in_chain(const lw_chain *chain, size_t from, uintptr_t address)
{
    size_t i = from;
    while (i < chain->count && chain->links[i].frame.address != address)
        i++;
    return i;
}

/* The newest part of the data stack, copied at once; *low is where the copy starts. Empty when it cannot be had. */
static void copy_chunk(lw_sampler *sampler, const lw_thread_view *view, uintptr_t *low, uintptr_t *high)
{
    if (lw_frame_chunk_find(sampler->memory, view, low, high) == LW_OK) {
        if (*high - *low > CHUNK_MOST)
            *low = *high - CHUNK_MOST;
        if (lw_memory_read(sampler->memory, &(lw_piece){*low, *high - *low}, 1, sampler->chunk) == LW_OK)
            return;
    }
    *low = *high = 0;
}

/* Walk from the frame at `address` until the walk ends or meets the chain again at `rejoin` or further out. What was
   walked, after the first `kept` links of sampler->walked, takes the place of all that was above that point. */
static lw_status walk(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t kept,
                      uintptr_t address, size_t rejoin)
{
    uintptr_t low, high;
    size_t size = lw_frame_size(), count = kept;
    copy_chunk(sampler, view, &low, &high);
    for (;;) {
        size_t meeting = find_in_chain(chain, rejoin, address);
        if (meeting < chain->count || count == LW_STACK_DEPTH)
            return set_chain(chain, sampler->walked, count, meeting);
        if (address % sizeof(uintptr_t) != 0)
            return LW_TORN;
        char bytes[LW_FRAME_BYTES];
        const char *frame = bytes;
        if (address >= low && address < high && high - address >= size) {
            frame = sampler->chunk + (address - low);
        } else {
            lw_status status = lw_memory_read(sampler->memory, &(lw_piece){address, size}, 1, bytes);
            if (status != LW_OK)
                return status;
        }
        lw_link *link = &sampler->walked[count++];
        *link = (lw_link){.stack = LW_NONE};
        lw_frame_decode(frame, address, &link->frame);
        if (link->frame.previous == address)
            return LW_TORN;
        if (is_end(view, &link->frame))
            return set_chain(chain, sampler->walked, count, chain->count);
        address = link->frame.previous;
    }
}

/* Learn where the thread is now: drop what was predicted above its current frame, or walk from there. */
static void learn_chain(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain)
{
    uintptr_t current;
    lw_status status = lw_current_frame_find(sampler->memory, view, &chain->hint, &current);
    if (status == LW_OK)
        status = current == 0 ? LW_TORN : walk(sampler, view, chain, 0, current, 0);
    if (status != LW_OK)
        chain->count = 0;
}

/* The link of frame `broken` leads elsewhere than predicted: keep the frames from `first` to it, as they were just
   read, and walk on from there. */
static void mend_chain(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                       size_t broken)
{
    size_t kept = broken - first + 1;
    for (size_t i = 0; i < kept; i++)
        sampler->walked[i] = (lw_link){.frame = sampler->evidence[first + i].frame, .stack = LW_NONE};
    const lw_raw_frame *last = &sampler->walked[kept - 1].frame;
    lw_status status = is_end(view, last) ? set_chain(chain, sampler->walked, kept, chain->count)
                                          : walk(sampler, view, chain, kept, last->previous, broken + 1);
    if (status != LW_OK)
        chain->count = 0;
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

static void ask_codes_before(lw_sampler *sampler, const lw_chain *chain, script *script)
{
    lw_piece pieces[1];
    for (size_t i = 0; i < chain->count; i++) {
        evidence *seen = &sampler->evidence[i];
        const lw_raw_frame *frame = &chain->links[i].frame;
        seen->shim = lw_frame_is_shim(frame);
        seen->known = seen->shim ? NULL : lw_codes_find(sampler->codes, frame->code);
        if (!seen->shim)
            seen->before = ask_pieces(script, pieces, lw_code_before_pieces(frame->code, pieces));
    }
}

static void ask_proofs(lw_sampler *sampler, const lw_chain *chain, script *script)
{
    lw_piece pieces[LW_PROOF_PIECES];
    for (size_t i = 0; i < chain->count; i++) {
        evidence *seen = &sampler->evidence[i];
        uintptr_t code = chain->links[i].frame.code;
        if (!seen->shim)
            seen->proof = ask_pieces(script, pieces, lw_code_proof_pieces(seen->known, code, pieces));
    }
}

static lw_status gather(lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain, script *out)
{
    lw_status status = reserve(sampler, chain->count);
    if (status != LW_OK)
        return status;
    *out = (script){.pieces = sampler->pieces};
    size_t size = lw_frame_size();
    lw_piece context = lw_thread_context_piece(view), current[LW_CURRENT_PIECES];
    out->context_before = ask_pieces(out, &context, 1);
    ask_codes_before(sampler, chain, out);
    out->outermost_a = out->size;
    for (size_t i = chain->count; i-- > 0;)
        ask(out, chain->links[i].frame.address, size);
    out->current = ask_pieces(out, current, lw_current_frame_pieces(view, chain->hint, current));
    ask_padding(sampler, out, PADS_B);
    out->innermost_b = out->size;
    for (size_t i = 0; i < chain->count; i++)
        ask(out, chain->links[i].frame.address, size);
    ask_padding(sampler, out, PADS_C);
    out->innermost_c = out->size;
    for (size_t i = 0; i < chain->count; i++)
        ask(out, chain->links[i].frame.address, size);
    out->context_after = ask_pieces(out, &context, 1);
    ask_proofs(sampler, chain, out);
    return lw_memory_read(sampler->memory, out->pieces, out->count, sampler->bytes);
}

/* ---- the verdict ---- */

static bool same_frame(const lw_raw_frame *a, const lw_raw_frame *b, bool innermost)
{
    return a->code == b->code && a->previous == b->previous && a->owner == b->owner &&
           (innermost || a->instruction == b->instruction);
}

/* Whether the frames from `first` outwards agree in A, B and C and are linked as predicted. *broken is the frame
   whose link leads elsewhere, when that is what is wrong; else the chain's length. */
static bool frames_agree(lw_sampler *sampler, const lw_thread_view *view, const lw_chain *chain,
                         const script *script, size_t first, size_t *broken)
{
    size_t size = lw_frame_size(), count = chain->count;
    *broken = count;
    for (size_t i = first; i < count; i++) {
        uintptr_t address = chain->links[i].frame.address;
        lw_raw_frame *a = &sampler->evidence[i].frame, b, c;
        lw_frame_decode(sampler->bytes + script->outermost_a + (count - 1 - i) * size, address, a);
        lw_frame_decode(sampler->bytes + script->innermost_b + i * size, address, &b);
        lw_frame_decode(sampler->bytes + script->innermost_c + i * size, address, &c);
        if (!same_frame(a, &b, i == first) || !same_frame(a, &c, i == first))
            return false;
        bool last = i + 1 == count;
        bool linked = last ? is_end(view, a) ||
                                 (count == LW_STACK_DEPTH && a->previous == chain->links[i].frame.previous)
                           : a->previous == chain->links[i + 1].frame.address && !is_end(view, a);
        if (!linked) {
            *broken = i;
            return false;
        }
    }
    return true;
}

/* One more look at the frames, a random moment later. */
static bool frames_stay(lw_sampler *sampler, const lw_chain *chain, size_t first)
{
    for (volatile uint32_t spin = random_below(sampler, 255); spin > 0; spin--)
        ;
    script later = {.pieces = sampler->pieces};
    size_t size = lw_frame_size();
    for (size_t i = first; i < chain->count; i++)
        ask(&later, chain->links[i].frame.address, size);
    char *bytes =
        sampler->bytes; /* the verdict on the codes comes first: these bytes are not needed any more */
    if (lw_memory_read(sampler->memory, later.pieces, later.count, bytes) != LW_OK)
        return false;
    for (size_t i = first; i < chain->count; i++) {
        lw_raw_frame again;
        lw_frame_decode(bytes + (i - first) * size, chain->links[i].frame.address, &again);
        if (!same_frame(&sampler->evidence[i].frame, &again, i == first))
            return false;
    }
    return true;
}

/* Whether every frame's code is a known one that is still there. LW_FULL and LW_NO_MEMORY pass through; LW_FAULT:
   some had to be learnt, gather again. */
static lw_status prove_codes(lw_sampler *sampler, lw_chain *chain, size_t first)
{
    size_t unknown = 0;
    for (size_t i = first; i < chain->count; i++) {
        evidence *seen = &sampler->evidence[i];
        bool shim = lw_frame_is_shim(&seen->frame);
        if (shim != seen->shim || (!shim && seen->frame.code != chain->links[i].frame.code)) {
            chain->links[i] = (lw_link){.frame = seen->frame, .stack = LW_NONE};
            return LW_TORN; /* another function runs in this very frame: ask for its code next time */
        }
        if (shim)
            continue;
        lw_status status =
            lw_code_prove(seen->known, sampler->bytes + seen->before, sampler->bytes + seen->proof);
        if (status == LW_TORN)
            return LW_TORN;
        seen->known = status == LW_OK ? seen->known : NULL;
        unknown += seen->known == NULL;
    }
    if (unknown == 0)
        return LW_OK;
    for (size_t i = first; i < chain->count; i++) {
        evidence *seen = &sampler->evidence[i];
        if (seen->shim || seen->known != NULL)
            continue;
        lw_status status = lw_codes_learn(sampler->codes, sampler->memory, seen->frame.code);
        if (status != LW_OK)
            return status == LW_FAULT ? LW_TORN : status;
    }
    return LW_FAULT;
}

/* ---- from frames to a number ---- */

/* The stack that ends with this frame on top of `parent`; `parent` itself for a frame that is not shown. */
static lw_status intern_link(lw_sampler *sampler, const evidence *seen, uint32_t parent, uint32_t *stack)
{
    int32_t unit;
    uint32_t frame;
    *stack = parent;
    if (seen->shim)
        return LW_OK;
    lw_status status = lw_code_unit(seen->known, &seen->frame, &unit);
    if (status != LW_OK)
        return status;
    if (lw_code_incomplete(seen->known, &seen->frame, unit))
        return LW_OK;
    status = lw_codes_place(sampler->codes, sampler->memory, seen->known, unit, &frame);
    if (status != LW_OK)
        return status;
    return lw_intern_stack(sampler->intern, parent, frame, stack);
}

/* Intern the frames from the outermost in; what is as it was in the last sample costs nothing. The loop's own frame
   is left out unless there is no other. */
static lw_status intern_chain(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, size_t first,
                              uint32_t *stack)
{
    uint32_t parent = LW_NONE;
    bool same_so_far = true;
    size_t outermost = chain->count - 1;
    if (outermost > first && lw_thread_view_is_base(view, &sampler->evidence[outermost].frame))
        outermost--;
    for (size_t i = outermost + 1; i-- > first;) {
        lw_link *link = &chain->links[i];
        const evidence *seen = &sampler->evidence[i];
        uint32_t serial = seen->shim ? UINT32_MAX : seen->known->serial;
        same_so_far =
            same_so_far && link->serial == serial && link->frame.instruction == seen->frame.instruction;
        if (!same_so_far) {
            lw_status status = intern_link(sampler, seen, parent, &link->stack);
            if (status != LW_OK) {
                link->serial = 0;
                return status;
            }
            link->serial = serial;
        }
        link->frame = seen->frame;
        parent = link->stack;
    }
    *stack = parent;
    return parent == LW_NONE ? LW_TORN : LW_OK;
}

/* ---- one sample ---- */

/* One gather and its verdict. LW_OK: *stack is set. LW_TORN: try again. LW_FAULT: code was learnt, try again for
   free. Anything else ends the sample. */
static lw_status try_once(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    script script;
    if (chain->count == 0)
        learn_chain(sampler, view, chain);
    if (chain->count == 0)
        return LW_TORN;
    lw_status status = gather(sampler, view, chain, &script);
    if (status == LW_FAULT) {
        /* An everyday event: calls at the edge of a data-stack chunk map and unmap it. */
        learn_chain(sampler, view, chain);
        return LW_TORN;
    }
    if (status != LW_OK)
        return status;
    if (memcmp(sampler->bytes + script.context_before, sampler->bytes + script.context_after,
               LW_CONTEXT_BYTES) != 0)
        return LW_TORN;
    uintptr_t current;
    if (lw_current_frame_decode(sampler->bytes + script.current, chain->hint, &current) != LW_OK) {
        learn_chain(sampler, view, chain);
        return LW_TORN;
    }
    size_t first = find_in_chain(chain, 0, current), broken;
    if (first == chain->count) {
        if (current == 0 || walk(sampler, view, chain, 0, current, 0) != LW_OK)
            chain->count = 0;
        return LW_TORN;
    }
    if (!frames_agree(sampler, view, chain, &script, first, &broken)) {
        if (broken < chain->count)
            mend_chain(sampler, view, chain, first, broken);
        return LW_TORN;
    }
    status = prove_codes(sampler, chain, first);
    if (status != LW_OK)
        return status;
    if (!frames_stay(sampler, chain, first))
        return LW_TORN;
    return intern_chain(sampler, view, chain, first, stack);
}

/* After the program has closed our descriptors, where they could not be hidden from it: new ones. */
static lw_status reopen_memory(lw_sampler *sampler)
{
    lw_memory_close(sampler->memory);
    sampler->memory = NULL;
    return lw_memory_open(&sampler->memory);
}

lw_status lw_sampler_take(lw_sampler *sampler, const lw_thread_view *view, lw_chain *chain, uint32_t *stack)
{
    lw_status status = LW_TORN;
    unsigned learnt = 0;
    if (sampler->memory == NULL && reopen_memory(sampler) != LW_OK)
        return LW_SYSTEM;
    for (unsigned failed = 0; failed < TRIES && learnt < LEARNING;) {
        status = try_once(sampler, view, chain, stack);
        if (status == LW_FAULT)
            learnt++;
        else if (status == LW_TORN)
            failed++;
        else
            break;
    }
    if (status == LW_SYSTEM && reopen_memory(sampler) == LW_OK)
        return LW_TORN;
    return status == LW_FAULT ? LW_TORN : status;
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
