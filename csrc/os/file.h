/* A file that only we write, from its beginning to its end. One file per system: file_posix.c, file_windows.c. */
#ifndef LW_OS_FILE_H
#define LW_OS_FILE_H

#include <stddef.h>
#include <stdint.h>

#include "../status.h"

typedef struct lw_file lw_file; /* used by one thread: the one that opened it */

/* Create `path` (UTF-8 or the system's bytes; must not exist), mode 0600, close-on-exec.
   LW_SYSTEM with errno when it cannot. */
lw_status lw_file_create(lw_file **out, const char *path);
void lw_file_close(lw_file *file); /* accepts NULL */

/* Hold a shared flock(2) on a folder for as long as what is returned is open: who makes room for new recordings sees by
   it that something is written there, in whatever container. Of the folder and not of the files, since some file systems
   let nobody write what is locked. NULL where there can be no lock: nothing else depends on it. */
lw_file *lw_file_hold_folder(const char *path);

/* Append; partial writes are carried on. LW_SYSTEM when the system said no (errno: ENOSPC, EIO ...) or the
   descriptor is no longer ours (EBADF); *written tells how many bytes went out before that. */
lw_status lw_file_append(lw_file *file, const void *bytes, size_t size, size_t *written);

/* Write over `size` bytes from `at` on, all of them appended before: on most file systems that takes no room, and works
   on a full disk. LW_SYSTEM as above. */
lw_status lw_file_rewrite(lw_file *file, uint64_t at, const void *bytes, size_t size);

/* Remove a file by name; failure is of no interest. */
void lw_file_remove(const char *path);

#endif
