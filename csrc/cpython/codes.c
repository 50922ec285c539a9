#include "layout.h" /* Python.h comes first */

#include "codes.h"

#include <stdlib.h>

#include "str.h"

enum {
    TABLE_LEAST = 512, /* entries, a power of two */
    TABLE_MOST = 1 << 16,
    PLACES = 4096,             /* a power of two */
    LINE_TABLE_MOST = 8 << 20, /* bytes; beyond that a frame shows the first line of its function */
    CONTENT = 192,             /* bytes of line table and name that tell 3.11's code objects apart */
    CODE_HEADER = offsetof(PyCodeObject, co_code_adaptive),
};

typedef struct place {
    uint32_t serial; /* 0: free */
    int32_t unit;
    lw_code_place place;
} place;

struct lw_codes {
    lw_intern *intern;    /* borrowed */
    lw_known_code *table; /* owned; open addressing */
    uint32_t capacity, count;
    uint32_t serial;      /* the last one given */
    place places[PLACES]; /* direct mapped: a collision costs one line table read */
    uint8_t *line_table;  /* owned; scratch */
    size_t line_table_room;
    lw_str file, name; /* scratch */
};

static uint32_t slot_of(const lw_codes *codes, uintptr_t address)
{
    uint64_t mixed = (uint64_t)(address >> 4) * UINT64_C(0x9E3779B97F4A7C15);
    return (uint32_t)(mixed >> 32) & (codes->capacity - 1);
}

/* The entry for an address: the one that has it, or the free one where it belongs. */
static lw_known_code *entry_for(const lw_codes *codes, uintptr_t address)
{
    uint32_t slot = slot_of(codes, address);
    while (codes->table[slot].address != 0 && codes->table[slot].address != address)
        slot = (slot + 1) & (codes->capacity - 1);
    return &codes->table[slot];
}

lw_status lw_codes_create(lw_codes **out, lw_intern *intern)
{
    lw_codes *codes = calloc(1, sizeof *codes);
    if (codes == NULL)
        return LW_NO_MEMORY;
    codes->intern = intern;
    codes->capacity = TABLE_LEAST;
    codes->table = calloc(codes->capacity, sizeof *codes->table);
    if (codes->table == NULL) {
        free(codes);
        return LW_NO_MEMORY;
    }
    *out = codes;
    return LW_OK;
}

void lw_codes_destroy(lw_codes *codes)
{
    if (codes == NULL)
        return;
    free(codes->line_table);
    free(codes->table);
    free(codes);
}

void lw_codes_forget(lw_codes *codes)
{
    memset(codes->table, 0, codes->capacity * sizeof *codes->table);
    memset(codes->places, 0, sizeof codes->places);
    codes->count = 0;
}

const lw_known_code *lw_codes_find(const lw_codes *codes, uintptr_t address)
{
    const lw_known_code *entry = entry_for(codes, address);
    return entry->address == address ? entry : NULL;
}

static lw_status grow(lw_codes *codes)
{
    /* As full as table.h's: of a program with ten thousand functions this is the largest table by far. */
    if (codes->count < codes->capacity / 4 * 3)
        return LW_OK;
    if (codes->capacity == TABLE_MOST)
        return LW_FULL;
    lw_known_code *old = codes->table;
    uint32_t old_capacity = codes->capacity;
    lw_known_code *table = calloc(2 * (size_t)old_capacity, sizeof *table);
    if (table == NULL)
        return LW_NO_MEMORY;
    codes->table = table;
    codes->capacity = 2 * old_capacity;
    for (uint32_t i = 0; i < old_capacity; i++) {
        if (old[i].address != 0)
            *entry_for(codes, old[i].address) = old[i];
    }
    free(old);
    return LW_OK;
}

static bool code_alive(const PyCodeObject *code)
{
    return code->ob_base.ob_base.ob_type == &PyCode_Type &&
           lw_layout_reference_count_alive(&code->ob_base.ob_base) && code->ob_base.ob_size >= 0;
}

#if LW_HAS_CODE_VERSION

#define PROOF_HEADER (offsetof(PyCodeObject, co_version) + sizeof(uint32_t))
_Static_assert(PROOF_HEADER <= LW_PROOF_BYTES, "a proof must fit its buffer");

size_t lw_code_before_pieces(uintptr_t address, lw_piece out[1])
{
    (void)address, (void)out;
    return 0;
}

size_t lw_code_proof_pieces(const lw_known_code *known, uintptr_t address, lw_piece out[LW_PROOF_PIECES])
{
    (void)known;
    out[0] = (lw_piece){address, PROOF_HEADER};
    return 1;
}

lw_status lw_code_prove(const lw_known_code *known, const void *before, const void *proof)
{
    (void)before;
    const PyCodeObject *code = proof;
    if (!code_alive(code))
        return LW_TORN;
    return known != NULL && known->identity == lw_layout_code_version(code) ? LW_OK : LW_FAULT;
}

/* 0 is the version of the interpreter's own code (3.13 puts a frame of it under each constructor), which is never
   freed, so its address says enough; and what is given when there are no numbers left (2^32 code objects): such a code
   is never known, since nothing tells it from the next one. */
static lw_status read_identity(lw_memory *memory, const lw_known_code *known, const PyCodeObject *code,
                               uint64_t *identity)
{
    (void)memory, (void)known;
    *identity = lw_layout_code_version(code);
    return *identity != 0 || lw_layout_immortal(&code->ob_base.ob_base) ? LW_OK : LW_TORN;
}

#else

#define PROOF_HEADER (offsetof(PyCodeObject, co_linetable) + sizeof(PyObject *))
_Static_assert(PROOF_HEADER + 2 * CONTENT <= LW_PROOF_BYTES, "a proof must fit its buffer");

static size_t content_size(uint32_t size)
{
    return size < CONTENT ? size : CONTENT;
}

static size_t content_pieces(const lw_known_code *known, lw_piece out[2])
{
    out[0] = (lw_piece){known->line_table + offsetof(PyBytesObject, ob_sval),
                        content_size(known->line_table_size)};
    out[1] = (lw_piece){known->name + sizeof(PyASCIIObject), content_size(known->name_size)};
    return 2;
}

static uint64_t content_hash(const lw_known_code *known, const uint8_t *bytes)
{
    uint64_t hash = (uint64_t)known->line_table_size << 32 | known->name_size;
    size_t size = content_size(known->line_table_size) + content_size(known->name_size);
    for (; size >= 8; size -= 8, bytes += 8) {
        uint64_t word;
        memcpy(&word, bytes, sizeof word);
        hash = (hash ^ word) * UINT64_C(0x9E3779B97F4A7C15);
        hash ^= hash >> 29;
    }
    while (size-- > 0)
        hash = (hash ^ *bytes++) * UINT64_C(0x100000001B3);
    return hash;
}

size_t lw_code_before_pieces(uintptr_t address, lw_piece out[1])
{
    out[0] = (lw_piece){address, PROOF_HEADER};
    return 1;
}

size_t lw_code_proof_pieces(const lw_known_code *known, uintptr_t address, lw_piece out[LW_PROOF_PIECES])
{
    out[0] = (lw_piece){address, PROOF_HEADER};
    return known == NULL ? 1 : 1 + content_pieces(known, out + 1);
}

lw_status lw_code_prove(const lw_known_code *known, const void *before, const void *proof)
{
    const PyCodeObject *first = before, *code = proof;
    if (!code_alive(first) || !code_alive(code))
        return LW_TORN;
    /* Reference counts differ from moment to moment; everything behind them must not. */
    size_t count = sizeof(Py_ssize_t);
    if (memcmp((const char *)first + count, (const char *)code + count, PROOF_HEADER - count) != 0)
        return LW_TORN;
    if (known == NULL || (uintptr_t)code->co_linetable != known->line_table ||
        (uintptr_t)code->co_qualname != known->name || code->co_firstlineno != known->first_line)
        return LW_FAULT;
    return content_hash(known, (const uint8_t *)proof + PROOF_HEADER) == known->identity ? LW_OK : LW_FAULT;
}

static lw_status read_identity(lw_memory *memory, const lw_known_code *known, const PyCodeObject *code,
                               uint64_t *identity)
{
    (void)code;
    lw_piece pieces[2];
    uint8_t bytes[2 * CONTENT];
    lw_status status = lw_memory_read(memory, pieces, content_pieces(known, pieces), bytes);
    *identity = content_hash(known, bytes);
    return status;
}

#endif

typedef union code_header {
    PyCodeObject code; /* only up to co_code_adaptive */
    char bytes[CODE_HEADER];
} code_header;

static lw_status read_header(lw_memory *memory, uintptr_t address, code_header *out)
{
    lw_status status = lw_memory_read(memory, &(lw_piece){address, CODE_HEADER}, 1, out);
    if (status != LW_OK)
        return status;
    return code_alive(&out->code) ? LW_OK : LW_TORN;
}

static bool same_code(const PyCodeObject *a, const PyCodeObject *b)
{
    return lw_layout_code_version(a) == lw_layout_code_version(b) && a->co_filename == b->co_filename &&
           a->co_qualname == b->co_qualname && a->co_linetable == b->co_linetable &&
           a->co_firstlineno == b->co_firstlineno;
}

/* The sizes of the line table and of the name's characters. */
static lw_status read_sizes(lw_memory *memory, const PyCodeObject *code, lw_known_code *known)
{
    PyVarObject bytes;
    PyASCIIObject text;
    known->line_table = (uintptr_t)code->co_linetable;
    known->name = (uintptr_t)code->co_qualname;
    lw_status status = lw_memory_read(memory, &(lw_piece){known->line_table, sizeof bytes}, 1, &bytes);
    if (status == LW_OK)
        status = lw_memory_read(memory, &(lw_piece){known->name, sizeof text}, 1, &text);
    if (status != LW_OK)
        return status;
    if (bytes.ob_base.ob_type != &PyBytes_Type || text.ob_base.ob_type != &PyUnicode_Type)
        return LW_TORN;
    if (bytes.ob_size < 0 || bytes.ob_size > UINT32_MAX || text.length < 0 || text.length > UINT32_MAX / 4)
        return LW_TORN;
    known->line_table_size = (uint32_t)bytes.ob_size;
    known->name_size = (uint32_t)(text.length * text.state.kind);
    return LW_OK;
}

lw_status lw_codes_learn(lw_codes *codes, lw_memory *memory, uintptr_t address)
{
    code_header header, again;
    lw_known_code known = {.address = address};
    lw_status status = grow(codes);
    if (status == LW_OK)
        status = read_header(memory, address, &header);
    if (status == LW_OK)
        status = lw_str_read(memory, (uintptr_t)header.code.co_filename, &codes->file);
    if (status == LW_OK)
        status = lw_str_read(memory, (uintptr_t)header.code.co_qualname, &codes->name);
    if (status == LW_OK)
        status = read_sizes(memory, &header.code, &known);
    if (status == LW_OK)
        status = read_identity(memory, &known, &header.code, &known.identity);
    /* Still the same and alive after its strings were read: they were its own. */
    if (status == LW_OK)
        status = read_header(memory, address, &again);
    if (status == LW_OK && !same_code(&header.code, &again.code))
        status = LW_TORN;
    if (status != LW_OK)
        return status;
    known.first_line = header.code.co_firstlineno;
    known.units = (uint32_t)header.code.ob_base.ob_size;
    known.locals = (uint32_t)header.code.co_nlocalsplus;
    known.first_traceable = (uint32_t)header.code._co_firsttraceable;
    status = lw_intern_code(codes->intern, codes->file.bytes, codes->file.size, codes->name.bytes,
                            codes->name.size, (uint32_t)known.first_line, &known.intern);
    if (status != LW_OK)
        return status;
    known.serial = ++codes->serial;
    lw_known_code *entry = entry_for(codes, address);
    codes->count += entry->address == 0;
    *entry = known;
    return LW_OK;
}

lw_status lw_code_unit(const lw_known_code *known, const lw_raw_frame *frame, int32_t *unit)
{
    intptr_t offset = (intptr_t)(frame->instruction - (known->address + CODE_HEADER));
    /* 3.11 and 3.12 point one unit before the code at its start. */
    if (offset < -2 || offset % 2 != 0 || offset / 2 >= (intptr_t)known->units)
        return LW_TORN;
    *unit = (int32_t)(offset / 2);
    return LW_OK;
}

bool lw_code_incomplete(const lw_known_code *known, const lw_raw_frame *frame, int32_t unit)
{
    return !lw_frame_is_generator(frame) && unit < (int32_t)known->first_traceable;
}

/* The line table into codes->line_table; afterwards the code must still be the known one. */
static lw_status read_line_table(lw_codes *codes, lw_memory *memory, const lw_known_code *known)
{
    if (known->line_table_size > LINE_TABLE_MOST)
        return LW_FULL;
    if (known->line_table_size > codes->line_table_room) {
        uint8_t *room = realloc(codes->line_table, known->line_table_size);
        if (room == NULL)
            return LW_NO_MEMORY;
        codes->line_table = room;
        codes->line_table_room = known->line_table_size;
    }
    uintptr_t start = known->line_table + offsetof(PyBytesObject, ob_sval);
    code_header header;
    uint64_t identity;
    lw_status status =
        lw_memory_read(memory, &(lw_piece){start, known->line_table_size}, 1, codes->line_table);
    if (status == LW_OK)
        status = read_header(memory, known->address, &header);
    if (status == LW_OK)
        status = read_identity(memory, known, &header.code, &identity);
    if (status != LW_OK)
        return status;
    return identity == known->identity ? LW_OK : LW_TORN;
}

static uint32_t known_or_none(int32_t number)
{
    return number < 0 ? LW_NONE : (uint32_t)number;
}

static lw_status find_place(lw_codes *codes, lw_memory *memory, const lw_known_code *known, int32_t unit,
                            lw_place *out)
{
    *out = (lw_place){known->first_line, known->first_line, LW_LINE_NONE, LW_LINE_NONE};
    if (unit < 0)
        return LW_OK;
    lw_status status = read_line_table(codes, memory, known);
    if (status == LW_FULL)
        return LW_OK;
    if (status != LW_OK)
        return status;
    return lw_lines_find(codes->line_table, known->line_table_size, known->first_line, (uint32_t)unit, true,
                         out);
}

static lw_status read_leaves(lw_memory *memory, const lw_known_code *known, int32_t unit, bool *leaves)
{
    uint8_t opcode;
    *leaves = false;
    if (unit < 0)
        return LW_OK;
    uintptr_t address = known->address + CODE_HEADER + 2 * (uintptr_t)unit;
    lw_status status = lw_memory_read(memory, &(lw_piece){address, 1}, 1, &opcode);
    if (status == LW_OK)
        *leaves = lw_layout_instruction_leaves(opcode);
    return status;
}

lw_status lw_codes_place(lw_codes *codes, lw_memory *memory, const lw_known_code *known, int32_t unit,
                         lw_code_place *out)
{
    place *cached = &codes->places[(known->serial * UINT32_C(2654435761) + (uint32_t)unit) % PLACES];
    if (cached->serial == known->serial && cached->unit == unit) {
        *out = cached->place;
        return LW_OK;
    }
    lw_place found;
    lw_status status = read_leaves(memory, known, unit, &out->leaves);
    if (status == LW_OK)
        status = find_place(codes, memory, known, unit, &found);
    if (status != LW_OK)
        return status;
    status = lw_intern_frame(codes->intern,
                             &(lw_frame){
                                 .code = known->intern,
                                 .line = known_or_none(found.line),
                                 .end_line = known_or_none(found.end_line),
                                 .column = known_or_none(found.column),
                                 .end_column = known_or_none(found.end_column),
                             },
                             &out->frame);
    if (status == LW_OK)
        *cached = (place){known->serial, unit, *out};
    return status;
}

bool lw_code_frame_alive(const lw_known_code *known, intptr_t slots)
{
    return slots >= (intptr_t)known->locals;
}

bool lw_code_can_call(const lw_known_code *known, const lw_raw_frame *frame, bool leaves)
{
    return !frame->running && lw_code_frame_alive(known, frame->slots) && !leaves;
}

bool lw_code_awaits(lw_memory *memory, const lw_raw_frame *frame)
{
    uint8_t unit[sizeof(_Py_CODEUNIT)];
    lw_piece next = {lw_layout_next_instruction(frame->instruction), sizeof unit};
    return lw_frame_is_generator(frame) && !frame->running &&
           lw_memory_read(memory, &next, 1, unit) == LW_OK && lw_layout_instruction_awaited(unit[0], unit[1]);
}

bool lw_code_is_quick(lw_memory *memory, uintptr_t instruction)
{
    uint8_t opcode;
    return lw_memory_read(memory, &(lw_piece){instruction, sizeof opcode}, 1, &opcode) == LW_OK &&
           lw_layout_instruction_is_quick(opcode);
}
