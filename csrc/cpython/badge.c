#include "layout.h" /* Python.h comes first */

#include "badge.h"

#include "../hot.h"
#include "context.h"
#include "hamt.h"

enum {
    KEPT_MOST = 256, /* a power of two */
    LOOKS = 4,       /* at the oldest of them, before another is made */
};

LW_HOT_DATA static PyObject *variable;
static lw_badge *nobody; /* worn where the context cannot be made as it was */

static bool reused;

/* The table that requests begin with, and badges in tables made from it: a ring, since whoever has inherited a badge lets
   go of it in time, as a timer of the connection when the next request comes. */
LW_HOT_DATA static struct {
    PyObject *reference;    /* owned: weak, to the table; NULL: there is none */
    PyObject *table;        /* borrowed: alive as long as the reference has told nothing */
    unsigned oldest, count; /* in the ring */
    bool bare;              /* nothing is worn there */
    const void *last;       /* the table that the request before began with, if another; only compared */
} usual;
static lw_badge *kept[KEPT_MOST]; /* the ring */

PyObject *lw_badge_variable(void)
{
    return Py_NewRef(variable);
}

/* ---- tables ---- */

LW_HOT static PyContext *current_context(void)
{
    return (PyContext *)PyThreadState_Get()->context;
}

/* The table of a context: borrowed, NULL: it is none that is known. */
LW_HOT static PyObject *table_of(const PyContext *context)
{
    const lw_context_types *types = lw_context_learnt();
    PyObject *table = types == NULL || context == NULL ? NULL : (PyObject *)context->ctx_vars;
    return table != NULL && (uintptr_t)Py_TYPE(table) == types->table ? table : NULL;
}

/* What a table has for our variable: borrowed, NULL: nothing that can be told. `shared`: whether the table or a node on
   the way belongs to somebody else, too. */
LW_HOT static PyObject *look_up(PyObject *table, bool *shared)
{
    const lw_context_types *types = lw_context_learnt();
    PyObject *node = (PyObject *)((PyHamtObject *)table)->h_root;
    *shared = Py_REFCNT(table) > 1;
    for (unsigned level = 0; node != NULL && level < LW_HAMT_LEVELS; level++) {
        unsigned bit = lw_hamt_bit(types->hash, level);
        *shared |= Py_REFCNT(node) > 1;
        if ((uintptr_t)Py_TYPE(node) == types->array) {
            node = ((lw_hamt_array *)node)->array[bit];
            continue;
        }
        const lw_hamt_bitmap *pairs = (lw_hamt_bitmap *)node;
        size_t index;
        if ((uintptr_t)Py_TYPE(node) != types->bitmap || !lw_hamt_pair(pairs->bitmap, bit, &index))
            return NULL;
        PyObject *key = pairs->array[index], *value = pairs->array[index + 1];
        if (key != NULL)
            return key == variable ? value : NULL;
        node = value;
    }
    return NULL;
}

LW_HOT bool lw_badge_is_shared(const lw_badge *badge)
{
    bool shared;
    if (badge->in_root) {
        const PyHamtObject *table = (PyHamtObject *)badge->with;
        return Py_REFCNT(table) > 1 || Py_REFCNT(table->h_root) > 1 || Py_REFCNT(badge) > 2;
    }
    if (badge->with == NULL || look_up(badge->with, &shared) != (PyObject *)badge)
        return true;
    return shared || Py_REFCNT(badge) > 2; /* the table's and ours */
}

/* Whether the first node of a table has it, so that there is no other on the way. */
static bool is_in_root(PyObject *table, const lw_badge *badge)
{
    const lw_context_types *types = lw_context_learnt();
    const lw_hamt_bitmap *root = (lw_hamt_bitmap *)((PyHamtObject *)table)->h_root;
    size_t index;
    return (uintptr_t)Py_TYPE(root) == types->bitmap &&
           lw_hamt_pair(root->bitmap, lw_hamt_bit(types->hash, 0), &index) &&
           root->array[index + 1] == (PyObject *)badge;
}

/* As Python/context.c does when it sets a variable: the value that it remembers of ours is of another table. Takes the
   reference to the table, and gives the one that the context had. */
LW_HOT static PyObject *exchange(PyContext *context, PyObject *table)
{
    PyObject *before = (PyObject *)context->ctx_vars;
    context->ctx_vars = (PyHamtObject *)table;
    ((PyContextVar *)variable)->var_cached = NULL;
    return before;
}

LW_HOT lw_badge *lw_badge_worn(PyObject *context)
{
    bool shared;
    PyObject *table = table_of((PyContext *)context);
    PyObject *worn = table == NULL ? NULL : look_up(table, &shared);
    return worn != NULL && Py_IS_TYPE(worn, &lw_badge_type) ? (lw_badge *)worn : NULL;
}

/* ---- the usual table ---- */

static void clear(lw_badge *badge)
{
    Py_CLEAR(badge->outer);
    Py_CLEAR(badge->before);
    Py_CLEAR(badge->with);
}

/* Its table refers to it, and it to its table: to let go of it is not enough. */
static void drop(lw_badge *badge)
{
    clear(badge);
    Py_DECREF(badge);
}

LW_HOT static void keep(lw_badge *badge)
{
    kept[(usual.oldest + usual.count++) % KEPT_MOST] = badge;
}

LW_HOT static lw_badge *oldest(void)
{
    lw_badge *badge = kept[usual.oldest];
    usual.oldest = (usual.oldest + 1) % KEPT_MOST;
    usual.count--;
    return badge;
}

/* One that nobody wears any more, NULL: there is none among the oldest. */
LW_HOT static lw_badge *take_kept(void)
{
    for (unsigned look = 0; look < LOOKS && usual.count > 0; look++) {
        lw_badge *badge = oldest();
        if (!lw_badge_is_shared(badge))
            return badge;
        keep(badge);
    }
    return NULL;
}

void lw_badge_forget(void)
{
    usual.table = NULL;
    Py_CLEAR(usual.reference);
    while (usual.count > 0)
        drop(oldest());
}

bool lw_badge_reuse(bool reuse)
{
    bool before = reused;
    reused = reuse;
    if (!reuse)
        lw_badge_forget();
    return before;
}

/* Called by the weak reference, which may go with it. */
static PyObject *table_ended(PyObject *Py_UNUSED(self), PyObject *reference)
{
    Py_INCREF(reference);
    if (reference == usual.reference)
        lw_badge_forget();
    Py_DECREF(reference);
    Py_RETURN_NONE;
}

/* A request has begun with this table, which its badge has now. If the one before did, too, more will; but not with one
   that nobody else has: the request's own context was given something. Leaves no exception. */
static void note_table(PyObject *table)
{
    static PyMethodDef definition = {"table_ended", table_ended, METH_O, NULL};
    if (!reused || table == usual.table || Py_REFCNT(table) == 1)
        return;
    if (table != usual.last) {
        usual.last = table;
        return;
    }
    lw_badge_forget();
    PyObject *callback = PyCFunction_New(&definition, NULL);
    usual.reference = callback == NULL ? NULL : PyWeakref_NewRef(table, callback);
    Py_XDECREF(callback);
    if (usual.reference != NULL) {
        bool shared;
        usual.table = table;
        usual.bare = look_up(table, &shared) == NULL;
    } else {
        PyErr_Clear();
    }
}

/* ---- on and off ---- */

/* The ordinary way. False with an exception. */
static bool set(lw_badge *badge, PyContext *context)
{
    badge->before = Py_XNewRef(table_of(context));
    badge->made_of = badge->before;
    PyObject *token = PyContextVar_Set(variable, (PyObject *)badge);
    if (token == NULL)
        return false;
    PyObject *outer = ((PyContextToken *)token)->tok_oldval;
    if (outer != NULL && Py_IS_TYPE(outer, &lw_badge_type))
        badge->outer = Py_NewRef(outer);
    Py_DECREF(token);
    if (badge->before != NULL) {
        badge->with = Py_XNewRef(table_of(context));
        badge->in_root = badge->with != NULL && is_in_root(badge->with, badge);
        note_table(badge->before);
    }
    return true;
}

static lw_badge *new_badge(void)
{
    lw_badge *badge = PyObject_New(lw_badge, &lw_badge_type);
    if (badge == NULL)
        return NULL;
    atomic_init(&badge->number, 0);
    badge->clock = (lw_request_clock){0};
    badge->wearer = NULL;
    badge->outer = badge->before = badge->with = NULL;
    badge->context = badge->made_of = NULL;
    badge->in_root = false;
    return badge;
}

LW_HOT static void hand_to(lw_badge *badge, struct lw_request *wearer, uint64_t number, uint32_t slot)
{
    atomic_store_explicit(&badge->number, 0, memory_order_relaxed);
    atomic_thread_fence(memory_order_release);
    badge->clock = (lw_request_clock){.number = number, .slot = slot};
    badge->wearer = wearer;
    atomic_store_explicit(&badge->number, number, memory_order_release);
}

LW_SELDOM static lw_badge *put_new_on(struct lw_request *wearer, uint64_t number, uint32_t slot)
{
    lw_badge *badge = new_badge();
    if (badge != NULL) {
        hand_to(badge, wearer, number, slot);
        if (set(badge, current_context())) {
            badge->context = current_context(); /* it is made where there was none */
            return badge;
        }
        drop(badge);
    }
    PyErr_Clear();
    return NULL;
}

LW_HOT static inline bool is_usual(const PyContext *context)
{
    return context != NULL && usual.table != NULL && (PyObject *)context->ctx_vars == usual.table;
}

LW_HOT bool lw_badge_none_here(void)
{
    return is_usual(current_context()) && usual.bare;
}

LW_HOT lw_badge *lw_badge_put_on(struct lw_request *wearer, uint64_t number, uint32_t slot)
{
    PyContext *context = current_context();
    lw_badge *badge = NULL;
    if (is_usual(context)) {
        usual.last = NULL;
        badge = take_kept();
    }
    if (badge == NULL)
        return put_new_on(wearer, number, slot);
    hand_to(badge, wearer, number, slot);
    badge->context = context;
    badge->before = exchange(context, Py_NewRef(badge->with));
    return badge;
}

LW_HOT static inline bool is_put_on_in(const lw_badge *badge, const PyContext *context)
{
    return context != NULL && context == badge->context;
}

LW_HOT bool lw_badge_is_here(const lw_badge *badge)
{
    return is_put_on_in(badge, current_context());
}

/* The request has set variables of its own: they stay. Leaves the exception that is under way. */
LW_SELDOM static void wear_outer(const lw_badge *badge, PyContext *context)
{
    PyObject *kind, *value, *traceback;
    if (table_of(context) != NULL && lw_badge_worn((PyObject *)context) != badge)
        return;
    PyErr_Fetch(&kind, &value, &traceback);
    Py_XDECREF(PyContextVar_Set(variable, badge->outer == NULL ? (PyObject *)nobody : badge->outer));
    PyErr_Clear();
    PyErr_Restore(kind, value, traceback);
}

LW_HOT void lw_badge_take_off(lw_badge *badge)
{
    PyContext *context = current_context();
    if (!is_put_on_in(badge, context))
        return; /* it ends by itself */
    if (badge->before == NULL || badge->with == NULL || (PyObject *)context->ctx_vars != badge->with) {
        wear_outer(badge, context);
        return;
    }
    PyObject *before = badge->before;
    badge->before = NULL;
    Py_DECREF(exchange(context, before));
}

LW_HOT void lw_badge_give_back(lw_badge *badge)
{
    badge->wearer = NULL;
    badge->context = NULL;
    if (badge->made_of == NULL || badge->made_of != usual.table || usual.count == KEPT_MOST) {
        drop(badge);
        return;
    }
    PyObject *before = badge->before;
    badge->before = NULL;
    keep(badge);
    Py_XDECREF(before); /* which may have been the last that the usual table had */
}

/* ---- the type ---- */

static void dealloc(PyObject *self)
{
    clear((lw_badge *)self);
    PyObject_Free(self);
}

PyTypeObject lw_badge_type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "loopwatch._core.Badge",
    .tp_doc = "What a context wears that works for a request.",
    .tp_basicsize = sizeof(lw_badge),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = dealloc,
};

int lw_badge_prepare(void)
{
    if (PyType_Ready(&lw_badge_type) < 0)
        return -1;
    variable = PyContextVar_New("loopwatch.request", NULL);
    nobody = new_badge();
    return variable == NULL || nobody == NULL ? -1 : 0;
}
