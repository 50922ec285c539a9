/* A descriptor that may be pulled from under us: a program that closes all descriptors (daemons do) frees our
   number, opens a file of its own under it, and what we write would land there. So its user asks before each
   use. On a thread with a table of its own (lw_thread_isolate) the answer is always yes and costs nothing. */
#ifndef LW_OS_DESCRIPTOR_H
#define LW_OS_DESCRIPTOR_H

#include <stdbool.h>
#include <sys/types.h>

#include "../status.h"

typedef struct lw_descriptor {
    int number;  /* owned */
    bool shared; /* lies in the table that the program uses */
    dev_t device;
    ino_t inode;
} lw_descriptor;

/* Take over an open descriptor, on the thread that will use it. LW_SYSTEM with errno when it is not open; the
   number stays the caller's then. */
lw_status lw_descriptor_adopt(lw_descriptor *descriptor, int number);

/* Whether the number still stands for what was adopted; errno is EBADF when it does not. */
bool lw_descriptor_check(const lw_descriptor *descriptor);

/* Close it, unless the number is somebody else's by now. */
void lw_descriptor_close(lw_descriptor *descriptor);

#endif
