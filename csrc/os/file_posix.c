#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "descriptor.h"

struct lw_file {
    lw_descriptor descriptor; /* owned */
};

lw_status lw_file_create(lw_file **out, const char *path)
{
    lw_file *file = malloc(sizeof *file);
    if (file == NULL) {
        return LW_NO_MEMORY;
    }
    int number = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (number < 0) {
        free(file);
        return LW_SYSTEM;
    }
    if (lw_descriptor_adopt(&file->descriptor, number) != LW_OK) {
        int error = errno;
        close(number);
        free(file);
        errno = error;
        return LW_SYSTEM;
    }
    *out = file;
    return LW_OK;
}

lw_file *lw_file_hold_folder(const char *path)
{
    lw_file *file = malloc(sizeof *file);
    if (file == NULL) {
        return NULL;
    }
    int number = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (number >= 0 && flock(number, LOCK_SH | LOCK_NB) == 0 &&
        lw_descriptor_adopt(&file->descriptor, number) == LW_OK) {
        return file;
    }
    if (number >= 0) {
        close(number);
    }
    free(file);
    return NULL;
}

void lw_file_close(lw_file *file)
{
    if (file != NULL) {
        lw_descriptor_close(&file->descriptor);
        free(file);
    }
}

lw_status lw_file_append(lw_file *file, const void *bytes, size_t size, size_t *written)
{
    const char *from = bytes;

    *written = 0;
    while (*written < size) {
        if (!lw_descriptor_check(&file->descriptor)) {
            return LW_SYSTEM;
        }
        ssize_t count = write(file->descriptor.number, from + *written, size - *written);
        if (count > 0) {
            *written += (size_t)count;
        } else if (count == 0) {
            errno = EIO; /* no system does so for a regular file; without this we would spin */
            return LW_SYSTEM;
        } else if (errno != EINTR) {
            return LW_SYSTEM;
        }
    }
    return LW_OK;
}

lw_status lw_file_rewrite(lw_file *file, uint64_t at, const void *bytes, size_t size)
{
    ssize_t count;

    if (!lw_descriptor_check(&file->descriptor)) {
        return LW_SYSTEM;
    }
    do {
        count = pwrite(file->descriptor.number, bytes, size, (off_t)at);
    } while (count < 0 && errno == EINTR);
    if (count >= 0 && (size_t)count < size) {
        errno = EIO;
    }
    return count == (ssize_t)size ? LW_OK : LW_SYSTEM;
}

void lw_file_remove(const char *path)
{
    unlink(path);
}
