/* ELF: an object calls a function of another through a word in its own data that the dynamic linker has
   filled in. The relocations say which word belongs to which symbol: DT_JMPREL lists the slots of the PLT,
   DT_RELA those that are read directly (Rust, -fno-plt), which lie in the part made read-only after start
   (RELRO).

   A slot of the PLT may not have been filled yet (lazy binding): it then leads back into the object
   itself. */
#define _GNU_SOURCE
#include "import_slot.h"

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { SLOT_OF_PLT = R_X86_64_JUMP_SLOT, SLOT_OF_DATA = R_X86_64_GLOB_DAT };
#elif defined(__aarch64__)
enum { SLOT_OF_PLT = R_AARCH64_JUMP_SLOT, SLOT_OF_DATA = R_AARCH64_GLOB_DAT };
#else
enum { SLOT_OF_PLT = -1, SLOT_OF_DATA = -1 }; /* no slot is ever found */
#endif

/* One loaded object; everything is borrowed from the dynamic linker. */
typedef struct elf_object {
    const struct dl_phdr_info *info;
    const char *names;
    const ElfW(Sym) *symbols;
    const ElfW(Rela) *plt, *data;
    size_t plt_count, data_count;
    uintptr_t relro_start, relro_end; /* whole pages, as the dynamic linker protects them */
} elf_object;

typedef struct slot_search {
    uintptr_t inside;
    const char *symbol;
    lw_import_slot *out;
    lw_status status;
} slot_search;

static uintptr_t page_of(uintptr_t address)
{
    return address & ~((uintptr_t)sysconf(_SC_PAGESIZE) - 1);
}

static bool object_holds(const struct dl_phdr_info *info, uintptr_t address)
{
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_LOAD && address >= start && address - start < header->p_memsz) {
            return true;
        }
    }
    return false;
}

/* glibc adds the load address to these entries when it loads the object, musl (and glibc on some machines)
   leaves them as they are in the file. An offset is always smaller than the address it is loaded at. */
static const void *dynamic_address(const elf_object *object, const ElfW(Dyn) *entry)
{
    uintptr_t address = entry->d_un.d_ptr;

    if (address < object->info->dlpi_addr) {
        address += object->info->dlpi_addr;
    }
    return (const void *)address;
}

static bool read_dynamic(elf_object *object, const ElfW(Dyn) *entry)
{
    bool rela = true;

    for (; entry->d_tag != DT_NULL; entry++) {
        switch (entry->d_tag) {
        case DT_STRTAB:
            object->names = dynamic_address(object, entry);
            break;
        case DT_SYMTAB:
            object->symbols = dynamic_address(object, entry);
            break;
        case DT_JMPREL:
            object->plt = dynamic_address(object, entry);
            break;
        case DT_PLTRELSZ:
            object->plt_count = entry->d_un.d_val / sizeof(ElfW(Rela));
            break;
        case DT_PLTREL:
            rela = entry->d_un.d_val == DT_RELA;
            break;
        case DT_RELA:
            object->data = dynamic_address(object, entry);
            break;
        case DT_RELASZ:
            object->data_count = entry->d_un.d_val / sizeof(ElfW(Rela));
            break;
        default:
            break;
        }
    }
    return rela && object->names != NULL && object->symbols != NULL;
}

static bool object_read(elf_object *object, const struct dl_phdr_info *info)
{
    const ElfW(Dyn) *dynamic = NULL;

    memset(object, 0, sizeof *object);
    object->info = info;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + header->p_vaddr;
        if (header->p_type == PT_DYNAMIC) {
            dynamic = (const ElfW(Dyn) *)start;
        } else if (header->p_type == PT_GNU_RELRO) {
            object->relro_start = page_of(start);
            object->relro_end = page_of(start + header->p_memsz); /* a page begun is left writable */
        }
    }
    return dynamic != NULL && read_dynamic(object, dynamic);
}

static void **find_slot(const elf_object *object, const ElfW(Rela) *table, size_t count, const char *symbol)
{
    for (size_t i = 0; table != NULL && i < count; i++) {
        int type = (int)ELF64_R_TYPE(table[i].r_info);
        if (type != SLOT_OF_PLT && type != SLOT_OF_DATA) {
            continue;
        }
        const ElfW(Sym) *imported = &object->symbols[ELF64_R_SYM(table[i].r_info)];
        if (strcmp(object->names + imported->st_name, symbol) == 0) {
            return (void **)(object->info->dlpi_addr + table[i].r_offset);
        }
    }
    return NULL;
}

/* Called for every loaded object; a number other than 0 ends the search. */
static int visit(struct dl_phdr_info *info, size_t size, void *argument)
{
    slot_search *search = argument;
    elf_object object;

    (void)size;
    if (!object_holds(info, search->inside)) {
        return 0;
    }
    if (!object_read(&object, info)) {
        return 1;
    }
    void **slot = find_slot(&object, object.plt, object.plt_count, search->symbol);
    if (slot == NULL) {
        slot = find_slot(&object, object.data, object.data_count, search->symbol);
    }
    if (slot == NULL) {
        return 1;
    }
    uintptr_t address = (uintptr_t)slot;
    search->out->address = slot;
    search->out->original = __atomic_load_n(slot, __ATOMIC_ACQUIRE);
    search->out->writable = address < object.relro_start || address >= object.relro_end;
    if (object_holds(info, (uintptr_t)search->out->original)) {
        search->out->original = NULL; /* not bound yet: still leads to the PLT of the object */
    }
    search->status = LW_OK;
    return 1;
}

lw_status lw_import_slot_find(const void *inside, const char *symbol, lw_import_slot *out)
{
    lw_import_slot found;
    slot_search search = {(uintptr_t)inside, symbol, &found, LW_UNSUPPORTED};

    dl_iterate_phdr(visit, &search);
    if (search.status != LW_OK) {
        return search.status;
    }
    if (found.original == NULL) {
        found.original = lw_import_symbol(NULL, symbol);
    }
    if (found.original == NULL) {
        return LW_UNSUPPORTED;
    }
    *out = found;
    return LW_OK;
}

lw_status lw_import_slot_point(const lw_import_slot *slot, void *function)
{
    size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    void *page = (void *)page_of((uintptr_t)slot->address);

    if (!slot->writable && mprotect(page, page_size, PROT_READ | PROT_WRITE) != 0) {
        return LW_SYSTEM;
    }
    __atomic_store_n(slot->address, function, __ATOMIC_RELEASE);
    if (!slot->writable) {
        mprotect(page, page_size, PROT_READ); /* if it fails the page stays writable, which harms nobody */
    }
    return LW_OK;
}
