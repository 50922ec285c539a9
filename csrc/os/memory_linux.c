/* The kernel reads for us: it copies from our addresses into a file in memory, which is mapped here, and answers EFAULT
   for a bad one. Where such a file cannot be had, into a pipe, which is read back.

   One pwritev takes 48 scattered pieces of 12 KB in 3 microseconds, or 8 on a core that was asleep; a pipe, which copies
   twice and takes new pages each time, 5 and 15. Either copies in the order of the pieces and stops at a fault: in the
   first page with -1 and EFAULT, later with a short count, so a short count is a fault. Some kernels leave an empty
   buffer in the pipe after EFAULT, so it is emptied after every fault.

   Two limits: 1024 pieces a call, and the room there is: the pipe's size, which is two pages only for a user that has
   very many of them. What does not fit goes in several calls, still in order. */
#define _GNU_SOURCE
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
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
    TRANSIT = 65536,     /* the file's first bytes: what is copied elsewhere from there */
    FILE_MOST = 1 << 26, /* bytes; its size is under the limit of all files' */
    CLOSE_ON_EXEC = 1,   /* MFD_CLOEXEC and MFD_NOEXEC_SEAL of linux/memfd.h, which older systems lack */
    NEVER_EXECUTED = 8,
};

struct lw_memory {
    /* owned: the file, and its bytes as they are mapped; NULL: there is none */
    lw_descriptor file;
    char *mapped;
    size_t size;
    /* owned: the pipe, read from in, written to out, and what lw_memory_buffer gave */
    lw_descriptor in, out;
    char *buffer;
    size_t room; /* bytes that one call takes */
};

/* ---- the file ---- */

static int create_file(void)
{
#ifdef SYS_memfd_create
    int number = (int)syscall(SYS_memfd_create, "loopwatch", CLOSE_ON_EXEC | NEVER_EXECUTED);
    if (number < 0 && errno == EINVAL) { /* before 6.3 */
        number = (int)syscall(SYS_memfd_create, "loopwatch", CLOSE_ON_EXEC);
    }
    return number;
#else
    return -1;
#endif
}

/* Whoever writes beyond the limit is sent a signal that kills: better no file. */
static bool files_may_grow(void)
{
    struct rlimit limit;

    return getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur >= FILE_MOST;
}

static bool open_file(lw_memory *memory)
{
    int number = files_may_grow() ? create_file() : -1;
    if (number < 0) {
        return false;
    }
    if (ftruncate(number, TRANSIT) == 0 && lw_descriptor_adopt(&memory->file, number) == LW_OK) {
        void *mapped = mmap(NULL, TRANSIT, PROT_READ, MAP_SHARED, number, 0);
        if (mapped != MAP_FAILED) {
            madvise(mapped, TRANSIT, MADV_DONTFORK); /* a child would see what this process reads */
            memory->mapped = mapped;
            memory->room = memory->size = TRANSIT;
            return true;
        }
    }
    close(number);
    return false;
}

static bool grow_file(lw_memory *memory, size_t size)
{
    if (size > FILE_MOST || !files_may_grow() || !lw_descriptor_check(&memory->file) ||
        ftruncate(memory->file.number, (off_t)size) != 0) {
        return false;
    }
    void *mapped = mremap(memory->mapped, memory->size, size, MREMAP_MAYMOVE);
    if (mapped == MAP_FAILED) {
        return false;
    }
    memory->mapped = mapped;
    memory->size = size;
    return true;
}

/* ---- the pipe ---- */

static bool open_pipe(lw_memory *memory)
{
    int ends[2];

    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0) {
        return false;
    }
    if (lw_descriptor_adopt(&memory->in, ends[0]) != LW_OK ||
        lw_descriptor_adopt(&memory->out, ends[1]) != LW_OK) {
        close(ends[0]);
        close(ends[1]);
        return false;
    }
    int room = fcntl(ends[1], F_GETPIPE_SZ);
    memory->room = room > 0 ? (size_t)room : SMALLEST_PIPE;
    return true;
}

static void drain(lw_memory *memory)
{
    char rest[4096];

    while (read(memory->in.number, rest, sizeof rest) > 0) {
    }
}

/* ---- both ---- */

lw_status lw_memory_open(lw_memory **out)
{
    lw_memory *memory = calloc(1, sizeof *memory);
    if (memory == NULL) {
        return LW_NO_MEMORY;
    }
    if (!open_file(memory) && !open_pipe(memory)) {
        free(memory);
        return LW_SYSTEM;
    }
    *out = memory;
    return LW_OK;
}

void lw_memory_close(lw_memory *memory)
{
    if (memory == NULL) {
        return;
    }
    if (memory->mapped != NULL) {
        munmap(memory->mapped, memory->size);
        lw_descriptor_close(&memory->file);
    } else {
        lw_descriptor_close(&memory->in);
        lw_descriptor_close(&memory->out);
    }
    free(memory->buffer);
    free(memory);
}

char *lw_memory_buffer(lw_memory *memory, size_t size)
{
    if (memory->mapped != NULL) {
        bool there = TRANSIT + size <= memory->size || grow_file(memory, TRANSIT + size);
        return there ? memory->mapped + TRANSIT : NULL;
    }
    char *buffer = realloc(memory->buffer, size);
    if (buffer != NULL) {
        memory->buffer = buffer;
    }
    return buffer;
}

/* The verdict on a call that was to write so many bytes and did not. */
static lw_status fault(ssize_t written)
{
    int error = written < 0 ? errno : EFAULT;
    return error == EFAULT || error == EINVAL ? LW_FAULT : LW_SYSTEM; /* EINVAL: an absurd size */
}

/* Copy pieces, `bytes` in all and no more than there is room for, through the file. What goes into the buffer is there
   at once. Not pwritev(3): sanitizers look at what it is handed, and that may be anything. */
static lw_status transfer_mapped(lw_memory *memory, const lw_piece *pieces, size_t count, size_t bytes,
                                 char *into)
{
    bool direct = into >= memory->mapped && into < memory->mapped + memory->size;
    unsigned long at = direct ? (unsigned long)(into - memory->mapped) : 0;

    if (!lw_descriptor_check(&memory->file)) {
        return LW_SYSTEM;
    }
    ssize_t written = syscall(SYS_pwritev, memory->file.number, pieces, count, at, 0ul);
    if (written != (ssize_t)bytes) {
        return fault(written);
    }
    if (!direct) {
        memcpy(into, memory->mapped, bytes);
    }
    return LW_OK;
}

/* The same through the pipe. */
static lw_status transfer_piped(lw_memory *memory, const lw_piece *pieces, size_t count, size_t bytes,
                                char *into)
{
    if (!lw_descriptor_check(&memory->in) || !lw_descriptor_check(&memory->out)) {
        return LW_SYSTEM;
    }
    ssize_t written = syscall(SYS_writev, memory->out.number, pieces, count);
    if (written != (ssize_t)bytes) {
        lw_status status = fault(written);
        drain(memory);
        return status;
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

static lw_status transfer(lw_memory *memory, const lw_piece *pieces, size_t count, size_t bytes, char *into)
{
    return memory->mapped != NULL ? transfer_mapped(memory, pieces, count, bytes, into)
                                  : transfer_piped(memory, pieces, count, bytes, into);
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

/* A piece that is bigger than the room. */
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
