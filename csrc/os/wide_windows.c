#include "wide_windows.h"

#include <stdlib.h>
#include <windows.h>

wchar_t *lw_wide_create(const char *text)
{
    int size = MultiByteToWideChar(CP_UTF8, 0, text, -1, NULL, 0); /* with the 0 at the end */
    wchar_t *wide = size > 0 ? malloc((size_t)size * sizeof *wide) : NULL;

    if (wide != NULL) {
        MultiByteToWideChar(CP_UTF8, 0, text, -1, wide, size);
    }
    return wide;
}
