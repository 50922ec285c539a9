/* The dynamic-link slot through which one shared object calls a function of another.
   import_slot_linux.c (ELF: DT_JMPREL and DT_RELA, with RELRO), import_slot_none.c elsewhere; looking up
   a symbol: import_symbol_posix.c, import_symbol_windows.c. */
#ifndef LW_OS_IMPORT_SLOT_H
#define LW_OS_IMPORT_SLOT_H

#include "../status.h"

typedef struct lw_import_slot {
    void **address; /* the slot, in the importing object; borrowed, lives as long as the object */
    void *original; /* the function it led to when it was found, resolved if it was not yet */
    int writable;   /* 0: lies in RELRO, made writable around each write */
} lw_import_slot;

/* The slot for `symbol` in the loaded object that holds the address `inside` (take one of its functions).
   LW_UNSUPPORTED when the object imports no such symbol or the system has no such slots. */
lw_status lw_import_slot_find(const void *inside, const char *symbol, lw_import_slot *out);

/* Let the slot lead to `function` from now on (a single aligned store: callers see the old or the new).
   One thread at a time: slots may share a page whose protection is changed for a moment.
   LW_SYSTEM when the page cannot be made writable; nothing has changed then. */
lw_status lw_import_slot_point(const lw_import_slot *slot, void *function);

/* The address of `symbol` as exported by the shared object at `path` (NULL: by the program itself or any
   of its libraries). The object must be loaded already. NULL when there is none. */
void *lw_import_symbol(const char *path, const char *symbol);

#endif
