#include "json.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_CAPACITY = 16 * 1024 };

void lw_json_open(lw_json *json, size_t limit)
{
    memset(json, 0, sizeof *json);
    json->limit = limit;
}

void lw_json_close(lw_json *json)
{
    free(json->bytes);
    lw_json_open(json, json->limit);
}

void lw_json_rewind(lw_json *json, size_t size)
{
    json->size = size;
    json->full = false;
}

static bool make_room(lw_json *json, size_t more)
{
    size_t needed = json->size + more;
    size_t capacity = json->capacity == 0 ? FIRST_CAPACITY : json->capacity;

    if (needed <= json->capacity) {
        return true;
    }
    if (needed > json->limit) {
        return false;
    }
    while (capacity < needed) {
        capacity *= 2;
    }
    char *bytes = realloc(json->bytes, capacity);
    if (bytes == NULL) {
        return false;
    }
    json->bytes = bytes;
    json->capacity = capacity;
    return true;
}

void lw_json_bytes(lw_json *json, const char *bytes, size_t size)
{
    if (json->full || !make_room(json, size)) {
        json->full = true;
        return;
    }
    memcpy(json->bytes + json->size, bytes, size);
    json->size += size;
}

void lw_json_raw(lw_json *json, const char *chars)
{
    lw_json_bytes(json, chars, strlen(chars));
}

void lw_json_number(lw_json *json, uint64_t value)
{
    char digits[20]; /* of 2^64 - 1 */
    size_t start = sizeof digits;

    do {
        digits[--start] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    lw_json_bytes(json, digits + start, sizeof digits - start);
}

/* How many bytes a character at `text` has: the table of Unicode 15, section 3.9, with surrogates let through
   (ED A0 80 to ED BF BF). 0 when it is none; the 0 at the end of the string fits nowhere, so nothing is read
   beyond it. */
static size_t measure_character(const unsigned char *text)
{
    unsigned char first = text[0], low = 0x80, high = 0xbf;
    size_t size;

    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        size = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        size = 3;
        low = first == 0xe0 ? 0xa0 : 0x80; /* shorter forms exist */
    } else if (first >= 0xf0 && first <= 0xf4) {
        size = 4;
        low = first == 0xf0 ? 0x90 : 0x80;
        high = first == 0xf4 ? 0x8f : 0xbf; /* beyond U+10FFFF */
    } else {
        return 0;
    }
    if (text[1] < low || text[1] > high) {
        return 0;
    }
    for (size_t i = 2; i < size; i++) {
        if (text[i] < 0x80 || text[i] > 0xbf) {
            return 0;
        }
    }
    return size;
}

static bool is_surrogate(const unsigned char *text, size_t size)
{
    return size == 3 && text[0] == 0xed && text[1] >= 0xa0;
}

static void write_escape(lw_json *json, unsigned unit)
{
    static const char hex[] = "0123456789abcdef";
    char escape[6] = {'\\',          'u', hex[unit >> 12 & 15], hex[unit >> 8 & 15], hex[unit >> 4 & 15],
                      hex[unit & 15]};

    lw_json_bytes(json, escape, sizeof escape);
}

static bool is_plain(unsigned char byte)
{
    return byte >= 0x20 && byte < 0x80 && byte != '"' && byte != '\\';
}

/* One character that cannot simply be copied with its neighbours; returns its bytes. */
static size_t write_character(lw_json *json, const unsigned char *text)
{
    size_t size = measure_character(text);

    if (size == 0) {
        lw_json_raw(json, "\xef\xbf\xbd");
        return 1;
    }
    if (size == 1 && !is_plain(text[0])) {
        write_escape(json, text[0]);
    } else if (is_surrogate(text, size)) {
        write_escape(json, 0xd000u | (text[1] & 0x3fu) << 6 | (text[2] & 0x3fu));
    } else {
        lw_json_bytes(json, (const char *)text, size);
    }
    return size;
}

void lw_json_string(lw_json *json, const char *value)
{
    const unsigned char *text = (const unsigned char *)value;

    lw_json_raw(json, "\"");
    while (*text != '\0') {
        size_t plain = 0;
        while (is_plain(text[plain])) {
            plain++;
        }
        lw_json_bytes(json, (const char *)text, plain);
        text += plain;
        if (*text != '\0') {
            text += write_character(json, text);
        }
    }
    lw_json_raw(json, "\"");
}

static void write_name(lw_json *json, const char *name)
{
    lw_json_raw(json, ",\"");
    lw_json_raw(json, name);
    lw_json_raw(json, "\":");
}

void lw_json_number_member(lw_json *json, const char *name, uint64_t value)
{
    write_name(json, name);
    lw_json_number(json, value);
}

void lw_json_string_member(lw_json *json, const char *name, const char *value)
{
    write_name(json, name);
    lw_json_string(json, value);
}

void lw_json_bool_member(lw_json *json, const char *name, bool value)
{
    write_name(json, name);
    lw_json_raw(json, value ? "true" : "false");
}

void lw_json_null_member(lw_json *json, const char *name)
{
    write_name(json, name);
    lw_json_raw(json, "null");
}
