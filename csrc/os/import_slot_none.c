/* For systems whose object format has no slots of this kind, or none that we know. */
#include "import_slot.h"

lw_status lw_import_slot_find(const void *inside, const char *symbol, lw_import_slot *out)
{
    (void)inside;
    (void)symbol;
    (void)out;
    return LW_UNSUPPORTED;
}

lw_status lw_import_slot_point(const lw_import_slot *slot, void *function)
{
    (void)slot;
    (void)function;
    return LW_UNSUPPORTED;
}
