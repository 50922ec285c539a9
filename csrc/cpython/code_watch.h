/* How many code objects have been freed, where the interpreter tells (3.12 and later). As long as none is, the one at an
   address stays the one that it was. */
#ifndef LW_CPYTHON_CODE_WATCH_H
#define LW_CPYTHON_CODE_WATCH_H

#include <stdint.h>

/* Count from now on; again: no effect. Where that cannot be, lw_codes_freed is 0 for ever. With the GIL. */
void lw_code_watch(void);

/* 0: it is not known, so any may have been freed. Any thread, without the GIL. */
uint64_t lw_codes_freed(void);

#endif
