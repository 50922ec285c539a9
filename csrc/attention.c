#include "attention.h"

#include <stddef.h>

#include "hot.h"

LW_HOT_DATA _Atomic uint32_t lw_attention_reasons;
static void (*_Atomic looking)(void);

void lw_attention_call(void (*look)(void))
{
    atomic_store(&looking, look);
}

void lw_attention_raise(void)
{
    void (*look)(void) = atomic_load(&looking);
    atomic_fetch_add(&lw_attention_reasons, 1);
    if (look != NULL)
        look();
}

/* In a child of fork a loop may go on whose reason was forgotten. */
void lw_attention_drop(void)
{
    uint32_t before = atomic_load(&lw_attention_reasons);
    while (before != 0 && !atomic_compare_exchange_weak(&lw_attention_reasons, &before, before - 1)) {
    }
}

void lw_attention_forget(void)
{
    atomic_store(&lw_attention_reasons, 0);
}
