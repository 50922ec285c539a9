#include "check.h"

#include "json.h"

/* The one string, written as JSON, must come out like this. */
static void check_string(const char *value, const char *expected)
{
    lw_json json;

    lw_json_open(&json, 1 << 20);
    lw_json_string(&json, value);
    lw_json_raw(&json, "\n");
    CHECK(!json.full);
    json.bytes[json.size - 1] = '\0';
    if (strcmp(json.bytes, expected) != 0) {
        fprintf(stderr, "%s, not %s\n", json.bytes, expected);
        exit(1);
    }
    lw_json_close(&json);
}

CASE(strings)
{
    check_string("", "\"\"");
    check_string("plain text, 'quoted' /", "\"plain text, 'quoted' /\"");
    check_string("a\"b\\c", "\"a\\u0022b\\u005cc\"");
    check_string("\n\t\x01\x1f\x7f", "\"\\u000a\\u0009\\u0001\\u001f\x7f\"");
    check_string("\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d", "\"\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8d\"");
}

CASE(lone_surrogates)
{
    check_string("a\xed\xb2\x80z", "\"a\\udc80z\"");
    check_string("\xed\xa0\x80\xed\xbf\xbf", "\"\\ud800\\udfff\"");
    check_string("\xed\x9f\xbf\xee\x80\x80", "\"\xed\x9f\xbf\xee\x80\x80\""); /* their neighbours */
}

CASE(garbage)
{
#define BAD "\xef\xbf\xbd"
    check_string("\x80", "\"" BAD "\"");
    check_string("\xff\xfe", "\"" BAD BAD "\"");
    check_string("\xc0\xaf", "\"" BAD BAD "\"");         /* overlong */
    check_string("\xe0\x80\x80", "\"" BAD BAD BAD "\""); /* overlong */
    check_string("\xf0\x8f\xbf\xbf", "\"" BAD BAD BAD BAD "\"");
    check_string("\xf4\x90\x80\x80", "\"" BAD BAD BAD BAD "\""); /* beyond U+10FFFF */
    check_string("\xc3", "\"" BAD "\"");                         /* cut short by the end */
    check_string("\xe2\x82", "\"" BAD BAD "\"");
    check_string("\xf0\x9f\x90", "\"" BAD BAD BAD "\"");
    check_string("\xe2\"", "\"" BAD "\\u0022\""); /* the quote is not swallowed */
    check_string("\xf0\x9f\n\x8d", "\"" BAD BAD "\\u000a" BAD "\"");
#undef BAD
}

CASE(every_pair_and_triple_of_bytes)
{
    FILE *lines = fopen("lines", "w");
    lw_json json;
    static const unsigned char third[] = {0, 'a', '"', '\\', 0x1f, 0x7f, 0x80, 0xbf, 0xc3, 0xed, 0xf0, 0xff};

    CHECK(lines != NULL);
    lw_json_open(&json, 64 << 20);
    for (unsigned first = 1; first < 256; first++) {
        for (unsigned second = 0; second < 256; second++) {
            for (size_t i = 0; i < sizeof third; i++) {
                char value[] = {(char)first, (char)second, (char)third[i], 0};
                lw_json_string(&json, value);
                lw_json_raw(&json, "\n");
            }
        }
    }
    CHECK(!json.full);
    CHECK_EQUAL(fwrite(json.bytes, 1, json.size, lines), json.size); /* test_native.py parses each line */
    CHECK_EQUAL(fclose(lines), 0);
    lw_json_close(&json);
}

CASE(numbers)
{
    lw_json json;

    lw_json_open(&json, 1000);
    lw_json_number(&json, 0);
    lw_json_raw(&json, " ");
    lw_json_number(&json, UINT64_MAX);
    lw_json_number_member(&json, "n", 10);
    lw_json_bool_member(&json, "b", true);
    lw_json_null_member(&json, "z");
    lw_json_string_member(&json, "s", "x");
    lw_json_bytes(&json, "", 1);
    CHECK(strcmp(json.bytes, "0 18446744073709551615,\"n\":10,\"b\":true,\"z\":null,\"s\":\"x\"") == 0);
    lw_json_close(&json);
}

CASE(a_full_buffer_can_be_rewound)
{
    lw_json json;
    static char big[60000];

    memset(big, 'x', sizeof big - 1);
    lw_json_open(&json, 100000);
    lw_json_raw(&json, "start");
    lw_json_raw(&json, big);
    CHECK(!json.full);
    size_t before = json.size;
    lw_json_raw(&json, big);
    CHECK(json.full);
    lw_json_raw(&json, "y"); /* would fit, but would leave a hole before it */
    CHECK_EQUAL(json.size, before);
    lw_json_rewind(&json, 5);
    CHECK(!json.full);
    lw_json_raw(&json, "!");
    lw_json_bytes(&json, "", 1);
    CHECK(strcmp(json.bytes, "start!") == 0);
    lw_json_close(&json);
}
