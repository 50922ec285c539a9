/* The CPU quota of the container that this process is in. quota_linux.c; quota_none.c elsewhere. */
#ifndef LW_OS_QUOTA_H
#define LW_OS_QUOTA_H

#include <stdbool.h>
#include <stdint.h>

typedef struct lw_quota lw_quota; /* owned by who opened it; used by the thread that opened it */

/* NULL when there is none, or it cannot be known. */
lw_quota *lw_quota_open(void);
void lw_quota_close(lw_quota *quota); /* accepts NULL */

/* How many CPUs' time the container may use. */
double lw_quota_cpus(const lw_quota *quota);

/* ns that the quota has held up the CPUs of the container so far. False: not known. Accepts NULL. */
bool lw_quota_throttled(const lw_quota *quota, uint64_t *ns);

#endif
