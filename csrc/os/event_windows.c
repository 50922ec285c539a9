#include "event.h"

#include <windows.h>

lw_event *lw_event_create(void)
{
    return (lw_event *)CreateEventW(NULL, FALSE, FALSE, NULL);
}

void lw_event_destroy(lw_event *event)
{
    if (event != NULL)
        CloseHandle((HANDLE)event);
}

void lw_event_set(lw_event *event)
{
    SetEvent((HANDLE)event);
}

bool lw_event_wait(lw_event *event, uint64_t most_ns)
{
    return WaitForSingleObject((HANDLE)event, (DWORD)(most_ns / 1000000)) == WAIT_OBJECT_0;
}
