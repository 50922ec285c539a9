/* Time. One file per system: clock_linux.c, clock_darwin.c, clock_windows.c. */
#ifndef LW_OS_CLOCK_H
#define LW_OS_CLOCK_H

#include <stdint.h>

/* Nanoseconds of the monotonic clock, the one of time.monotonic(). Any thread; cannot fail. */
uint64_t lw_clock_now(void);

/* Nanoseconds since the Unix epoch. Any thread; cannot fail. */
uint64_t lw_clock_unix(void);

/* Sleep until lw_clock_now() reaches `when`; returns at once if it has. Any thread. */
void lw_clock_sleep_until(uint64_t when);

#endif
