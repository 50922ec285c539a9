/* The kernel reads for us: it copies from our addresses into a pipe and answers EFAULT for a bad one.

   One writev and one read take 32 scattered pieces in about a microsecond. The copying goes in order and
   stops at a fault: in the first page with -1 and EFAULT, later with a short count, so a short count is a
   fault. Some kernels leave an empty buffer in the pipe after EFAULT, so the pipe is emptied after every
   fault.

   Two limits: 1024 pieces a call, and the pipe's size, which is two pages only for a user that has very
   many pipes. What does not fit goes in several calls, still in order. */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "descriptor.h"

_Static_assert(sizeof(lw_piece) == sizeof(struct iovec), "pieces go to writev as they are");
_Static_assert(offsetof(lw_piece, address) == offsetof(struct iovec, iov_base), "likewise");
_Static_assert(offsetof(lw_piece, size) == offsetof(struct iovec, iov_len), "likewise");

enum {
    MOST_PIECES = 1024, /* UIO_MAXIOV */
    SMALLEST_PIPE = 4096,
};

struct lw_memory {
    lw_descriptor in, out; /* owned: read from in, write to out */
    size_t room;           /* bytes that the empty pipe takes */
};

lw_status lw_memory_open(lw_memory **out)
{
    int ends[2];

    lw_memory *memory = malloc(sizeof *memory);
    if (memory == NULL) {
        return LW_NO_MEMORY;
    }
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        goto no_pipe;
    }
    if (lw_descriptor_adopt(&memory->in, ends[0]) != LW_OK ||
        lw_descriptor_adopt(&memory->out, ends[1]) != LW_OK) {
        goto no_descriptors;
    }
    int room = fcntl(ends[1], F_GETPIPE_SZ);
    memory->room = room > 0 ? (size_t)room : SMALLEST_PIPE;
    *out = memory;
    return LW_OK;

no_descriptors:
    close(ends[0]);
    close(ends[1]);
no_pipe:
    free(memory);
    return LW_SYSTEM;
}

void lw_memory_close(lw_memory *memory)
{
    if (memory != NULL) {
        lw_descriptor_close(&memory->in);
        lw_descriptor_close(&memory->out);
        free(memory);
    }
}

static void drain(lw_memory *memory)
{
    char rest[4096];

    while (read(memory->in.number, rest, sizeof rest) > 0) {
    }
}

/* Copy pieces that fit into the pipe, `bytes` in all. */
static lw_status transfer(lw_memory *memory, const lw_piece *pieces, size_t count, size_t bytes, char *into)
{
    if (!lw_descriptor_check(&memory->in) || !lw_descriptor_check(&memory->out)) {
        return LW_SYSTEM;
    }
    /* Not writev(3): sanitizers look at what it is handed, and that may be anything. */
    ssize_t written = syscall(SYS_writev, memory->out.number, pieces, count);
    if (written != (ssize_t)bytes) {
        int error = written < 0 ? errno : EFAULT;
        drain(memory);
        errno = error;
        return error == EFAULT || error == EINVAL ? LW_FAULT : LW_SYSTEM; /* EINVAL: an absurd size */
    }
    for (size_t got = 0; got < bytes;) {
        ssize_t count_read = read(memory->in.number, into + got, bytes - got);
        if (count_read > 0) {
            got += (size_t)count_read;
        } else if (count_read == 0 || errno != EINTR) {
            return LW_SYSTEM;
        }
    }
    return LW_OK;
}

/* How many of the pieces fit into one call, and their bytes. */
static size_t measure(const lw_memory *memory, const lw_piece *pieces, size_t count, size_t *bytes)
{
    size_t fitting = 0;

    *bytes = 0;
    while (fitting < count && fitting < MOST_PIECES && pieces[fitting].size <= memory->room - *bytes) {
        *bytes += pieces[fitting].size;
        fitting++;
    }
    return fitting;
}

/* A piece that is bigger than the pipe. */
static lw_status transfer_split(lw_memory *memory, lw_piece piece, char *into)
{
    lw_status status = LW_OK;

    while (status == LW_OK && piece.size > 0) {
        lw_piece part = {piece.address, piece.size < memory->room ? piece.size : memory->room};
        status = transfer(memory, &part, 1, part.size, into);
        into += part.size;
        piece.address += part.size;
        piece.size -= part.size;
    }
    return status;
}

lw_status lw_memory_read(lw_memory *memory, const lw_piece *pieces, size_t count, void *into)
{
    char *to = into;
    lw_status status = LW_OK;

    while (status == LW_OK && count > 0) {
        size_t bytes;
        size_t fitting = measure(memory, pieces, count, &bytes);
        if (fitting == 0) {
            fitting = 1;
            bytes = pieces->size;
            status = transfer_split(memory, *pieces, to);
        } else if (bytes > 0) {
            status = transfer(memory, pieces, fitting, bytes, to);
        }
        to += bytes;
        pieces += fitting;
        count -= fitting;
    }
    return status;
}
