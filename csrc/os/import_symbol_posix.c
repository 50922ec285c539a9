#define _GNU_SOURCE
#include "import_slot.h"

#include <dlfcn.h>
#include <stddef.h>

void *lw_import_symbol(const char *path, const char *symbol)
{
    if (path == NULL) {
        return dlsym(RTLD_DEFAULT, symbol);
    }
    void *object = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
    if (object == NULL) {
        return NULL;
    }
    void *address = dlsym(object, symbol);
    dlclose(object); /* gives back our reference only: somebody else has loaded it */
    return address;
}
