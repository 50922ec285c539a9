/* The watchdog's alarm clock: any thread sets it, the watchdog sleeps until it rings.
   One file per system: alarm_linux.c (a POSIX timer that signals this one thread, which waits for it with
   sigwait: 0.4 us to set, and no descriptor that the program could close), alarm_darwin.c,
   alarm_windows.c. */
#ifndef LW_OS_ALARM_H
#define LW_OS_ALARM_H

#include <stdbool.h>
#include <stdint.h>

#include "../status.h"

typedef struct lw_alarm lw_alarm;

/* On the thread that will wait. The alarm belongs to it; LW_SYSTEM or LW_NO_MEMORY when it cannot. */
lw_status lw_alarm_open(lw_alarm **out);

/* Any thread, once nobody waits for it or sets it any more; accepts NULL. */
void lw_alarm_close(lw_alarm *alarm);

/* Ring `after_ns` from now (0: at once), instead of whenever it was set to ring. Any thread, lock-free on
   Linux; also while it is ringing. */
void lw_alarm_set(lw_alarm *alarm, uint64_t after_ns);

/* Whether one that is set may be set anew without waking who waits for it. */
bool lw_alarm_is_quiet(void);

/* Wait until it rings. On the thread that opened it. May also return early; the caller looks for itself. */
void lw_alarm_wait(lw_alarm *alarm);

#endif
