#include "import_slot.h"

#include <stdlib.h>
#include <string.h>
#include <windows.h>

#include "wide_windows.h"

void *lw_import_symbol(const char *path, const char *symbol)
{
    wchar_t *wide = path == NULL ? NULL : lw_wide_create(path);
    void *address = NULL;

    if (path != NULL && wide == NULL) {
        return NULL;
    }
    HMODULE module = GetModuleHandleW(wide); /* takes no reference: somebody else has loaded it */
    free(wide);
    if (module != NULL) {
        FARPROC function = GetProcAddress(module, symbol);
        memcpy(&address, &function, sizeof address); /* C keeps pointers to functions apart from void * */
    }
    return address;
}
