#include "attention.h"

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

static _Atomic uint32_t reasons;
static void (*_Atomic looking)(void);

void lw_attention_call(void (*look)(void))
{
    atomic_store(&looking, look);
}

void lw_attention_raise(void)
{
    void (*look)(void) = atomic_load(&looking);
    atomic_fetch_add(&reasons, 1);
    if (look != NULL)
        look();
}

/* In a child of fork a loop may go on whose reason was forgotten. */
void lw_attention_drop(void)
{
    uint32_t before = atomic_load(&reasons);
    while (before != 0 && !atomic_compare_exchange_weak(&reasons, &before, before - 1)) {
    }
}

bool lw_attention_needed(void)
{
    return atomic_load(&reasons) != 0;
}

void lw_attention_forget(void)
{
    atomic_store(&reasons, 0);
}
