#include "layout.h" /* Python.h comes first */

#include "str.h"

static size_t encode(char *out, uint32_t character)
{
    if (character < 0x80) {
        out[0] = (char)character;
        return 1;
    }
    if (character < 0x800) {
        out[0] = (char)(0xC0 | character >> 6);
        out[1] = (char)(0x80 | (character & 63));
        return 2;
    }
    if (character < 0x10000) {
        out[0] = (char)(0xE0 | character >> 12);
        out[1] = (char)(0x80 | (character >> 6 & 63));
        out[2] = (char)(0x80 | (character & 63));
        return 3;
    }
    out[0] = (char)(0xF0 | character >> 18);
    out[1] = (char)(0x80 | (character >> 12 & 63));
    out[2] = (char)(0x80 | (character >> 6 & 63));
    out[3] = (char)(0x80 | (character & 63));
    return 4;
}

/* One character out of 1, 2 or 4 bytes each; what no str can hold becomes U+FFFD. */
static uint32_t character_at(const void *raw, unsigned kind, size_t i)
{
    uint32_t character = kind == PyUnicode_1BYTE_KIND   ? ((const uint8_t *)raw)[i]
                         : kind == PyUnicode_2BYTE_KIND ? ((const uint16_t *)raw)[i]
                                                        : ((const uint32_t *)raw)[i];
    return character == 0 || character > 0x10FFFF ? 0xFFFD : character;
}

lw_status lw_str_read(lw_memory *memory, uintptr_t address, lw_str *out)
{
    PyASCIIObject head;
    lw_status status = lw_memory_read(memory, &(lw_piece){address, sizeof head}, 1, &head);
    if (status != LW_OK)
        return status;
    unsigned kind = head.state.kind;
    if (head.ob_base.ob_type != &PyUnicode_Type || !head.state.compact || head.length < 0)
        return LW_TORN;
    if (kind != PyUnicode_1BYTE_KIND && kind != PyUnicode_2BYTE_KIND && kind != PyUnicode_4BYTE_KIND)
        return LW_TORN;
    size_t length = head.length < LW_STR_MOST ? (size_t)head.length : LW_STR_MOST;
    size_t header = head.state.ascii ? sizeof(PyASCIIObject) : sizeof(PyCompactUnicodeObject);
    uint32_t raw[LW_STR_MOST];
    if (length > 0)
        status = lw_memory_read(memory, &(lw_piece){address + header, length * kind}, 1, raw);
    if (status != LW_OK)
        return status;
    out->size = 0;
    for (size_t i = 0; i < length; i++)
        out->size += encode(out->bytes + out->size, character_at(raw, kind, i));
    return LW_OK;
}
