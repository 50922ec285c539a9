/* What a function answers. Every lw_ function that can fail returns one of these. */
#ifndef LW_STATUS_H
#define LW_STATUS_H

typedef enum lw_status {
    LW_OK = 0,
    LW_FAULT,       /* memory that was to be read is not there */
    LW_TORN,        /* the stack changed while it was read, or makes no sense */
    LW_FULL,        /* a bounded table or buffer has no room */
    LW_NO_MEMORY,   /* the allocator said no */
    LW_SYSTEM,      /* the system said no; errno tells why */
    LW_UNSUPPORTED, /* cannot be done on this system or interpreter */
} lw_status;

#endif
