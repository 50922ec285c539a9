/* What a sink (a file, a queue) could not keep, and what its reader has to be told about it. */
#ifndef LW_LOSS_H
#define LW_LOSS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "json.h"

typedef struct lw_loss {
    uint64_t records; /* cumulative */
    bool untold;      /* the reader does not know of all of them yet */
    bool ids;         /* among them may be such that explain or reset ids */
} lw_loss;

/* A record that was never formatted to its end; all that it refers to is explained again later. */
void lw_loss_add(lw_loss *loss);

/* Lines that are gone: as many as there are line ends in these bytes. */
void lw_loss_add_lines(lw_loss *loss, const char *bytes, size_t size);

/* The records that tell the reader. After them ids start anew, if any may be lost. */
void lw_loss_tell(const lw_loss *loss, lw_json *json, uint64_t now);

/* The reader has got them. */
void lw_loss_told(lw_loss *loss);

#endif
