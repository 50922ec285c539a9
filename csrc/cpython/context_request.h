/* Which request a context works for, read without the GIL out of memory that may vanish. No Python.h here.

   A context's variables are a HAMT (Python/hamt.c): bitmap nodes and array nodes, five bits of the 32-bit folded hash
   a level. What its node types are is learnt at import from real contexts. The value found is proven by its type. A
   variable that is not found may be missed for once: ContextVar.set moves no version, and a freed table's address comes
   back; so whoever asks again soon need not believe the first "none". */
#ifndef LW_CPYTHON_CONTEXT_REQUEST_H
#define LW_CPYTHON_CONTEXT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "../os/memory.h"
#include "../status.h"

/* Addresses of types and of the variable; borrowed, they live as long as the process. */
typedef struct lw_context_types {
    uintptr_t context, table, bitmap, array, badge;
    uintptr_t variable;
    uint32_t hash; /* of the variable, folded as hamt.c does */
} lw_context_types;

/* What is learnt so far; NULL before. Any thread. */
const lw_context_types *lw_context_learnt(void);

typedef struct lw_seen_request {
    uint64_t number; /* 0: the context belongs to no request */
    uint32_t slot;
    uint32_t endpoint;
    bool stepping; /* its own time was running: it is no child task */
} lw_seen_request;

/* The request that `context`, the address of a context object, works for. LW_OK also when there is none; LW_TORN,
   LW_FAULT: it cannot be told. Only when something is learnt. Any thread, without the GIL. */
lw_status lw_context_request(lw_memory *memory, uintptr_t context, lw_seen_request *out);

/* Where the table of a context's variables is: another place whenever one of them is set or reset. 0: there is none, or it
   cannot be read. Likewise. */
uintptr_t lw_context_variables(lw_memory *memory, uintptr_t context);

#endif
