#include "layout.h" /* Python.h comes first */

#include "context.h"

#include "../hot.h"
#include "badge.h"
#include "hamt.h"

static lw_context_types types;
static bool learnt;

static uint32_t folded_hash(Py_hash_t hash)
{
    int32_t folded = (int32_t)((uint64_t)hash & UINT32_MAX) ^ (int32_t)((uint64_t)hash >> 32);
    return (uint32_t)(folded == -1 ? -2 : folded);
}

static PyHamtObject *table_of(PyObject *context)
{
    return ((PyContext *)context)->ctx_vars;
}

int lw_context_learn(PyObject *one_variable, PyObject *many_variables)
{
    PyObject *variable = lw_badge_variable();
    Py_hash_t hash = PyObject_Hash(variable);
    Py_DECREF(variable); /* badge.c keeps it for ever */
    if (hash == -1 && PyErr_Occurred())
        return -1;
    if (!PyContext_CheckExact(one_variable) || !PyContext_CheckExact(many_variables)) {
        PyErr_SetString(PyExc_TypeError, "two contexts are needed");
        return -1;
    }
    types = (lw_context_types){
        .context = (uintptr_t)Py_TYPE(one_variable),
        .table = (uintptr_t)Py_TYPE(table_of(one_variable)),
        .bitmap = (uintptr_t)Py_TYPE(table_of(one_variable)->h_root),
        .array = (uintptr_t)Py_TYPE(table_of(many_variables)->h_root),
        .badge = (uintptr_t)&lw_badge_type,
        .variable = (uintptr_t)variable,
        .hash = folded_hash(hash),
    };
    learnt = types.bitmap != types.array;
    return 0;
}

LW_HOT const lw_context_types *lw_context_learnt(void)
{
    return learnt ? &types : NULL;
}

static lw_status read_bytes(lw_memory *memory, uintptr_t address, void *into, size_t size)
{
    return lw_memory_read(memory, &(lw_piece){address, size}, 1, into);
}

static bool is_a(const PyObject *object, uintptr_t type)
{
    return (uintptr_t)Py_TYPE(object) == type;
}

/* One level: *next is the deeper node, or *value what the variable holds; both 0: it is not there. */
static lw_status look_in_bitmap(lw_memory *memory, uintptr_t node, const lw_hamt_bitmap *head, unsigned bit,
                                uintptr_t *next, uintptr_t *value)
{
    size_t index;
    if (!lw_hamt_pair(head->bitmap, bit, &index))
        return LW_OK;
    uintptr_t pair[2];
    uintptr_t address = node + offsetof(lw_hamt_bitmap, array) + index * sizeof pair[0];
    lw_status status = read_bytes(memory, address, pair, sizeof pair);
    if (status != LW_OK)
        return status;
    if (pair[0] == 0)
        *next = pair[1];
    else if (pair[0] == types.variable)
        *value = pair[1];
    return LW_OK;
}

static lw_status find_value(lw_memory *memory, uintptr_t node, uintptr_t *value)
{
    *value = 0;
    for (unsigned level = 0; level < LW_HAMT_LEVELS; level++) {
        lw_hamt_bitmap head;
        unsigned bit = lw_hamt_bit(types.hash, level);
        uintptr_t next = 0;
        lw_status status = read_bytes(memory, node, &head, offsetof(lw_hamt_bitmap, array));
        if (status != LW_OK)
            return status;
        if (is_a((PyObject *)&head, types.bitmap))
            status = look_in_bitmap(memory, node, &head, bit, &next, value);
        else if (is_a((PyObject *)&head, types.array))
            status = read_bytes(memory, node + offsetof(lw_hamt_array, array) + bit * sizeof next, &next,
                                sizeof next);
        else
            status = LW_TORN; /* a collision node, or no node at all */
        if (status != LW_OK || *value != 0 || next == 0)
            return status;
        node = next;
    }
    return LW_TORN;
}

/* A badge that is handed on meanwhile shows another number before than after. */
static lw_status read_badge(lw_memory *memory, uintptr_t address, lw_seen_request *out)
{
    enum { HEAD = offsetof(lw_badge, clock), CLOCK = offsetof(lw_request_clock, own_ns) };
    lw_badge badge;
    uint64_t after;
    const lw_piece pieces[] = {
        {address, HEAD},
        {address + HEAD, CLOCK},
        {address + offsetof(lw_badge, number), sizeof after},
    };
    char bytes[HEAD + CLOCK + sizeof after];
    lw_status status = lw_memory_read(memory, pieces, 3, bytes);
    if (status != LW_OK)
        return status;
    memcpy(&badge, bytes, HEAD + CLOCK);
    memcpy(&after, bytes + HEAD + CLOCK, sizeof after);
    uint64_t number = atomic_load_explicit(&badge.number, memory_order_relaxed);
    if (!is_a((PyObject *)&badge, types.badge) || number != after)
        return LW_TORN;
    if (number != 0)
        *out = (lw_seen_request){number, badge.clock.slot, badge.clock.endpoint, badge.clock.since_ns != 0};
    return LW_OK;
}

lw_status lw_context_request(lw_memory *memory, uintptr_t context, lw_seen_request *out)
{
    PyContext head;
    PyHamtObject table;
    uintptr_t value;
    *out = (lw_seen_request){0};
    if (context == 0)
        return LW_OK;
    lw_status status = read_bytes(memory, context, &head, sizeof head);
    if (status != LW_OK)
        return status;
    if (!is_a((PyObject *)&head, types.context))
        return LW_TORN;
    status = read_bytes(memory, (uintptr_t)head.ctx_vars, &table, sizeof table);
    if (status != LW_OK)
        return status;
    if (!is_a((PyObject *)&table, types.table))
        return LW_TORN;
    status = find_value(memory, (uintptr_t)table.h_root, &value);
    return status != LW_OK || value == 0 ? status : read_badge(memory, value, out);
}

uintptr_t lw_context_variables(lw_memory *memory, uintptr_t context)
{
    uintptr_t table;
    if (context == 0 ||
        read_bytes(memory, context + offsetof(PyContext, ctx_vars), &table, sizeof table) != LW_OK)
        return 0;
    return table;
}

long long lw_context_here(void)
{
    lw_memory *memory;
    lw_seen_request seen;
    lw_status status = learnt ? lw_memory_open(&memory) : LW_UNSUPPORTED;
    if (status == LW_OK) {
        status = lw_context_request(memory, (uintptr_t)PyThreadState_Get()->context, &seen);
        lw_memory_close(memory);
    }
    if (status == LW_OK)
        return (long long)seen.number;
    PyErr_Format(PyExc_RuntimeError, "the context cannot be read (status %d)", (int)status);
    return -1;
}
