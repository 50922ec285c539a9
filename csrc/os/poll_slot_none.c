/* Systems without import slots: the other ways serve. */
#include "../poll.h"

lw_status lw_poll_slot_hook(const char *library, const char *anchor, const char *symbol)
{
    (void)library, (void)anchor, (void)symbol;
    return LW_UNSUPPORTED;
}

void lw_poll_slots_unhook(void)
{
}
