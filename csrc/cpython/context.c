#include "layout.h" /* Python.h comes first */

#include "context.h"

#include "../request_clock.h"

enum { LEVELS_MOST = 7, BITS = 5 };

/* As in Python/hamt.c, which keeps them to itself. */
typedef struct bitmap_node {
    PyObject_VAR_HEAD uint32_t bitmap;
    PyObject *array[1]; /* key and value, or NULL and a deeper node */
} bitmap_node;

typedef struct array_node {
    PyObject_HEAD PyObject *array[32];
    Py_ssize_t count;
} array_node;

static lw_context_types types;
static size_t clock_offset; /* of lw_request_clock in a Request */
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

int lw_context_learn(PyObject *one_variable, PyObject *many_variables, PyObject *variable,
                     PyTypeObject *request, size_t offset)
{
    Py_hash_t hash = PyObject_Hash(variable);
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
        .request = (uintptr_t)request,
        .variable = (uintptr_t)variable,
        .hash = folded_hash(hash),
    };
    Py_INCREF(variable);
    Py_INCREF(request);
    clock_offset = offset;
    learnt = types.bitmap != types.array;
    return 0;
}

const lw_context_types *lw_context_learnt(void)
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
static lw_status look_in_bitmap(lw_memory *memory, uintptr_t node, const bitmap_node *head, uint32_t bit,
                                uintptr_t *next, uintptr_t *value)
{
    if (!(head->bitmap & UINT32_C(1) << bit))
        return LW_OK;
    uint32_t below = head->bitmap & ((UINT32_C(1) << bit) - 1);
    size_t index = 0;
    for (; below != 0; below &= below - 1)
        index++;
    uintptr_t pair[2];
    uintptr_t address = node + offsetof(bitmap_node, array) + index * sizeof pair;
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
    for (unsigned level = 0; level < LEVELS_MOST; level++) {
        bitmap_node head;
        uint32_t bit = types.hash >> (level * BITS) & 31;
        uintptr_t next = 0;
        lw_status status = read_bytes(memory, node, &head, offsetof(bitmap_node, array));
        if (status != LW_OK)
            return status;
        if (is_a((PyObject *)&head, types.bitmap))
            status = look_in_bitmap(memory, node, &head, bit, &next, value);
        else if (is_a((PyObject *)&head, types.array))
            status = read_bytes(memory, node + offsetof(array_node, array) + bit * sizeof next, &next,
                                sizeof next);
        else
            status = LW_TORN; /* a collision node, or no node at all */
        if (status != LW_OK || *value != 0 || next == 0)
            return status;
        node = next;
    }
    return LW_TORN;
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
    if (status != LW_OK || value == 0)
        return status;
    PyObject object;
    lw_request_clock clock;
    const lw_piece pieces[] = {{value, sizeof object}, {value + clock_offset, sizeof clock}};
    char bytes[sizeof object + sizeof clock];
    status = lw_memory_read(memory, pieces, 2, bytes);
    if (status != LW_OK)
        return status;
    memcpy(&object, bytes, sizeof object);
    memcpy(&clock, bytes + sizeof object, sizeof clock);
    if (!is_a(&object, types.request))
        return LW_TORN;
    *out = (lw_seen_request){clock.number, clock.slot, clock.endpoint, clock.since_ns != 0};
    return LW_OK;
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
