#include "loss.h"

#include <string.h>

#include "records.h"

void lw_loss_add(lw_loss *loss)
{
    loss->records++;
    loss->untold = true;
}

void lw_loss_add_lines(lw_loss *loss, const char *bytes, size_t size)
{
    const char *end = bytes + size;

    for (const char *at = bytes; at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++) {
        lw_loss_add(loss);
        loss->ids = true;
    }
}

void lw_loss_tell(const lw_loss *loss, lw_json *json, uint64_t now)
{
    if (loss->ids) {
        lw_record_reset(json);
    }
    if (loss->untold) {
        lw_record_dropped(json, loss->records, now);
    }
}

void lw_loss_told(lw_loss *loss)
{
    loss->untold = false;
    loss->ids = false;
}
