/* Building lines of JSON in memory. A bounded buffer: what does not fit sets `full` and leaves the rest
   unwritten, so the caller looks once, at the end of a record, and takes the whole record back. One
   thread. */
#ifndef LW_JSON_H
#define LW_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct lw_json {
    char *bytes; /* owned */
    size_t size, capacity, limit;
    bool full; /* something did not fit, or there was no memory for it */
} lw_json;

void lw_json_open(lw_json *json, size_t limit); /* holds no memory yet */
void lw_json_close(lw_json *json);

/* Cut off what was written since `size`, and try again from there. */
void lw_json_rewind(lw_json *json, size_t size);

/* Characters as they are: punctuation and member names. */
void lw_json_raw(lw_json *json, const char *chars);
void lw_json_bytes(lw_json *json, const char *bytes, size_t size);

/* `,"name":` and the value. */
void lw_json_number_member(lw_json *json, const char *name, uint64_t value);
void lw_json_string_member(lw_json *json, const char *name, const char *value);
void lw_json_bool_member(lw_json *json, const char *name, bool value);
void lw_json_null_member(lw_json *json, const char *name);

/* A number; a string in quotes. Valid UTF-8 stands as it is, lone surrogates (three bytes each, as Python
   encodes file names that are no UTF-8) as \udXXX, and any other byte as U+FFFD: always valid JSON in
   valid UTF-8. */
void lw_json_number(lw_json *json, uint64_t value);
void lw_json_string(lw_json *json, const char *value);

#endif
