#include "lines.h"

/* Entry codes, bits 3 to 6 of an entry's first byte. Below ONE_LINE: the short form, columns in one byte. */
enum { ONE_LINE = 10, NO_COLUMNS = 13, LONG = 14, NO_LOCATION = 15 };

typedef struct reader {
    const uint8_t *at, *end;
    bool failed;
} reader;

static uint8_t next_byte(reader *in)
{
    if (in->at == in->end) {
        in->failed = true;
        return 0;
    }
    return *in->at++;
}

static uint32_t next_number(reader *in)
{
    uint32_t number = 0;
    for (unsigned shift = 0; shift < 32; shift += 6) {
        uint8_t byte = next_byte(in);
        number |= (uint32_t)(byte & 63) << shift;
        if (!(byte & 64))
            return number;
    }
    in->failed = true;
    return 0;
}

static int32_t next_signed(reader *in)
{
    uint32_t number = next_number(in);
    int32_t magnitude = (int32_t)(number >> 1);
    return number & 1 ? -magnitude : magnitude;
}

/* The bytes may be garbage, so a sum may be anything, but no undefined behaviour. */
static int32_t sum(int32_t a, uint32_t b)
{
    return (int32_t)((uint32_t)a + b);
}

/* The rest of an entry whose first byte had this code. *line is the running line number. */
static lw_place next_place(reader *in, unsigned code, int32_t *line)
{
    lw_place place = {LW_LINE_NONE, LW_LINE_NONE, LW_LINE_NONE, LW_LINE_NONE};
    if (code == NO_LOCATION)
        return place;
    if (code == LONG || code == NO_COLUMNS)
        *line = sum(*line, (uint32_t)next_signed(in));
    else if (code >= ONE_LINE)
        *line = sum(*line, code - ONE_LINE);
    place.line = place.end_line = *line;
    if (code == LONG) {
        place.end_line = sum(*line, next_number(in));
        place.column = sum(-1, next_number(in));
        place.end_column = sum(-1, next_number(in));
    } else if (code == NO_COLUMNS) {
        return place;
    } else if (code >= ONE_LINE) {
        place.column = next_byte(in);
        place.end_column = next_byte(in);
    } else {
        uint8_t byte = next_byte(in);
        place.column = (int32_t)(code << 3 | byte >> 4);
        place.end_column = place.column + (byte & 15);
    }
    return place;
}

lw_status lw_lines_find(const uint8_t *table, size_t size, int32_t first_line, uint32_t unit, bool nearest,
                        lw_place *out)
{
    reader in = {table, table + size, false};
    int32_t line = first_line, last_line = first_line;
    uint32_t covered = 0;
    while (in.at < in.end) {
        uint8_t first = next_byte(&in);
        if (!(first & 128))
            return LW_FAULT;
        lw_place place = next_place(&in, first >> 3 & 15, &line);
        if (in.failed)
            return LW_FAULT;
        covered += (first & 7) + 1;
        if (unit < covered) {
            if (nearest && place.line == LW_LINE_NONE)
                place.line = place.end_line = last_line;
            *out = place;
            return LW_OK;
        }
        if (place.line != LW_LINE_NONE)
            last_line = place.line;
    }
    return LW_FAULT;
}
