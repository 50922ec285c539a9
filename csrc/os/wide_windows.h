/* Windows names files in UTF-16, we keep them in UTF-8. */
#ifndef LW_OS_WIDE_WINDOWS_H
#define LW_OS_WIDE_WINDOWS_H

#include <wchar.h>

/* The same text in UTF-16, to be given to free(); NULL when there is no memory. */
wchar_t *lw_wide_create(const char *text);

#endif
