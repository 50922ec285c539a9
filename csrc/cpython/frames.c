#include "layout.h" /* Python.h comes first */

#include "frames.h"

#include <string.h>

#define FRAME_SIZE offsetof(_PyInterpreterFrame, localsplus)
_Static_assert(FRAME_SIZE <= LW_FRAME_BYTES, "a frame must fit its buffer");
_Static_assert(offsetof(PyThreadState, context_ver) == offsetof(PyThreadState, context) + sizeof(void *),
               "context and context_ver are read as one piece");

static uintptr_t field(const lw_thread_view *view, size_t offset)
{
    return view->state + offset;
}

static lw_status read_word(lw_memory *memory, uintptr_t address, uintptr_t *out)
{
    return lw_memory_read(memory, &(lw_piece){address, sizeof *out}, 1, out);
}

static _PyInterpreterFrame *running_frame(PyThreadState *state)
{
#if LW_HAS_CFRAME
    return state->cframe->current_frame;
#else
    return state->current_frame;
#endif
}

void lw_thread_view_take(lw_thread_view *out, bool whole)
{
    PyThreadState *state = PyThreadState_Get();
    *out = (lw_thread_view){.state = (uintptr_t)state, .context = (uintptr_t)state->context};
    lw_gil_view_take(&out->gil);
    if (whole)
        return;
    /* The innermost frames of now, not just one: asyncio attaches from within a helper of run_forever that has
       returned when the first callback runs (3.13+). */
    _PyInterpreterFrame *frame = running_frame(state);
    while (frame != NULL && out->base_count < LW_THREAD_BASES) {
        lw_raw_frame raw;
        lw_frame_decode(frame, (uintptr_t)frame, &raw);
        if (!lw_frame_is_shim(&raw)) {
            out->bases[out->base_count].frame = raw.address;
            out->bases[out->base_count].code = raw.code;
            out->base_count++;
        }
        frame = frame->previous;
    }
}

void lw_thread_view_leave(lw_thread_view *view)
{
    if (view->context != 0)
        view->context = (uintptr_t)((PyContext *)view->context)->ctx_prev;
}

lw_status lw_thread_view_of(lw_memory *memory, uintptr_t state, const lw_gil_view *gil, lw_thread_view *out,
                            uint64_t *number)
{
    unsigned long native;
    *out = (lw_thread_view){.state = state, .gil = *gil};
    lw_piece piece = {field(out, offsetof(PyThreadState, native_thread_id)), sizeof native};
    lw_status status = lw_memory_read(memory, &piece, 1, &native);
    *number = native;
    return status;
}

bool lw_thread_view_is_base(const lw_thread_view *view, const lw_raw_frame *frame)
{
    for (size_t i = 0; i < view->base_count; i++) {
        if (view->bases[i].frame == frame->address && view->bases[i].code == frame->code)
            return true;
    }
    return false;
}

const volatile uint64_t *lw_thread_context_version(const lw_thread_view *view)
{
    return &((PyThreadState *)view->state)->context_ver;
}

lw_piece lw_thread_context_piece(const lw_thread_view *view)
{
    return (lw_piece){field(view, offsetof(PyThreadState, context)), LW_CONTEXT_BYTES};
}

void lw_thread_context_decode(const void *bytes, uintptr_t *context, uint64_t *version)
{
    memcpy(context, bytes, sizeof *context);
    memcpy(version, (const char *)bytes + sizeof *context, sizeof *version);
}

#if LW_HAS_CFRAME

size_t lw_current_frame_pieces(const lw_thread_view *view, const lw_current_hint *hint,
                               lw_piece out[LW_CURRENT_PIECES])
{
    /* The pointer to the C frame before and after: between them its content belonged to the running code. */
    out[0] = out[3] = (lw_piece){field(view, offsetof(PyThreadState, cframe)), sizeof(uintptr_t)};
    for (size_t i = 0; i < 2; i++) {
        out[1 + i] = out[0];
        if (hint->cframes[i] != 0)
            out[1 + i].address = hint->cframes[i] + offsetof(_PyCFrame, current_frame);
    }
    return 4;
}

lw_status lw_current_frame_decode(const void *bytes, lw_current_hint *hint, uintptr_t *frame)
{
    uintptr_t words[4];
    memcpy(words, bytes, sizeof words);
    if (words[0] == words[3] && (words[0] == hint->cframes[0] || words[0] == hint->cframes[1])) {
        *frame = words[words[0] == hint->cframes[0] ? 1 : 2];
        return LW_OK;
    }
    if (words[3] != hint->cframes[0] && words[3] != hint->cframes[1])
        *hint = (lw_current_hint){{words[3], hint->cframes[0]}};
    return LW_TORN;
}

lw_status lw_current_frame_find(lw_memory *memory, const lw_thread_view *view, uintptr_t *frame)
{
    uintptr_t cframe;
    lw_status status = read_word(memory, field(view, offsetof(PyThreadState, cframe)), &cframe);
    if (status != LW_OK)
        return status;
    return read_word(memory, cframe + offsetof(_PyCFrame, current_frame), frame);
}

#else

size_t lw_current_frame_pieces(const lw_thread_view *view, const lw_current_hint *hint,
                               lw_piece out[LW_CURRENT_PIECES])
{
    (void)hint;
    out[0] = (lw_piece){field(view, offsetof(PyThreadState, current_frame)), sizeof(uintptr_t)};
    return 1;
}

lw_status lw_current_frame_decode(const void *bytes, lw_current_hint *hint, uintptr_t *frame)
{
    (void)hint;
    memcpy(frame, bytes, sizeof *frame);
    return LW_OK;
}

lw_status lw_current_frame_find(lw_memory *memory, const lw_thread_view *view, uintptr_t *frame)
{
    return read_word(memory, field(view, offsetof(PyThreadState, current_frame)), frame);
}

#endif

lw_status lw_frame_chunk_find(lw_memory *memory, const lw_thread_view *view, uintptr_t *low, uintptr_t *high)
{
    /* The chunk's frames end at datastack_top (Include/cpython/pystate.h, _PyStackChunk). */
    const lw_piece pieces[] = {
        {field(view, offsetof(PyThreadState, datastack_chunk)), sizeof *low},
        {field(view, offsetof(PyThreadState, datastack_top)), sizeof *high},
    };
    uintptr_t words[2];
    lw_status status = lw_memory_read(memory, pieces, 2, words);
    if (status != LW_OK)
        return status;
    if (words[0] == 0 || words[1] <= words[0])
        return LW_FAULT;
    *low = words[0] + offsetof(_PyStackChunk, data);
    *high = words[1];
    return *low < *high ? LW_OK : LW_FAULT;
}

bool lw_frame_on_stack(lw_memory *memory, const lw_thread_view *view, uintptr_t address)
{
    enum { CHUNKS = 64 }; /* further ones were freed while they were read */
    uintptr_t low, high, chunk;
    if (lw_frame_chunk_find(memory, view, &low, &high) != LW_OK)
        return false;
    for (unsigned n = 0; n < CHUNKS; n++) {
        if (address >= low && address < high)
            return true;
        /* An older one: its `top` counts words (Python/pystate.c, push_chunk). */
        lw_piece previous = {low - offsetof(_PyStackChunk, data) + offsetof(_PyStackChunk, previous),
                             sizeof chunk};
        _PyStackChunk older;
        if (lw_memory_read(memory, &previous, 1, &chunk) != LW_OK || chunk == 0)
            return false;
        lw_piece head = {chunk, offsetof(_PyStackChunk, data)};
        if (lw_memory_read(memory, &head, 1, &older) != LW_OK || older.top > older.size)
            return false;
        low = chunk + offsetof(_PyStackChunk, data);
        high = low + older.top * sizeof(PyObject *);
    }
    return false;
}

size_t lw_frame_size(void)
{
    return FRAME_SIZE;
}

void lw_frame_decode(const void *bytes, uintptr_t address, lw_raw_frame *out)
{
    const _PyInterpreterFrame *frame = bytes;
    out->address = address;
    out->code = lw_layout_frame_code(frame);
    out->instruction = lw_layout_frame_instruction(frame);
    out->previous = (uintptr_t)frame->previous;
    out->slots = lw_layout_frame_slots(frame, address);
    out->owner = (uint8_t)frame->owner;
    out->entered = lw_layout_frame_entered(frame);
    out->running = lw_layout_frame_running(frame);
}

bool lw_frame_is_shim(const lw_raw_frame *frame)
{
    return frame->owner >= LW_LAYOUT_FIRST_SHIM_OWNER;
}

bool lw_frame_called_directly(const lw_raw_frame *caller, const lw_raw_frame *callee)
{
    return !callee->entered && !lw_frame_is_shim(callee) && !lw_frame_is_shim(caller);
}

intptr_t lw_frame_slots(const lw_raw_frame *frame)
{
    return frame->running ? INTPTR_MAX : frame->slots;
}

bool lw_frame_same(const lw_raw_frame *one, const lw_raw_frame *other, bool moves)
{
    return one->code == other->code && one->previous == other->previous && one->owner == other->owner &&
           (moves || (one->instruction == other->instruction && one->slots == other->slots));
}

bool lw_frame_is_generator(const lw_raw_frame *frame)
{
    return frame->owner == FRAME_OWNED_BY_GENERATOR;
}
