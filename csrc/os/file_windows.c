#include "file.h"

#include <errno.h>
#include <stdlib.h>
#include <windows.h>

#include "wide_windows.h"

enum { MOST_AT_ONCE = 1 << 30 }; /* WriteFile counts in 32 bits */

struct lw_file {
    HANDLE handle; /* owned */
};

/* The last error as errno, as far as our callers tell them apart. */
static void set_errno(void)
{
    switch (GetLastError()) {
    case ERROR_FILE_EXISTS:
    case ERROR_ALREADY_EXISTS:
        errno = EEXIST;
        break;
    case ERROR_FILE_NOT_FOUND:
    case ERROR_PATH_NOT_FOUND:
        errno = ENOENT;
        break;
    case ERROR_ACCESS_DENIED:
        errno = EACCES;
        break;
    case ERROR_DISK_FULL:
    case ERROR_HANDLE_DISK_FULL:
        errno = ENOSPC;
        break;
    case ERROR_INVALID_HANDLE:
        errno = EBADF;
        break;
    default:
        errno = EIO;
    }
}

/* What mode 0600 is elsewhere comes from the folder here. */
lw_status lw_file_create(lw_file **out, const char *path)
{
    wchar_t *wide = lw_wide_create(path);
    lw_file *file = malloc(sizeof *file);
    lw_status status = LW_NO_MEMORY;

    if (wide == NULL || file == NULL) {
        goto failed;
    }
    file->handle = CreateFileW(wide, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_DELETE, NULL, CREATE_NEW,
                               FILE_ATTRIBUTE_NORMAL, NULL);
    if (file->handle == INVALID_HANDLE_VALUE) {
        set_errno();
        status = LW_SYSTEM;
        goto failed;
    }
    free(wide);
    *out = file;
    return LW_OK;

failed:
    free(file);
    free(wide);
    return status;
}

lw_file *lw_file_hold_folder(const char *path)
{
    (void)path; /* an open file keeps its folder there */
    return NULL;
}

void lw_file_close(lw_file *file)
{
    if (file != NULL) {
        CloseHandle(file->handle);
        free(file);
    }
}

lw_status lw_file_append(lw_file *file, const void *bytes, size_t size, size_t *written)
{
    const char *from = bytes;

    *written = 0;
    while (*written < size) {
        size_t rest = size - *written;
        DWORD count = 0;
        if (!WriteFile(file->handle, from + *written, (DWORD)(rest < MOST_AT_ONCE ? rest : MOST_AT_ONCE),
                       &count, NULL)) {
            set_errno();
            return LW_SYSTEM;
        }
        if (count == 0) {
            errno = ENOSPC;
            return LW_SYSTEM;
        }
        *written += count;
    }
    return LW_OK;
}

/* Unlike elsewhere this moves the place where the next bytes are appended. */
lw_status lw_file_rewrite(lw_file *file, uint64_t at, const void *bytes, size_t size)
{
    OVERLAPPED place = {.Offset = (DWORD)at, .OffsetHigh = (DWORD)(at >> 32)};
    LARGE_INTEGER nothing = {0};
    DWORD count = 0;
    BOOL written = WriteFile(file->handle, bytes, (DWORD)size, &count, &place);

    if (!written || !SetFilePointerEx(file->handle, nothing, NULL, FILE_END)) {
        set_errno();
        return LW_SYSTEM;
    }
    errno = count == size ? errno : EIO;
    return count == size ? LW_OK : LW_SYSTEM;
}

void lw_file_remove(const char *path)
{
    wchar_t *wide = lw_wide_create(path);

    if (wide != NULL) {
        DeleteFileW(wide);
        free(wide);
    }
}
