#include "descriptor.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "thread.h"

lw_status lw_descriptor_adopt(lw_descriptor *descriptor, int number)
{
    struct stat status;

    if (fstat(number, &status) != 0) {
        return LW_SYSTEM;
    }
    descriptor->number = number;
    descriptor->shared = !lw_thread_isolated();
    descriptor->device = status.st_dev;
    descriptor->inode = status.st_ino;
    return LW_OK;
}

static bool is_same(const lw_descriptor *descriptor)
{
    struct stat status;

    return fstat(descriptor->number, &status) == 0 && status.st_dev == descriptor->device &&
           status.st_ino == descriptor->inode;
}

bool lw_descriptor_check(const lw_descriptor *descriptor)
{
    if (!descriptor->shared || is_same(descriptor)) {
        return true;
    }
    errno = EBADF;
    return false;
}

void lw_descriptor_close(lw_descriptor *descriptor)
{
    /* looked at in any case: on another thread than the one it belongs to, the number is somebody else's */
    if (is_same(descriptor)) {
        close(descriptor->number);
    }
    descriptor->number = -1;
}
