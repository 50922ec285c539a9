/* The files of one recording: "<directory>/<pid>-<unix ms>.jsonl", then ".1.jsonl" and so on, the newest few
   kept.

   Each part begins with the header and can be read by itself. A write that fails loses its lines, which are counted in
   the second line of the part; later ones begin on a line of their own. One thread: the one that created it
   (os/file.h). */
#ifndef LW_PARTS_H
#define LW_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "recorder.h"
#include "status.h"

typedef struct lw_parts lw_parts;

/* Opens the first part. `options` is borrowed until destroy, but for `directory`, which is copied.
   LW_SYSTEM with errno, LW_NO_MEMORY. */
lw_status lw_parts_create(lw_parts **out, const lw_recorder_options *options);
void lw_parts_destroy(lw_parts *parts); /* accepts NULL */

/* Close the file; nothing may be written any more. On the thread that created it, before it ends. */
void lw_parts_close(lw_parts *parts);

/* Append whole lines. False when what was told to the reader so far no longer stands: lines were lost, or
   the next call begins a new part. */
bool lw_parts_write(lw_parts *parts, const char *lines, size_t size, uint64_t now);

/* A record that was not even formatted. */
void lw_parts_miss(lw_parts *parts);

uint64_t lw_parts_dropped(const lw_parts *parts);

#endif
