#include "parts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "json.h"
#include "loss.h"
#include "os/clock.h"
#include "os/file.h"
#include "records.h"

enum {
    NAME_BYTES = 80, /* of "/<pid>-<ms>.<number>.jsonl", all numbers at their longest */
    MOST_NAMES_TRIED = 1000,
};

struct lw_parts {
    const lw_recorder_options *options; /* borrowed; its `directory` is not used */
    char *directory;                    /* owned */
    char *path;                         /* owned; room for any of the names */
    uint64_t started_ms;                /* in the names */
    lw_file *hold;                      /* owned; the lock on the folder, NULL where there is none */
    lw_file *file;                      /* owned; the current part */
    bool over;                          /* the next write begins another part */
    uint64_t count_at;                  /* where in the current one the count of lost records stands */
    uint32_t number;                    /* of the current part */
    uint64_t size;                      /* of the current part */
    bool torn;                          /* it does not end with a line end */
    lw_loss loss;
};

/* The path of a part, valid until the next call. */
static const char *path_of(lw_parts *parts, uint32_t number)
{
    size_t room = strlen(parts->directory) + NAME_BYTES;
    int size = snprintf(parts->path, room, "%s/%" PRIu64 "-%" PRIu64, parts->directory, parts->options->pid,
                        parts->started_ms);
    char *rest = parts->path + size;

    if (number == 0) {
        snprintf(rest, room - (size_t)size, ".jsonl");
    } else {
        snprintf(rest, room - (size_t)size, ".%" PRIu32 ".jsonl", number);
    }
    return parts->path;
}

/* Create the file under the first name that is free: O_EXCL, since another process with our number may
   write to the same folder (containers), and so may our own image before an execv. */
static lw_status create_file(lw_parts *parts)
{
    lw_status status = LW_SYSTEM;

    for (int tries = 0; tries < MOST_NAMES_TRIED; tries++) {
        status = lw_file_create(&parts->file, path_of(parts, parts->number));
        if (status != LW_SYSTEM || errno != EEXIST) {
            break;
        }
        if (parts->number == 0) {
            parts->started_ms++;
        } else {
            parts->number++;
        }
    }
    return status;
}

static lw_status append(lw_parts *parts, const char *bytes, size_t size, size_t *written)
{
    lw_status status = lw_file_append(parts->file, bytes, size, written);

    parts->size += *written;
    if (*written > 0) {
        parts->torn = bytes[*written - 1] != '\n';
    }
    return status;
}

/* The header, and after it the count of lost records, which has its room from the beginning. */
static lw_status write_header(lw_parts *parts, uint64_t *count_at)
{
    lw_json header;
    size_t written;

    lw_json_open(&header, SIZE_MAX);
    lw_record_header(&header, parts->options, parts->number);
    *count_at = header.size;
    lw_record_dropped_fixed(&header, parts->loss.records);
    lw_status status = header.full ? LW_NO_MEMORY : append(parts, header.bytes, header.size, &written);
    lw_json_close(&header);
    return status;
}

/* Open the next part; no file is left behind when that fails, since one without a header says nothing. Until it is
   there the one before stays open: what is lost meanwhile is counted in it. */
static lw_status open_part(lw_parts *parts)
{
    lw_file *before = parts->file;
    uint32_t kept = parts->options->parts;
    uint64_t count_at;

    if (parts->number >= kept) {
        lw_file_remove(path_of(parts, parts->number - kept)); /* first: the disk may be full */
    }
    lw_status status = create_file(parts);
    if (status != LW_OK) {
        return status;
    }
    parts->size = 0;
    status = write_header(parts, &count_at);
    if (status != LW_OK) {
        int error = errno;
        lw_file_close(parts->file);
        parts->file = before;
        lw_file_remove(path_of(parts, parts->number));
        errno = error;
        return status;
    }
    lw_file_close(before);
    parts->count_at = count_at;
    parts->torn = false;
    parts->over = false;
    return LW_OK;
}

static void end_part(lw_parts *parts)
{
    parts->over = true;
    parts->number++;
}

lw_status lw_parts_create(lw_parts **out, const lw_recorder_options *options)
{
    size_t directory_size = strlen(options->directory) + 1;
    lw_status status = LW_NO_MEMORY;

    lw_parts *parts = calloc(1, sizeof *parts);
    if (parts == NULL) {
        return status;
    }
    parts->options = options;
    parts->started_ms = lw_clock_unix() / 1000000u;
    parts->directory = malloc(directory_size);
    parts->path = malloc(directory_size + NAME_BYTES);
    if (parts->directory == NULL || parts->path == NULL) {
        goto failed;
    }
    memcpy(parts->directory, options->directory, directory_size);
    parts->hold = lw_file_hold_folder(parts->directory);
    status = open_part(parts);
    if (status != LW_OK) {
        goto failed;
    }
    *out = parts;
    return LW_OK;

failed:;
    int error = errno;
    lw_parts_destroy(parts);
    errno = error;
    return status;
}

void lw_parts_close(lw_parts *parts)
{
    lw_file_close(parts->file);
    lw_file_close(parts->hold);
    parts->file = parts->hold = NULL;
}

void lw_parts_destroy(lw_parts *parts)
{
    if (parts != NULL) {
        lw_parts_close(parts);
        free(parts->directory);
        free(parts->path);
        free(parts);
    }
}

/* After a failure: the rest of a torn line ends here, and the reader learns what is missing. */
static lw_status heal(lw_parts *parts, uint64_t now)
{
    lw_json notice;
    size_t written;

    if (!parts->torn && !parts->loss.untold) {
        return LW_OK;
    }
    lw_json_open(&notice, SIZE_MAX);
    if (parts->torn) {
        lw_json_raw(&notice, "\n");
    }
    lw_loss_tell(&parts->loss, &notice, now);
    lw_status status = notice.full ? LW_NO_MEMORY : append(parts, notice.bytes, notice.size, &written);
    lw_json_close(&notice);
    if (status == LW_OK) {
        lw_loss_told(&parts->loss);
    }
    return status;
}

/* The same where the reader looks for it in any case. It takes no room, so this is all that can be told on a disk that
   stays full. */
static void note_loss(lw_parts *parts)
{
    lw_json count;

    lw_json_open(&count, SIZE_MAX);
    lw_record_dropped_fixed(&count, parts->loss.records);
    if (!count.full) {
        (void)lw_file_rewrite(parts->file, parts->count_at, count.bytes, count.size);
    }
    lw_json_close(&count);
}

bool lw_parts_write(lw_parts *parts, const char *lines, size_t size, uint64_t now)
{
    lw_status status = LW_OK;
    size_t written = 0;

    if (size == 0 && !parts->loss.untold) {
        return true;
    }
    if (parts->over) {
        status = open_part(parts);
    }
    if (status == LW_OK) {
        status = heal(parts, now);
    }
    if (status == LW_OK) {
        status = append(parts, lines, size, &written);
    }
    if (status != LW_OK) {
        int error = errno;
        lw_loss_add_lines(&parts->loss, lines + written, size - written);
        note_loss(parts);
        if (!parts->over && (error == EBADF || error == EFBIG)) {
            end_part(
                parts); /* closed by the program, or as long as this user's files may get: go on in another */
        }
        return false;
    }
    if (parts->size >= parts->options->part_bytes) {
        end_part(parts);
        return false;
    }
    return true;
}

void lw_parts_miss(lw_parts *parts)
{
    lw_loss_add(&parts->loss);
}

uint64_t lw_parts_dropped(const lw_parts *parts)
{
    return parts->loss.records;
}
