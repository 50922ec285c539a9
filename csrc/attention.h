/* When it matters which requests take steps: while a loop catches up after a stall (who had to wait for it?), and while a
   stall refers to requests that have not said their names. Nothing looks at steps otherwise, since that would cost every
   one of them something. */
#ifndef LW_ATTENTION_H
#define LW_ATTENTION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* `look` is called each time there is one more reason to look at steps, on the thread that has it, with or without the
   GIL. It may be called when somebody looks already. At import. */
void lw_attention_call(void (*look)(void));

/* There is one more reason, or one less. Any thread; each raise has its drop. */
void lw_attention_raise(void);
void lw_attention_drop(void);

extern _Atomic uint32_t lw_attention_reasons; /* how many there are; changed as above only */

/* Whether there is any. Whoever looks may stop when there is none, if he asks again after that. Any thread. */
static inline bool lw_attention_needed(void)
{
    return atomic_load(&lw_attention_reasons) != 0;
}

/* In a child of fork: the reasons were those of threads that it does not have. */
void lw_attention_forget(void);

#endif
