#include "proto/json_member.h"

#include "ct_test.h"

static const char *member(const char *json, const char *name) {
    static char out[256];
    const size_t len = strlen(json);
    uint8_t *exact = malloc(len > 0 ? len : 1); /* of exactly its size, so that a sanitizer sees a read past it */
    CHECK(exact != NULL);
    memcpy(exact, json, len);
    const uint8_t *value = NULL;
    const size_t found = ct__json_member(exact, len, name, &value);
    CHECK(found < sizeof out);
    if (found > 0)
        memcpy(out, value, found);
    out[found] = '\0';
    free(exact);
    return out;
}

static void members_of_the_outermost_object_are_found(void) {
    CHECK_TEXT(member("{\"a\":1}", "a"), "1");
    CHECK_TEXT(member(" {\n\"a\" : \"x\\\"y\" , \"b\":[1,{\"a\":2},\"]\"] ,\"c\": {\"a\":3}}\t", "a"), "\"x\\\"y\"");
    CHECK_TEXT(member("{\"a\":1,\"b\":[1,{\"a\":2},\"]\"] ,\"c\":true}", "b"), "[1,{\"a\":2},\"]\"]");
    CHECK_TEXT(member("{\"a\":1,\"b\":-1.5e3 \n}", "b"), "-1.5e3");
    CHECK_TEXT(member("{\"b\":{\"a\":1},\"c\":\"a\"}", "a"), "");
    CHECK_TEXT(member("{\"a\":1,\"a\":2}", "a"), "2"); /* the last one counts */
    CHECK_TEXT(member("{}", "a"), "");
    CHECK_TEXT(member("[\"a\",1]", "a"), "");
    CHECK_TEXT(member("\"a\"", "a"), "");
    CHECK_TEXT(member("", "a"), "");
    CHECK_TEXT(member("{\"ab\":1,\"\":2}", "a"), "");
}

static void what_is_no_json_ends_somewhere_within(void) {
    static const char *const BROKEN[] = {"{", "{\"", "{\"a", "{\"a\"", "{\"a\":", "{\"a\":\"", "{\"a\":\"\\", "{\"a\":[", "{\"a\":[}", "{\"a\":1,", "{\"a\" 1}", "{a:1}", "{\"b\\"};
    for (size_t i = 0; i < sizeof BROKEN / sizeof *BROKEN; i++)
        (void)member(BROKEN[i], "a");
}

static void numbers(void) {
    CHECK_INT(ct__json_number((const uint8_t *)"0", 1), 0);
    CHECK_INT(ct__json_number((const uint8_t *)"429", 3), 429);
    CHECK_INT(ct__json_number((const uint8_t *)"999999999", 9), 999999999);
    CHECK_INT(ct__json_number((const uint8_t *)"1000000000", 10), -1);
    CHECK_INT(ct__json_number((const uint8_t *)"-1", 2), -1);
    CHECK_INT(ct__json_number((const uint8_t *)"1.0", 3), -1);
    CHECK_INT(ct__json_number((const uint8_t *)"", 0), -1);
}

static const char *ascii(const char *value, size_t cap) {
    static char out[256];
    const ptrdiff_t len = ct__json_ascii((const uint8_t *)value, strlen(value), out, cap);
    if (len < 0)
        return "none";
    out[len] = '\0';
    return out;
}

static void strings_become_ascii(void) {
    CHECK_TEXT(ascii("\"Value\"", 128), "Value");
    CHECK_TEXT(ascii("\"Value\"", 3), "Val");
    CHECK_TEXT(ascii("\"\"", 128), "");
    CHECK_TEXT(ascii("\"a\\\"\\\\\\/b\"", 128), "a\"\\/b");
    CHECK_TEXT(ascii("\"a\\b\\f\\n\\r\\t\\u0000\\u007F\\u0041b\"", 128), "aAb"); /* what a header can not carry */
    CHECK_TEXT(ascii("\"\xC3\xA9-\xF0\x9F\x98\x80-\\u00e9-\\ud83d\\ude00-\\uFFfd\"", 128), "?-?-?-?-?");
    CHECK_TEXT(ascii("\"\\ud83d-\"", 128), "?-");
    CHECK_TEXT(ascii("\"\\u12\"", 128), "?12");
    CHECK_TEXT(ascii("\"\\\"", 128), "\\");
    CHECK_TEXT(ascii("5", 128), "none");
    CHECK_TEXT(ascii("\"", 128), "none");
    CHECK_TEXT(ascii("[]", 128), "none");
}

static void text_is_quoted(void) {
    uint8_t out[128];
    static const char TEXT[] = "a\"b\\c\b\f\n\r\t\x01\x1F\xC3\xA9";
    const size_t len = ct__json_quote(out, (const uint8_t *)TEXT, sizeof TEXT - 1);
    out[len] = '\0';
    CHECK_TEXT((char *)out, "\"a\\\"b\\\\c\\b\\f\\n\\r\\t\\u0001\\u001f\xC3\xA9\"");
    CHECK_INT(ct_json_check(out, len, 8), 0);
    CHECK_INT(ct__json_quote(out, NULL, 0), 2);
}

static const char *text(const char *value, size_t cap) {
    static char out[256];
    const ptrdiff_t len = ct__json_text((const uint8_t *)value, strlen(value), (uint8_t *)out, cap);
    if (len < 0)
        return "none";
    out[len] = '\0';
    return out;
}

static void strings_become_utf8(void) {
    CHECK_TEXT(text("\"a\\\"b\\\\c\\/\\b\\f\\n\\r\\t\"", 128), "a\"b\\c/\b\f\n\r\t");
    CHECK_TEXT(text("\"\\u00e9\\u2603\\ud83d\\ude00\"", 128), "\xC3\xA9\xE2\x98\x83\xF0\x9F\x98\x80");
    CHECK_TEXT(text("\"\xC3\xA9\xF0\x9F\x98\x80\"", 128), "\xC3\xA9\xF0\x9F\x98\x80");
    CHECK_TEXT(text("\"\\ud83dx\"", 128), "\xEF\xBF\xBDx");                      /* half a pair */
    CHECK_TEXT(text("\"\\ud83d\\u0041\"", 128), "\xEF\xBF\xBD""A");
    CHECK_TEXT(text("\"\\ude00\"", 128), "\xEF\xBF\xBD");
    CHECK_TEXT(text("\"ab\xC3\xA9\"", 3), "ab"); /* whole characters only */
    CHECK_TEXT(text("\"ab\\ud83d\\ude00\"", 5), "ab");
    CHECK_TEXT(text("\"abc\"", 2), "ab");
    CHECK_TEXT(text("\"\"", 128), "");
    CHECK_TEXT(text("\"\\u12\"", 128), "\xEF\xBF\xBD" "12"); /* no JSON: within its bounds */
    CHECK_TEXT(text("5", 128), "none");
    CHECK_TEXT(text("\"", 128), "none");
}

static const char *items(const char *json) {
    static char out[256];
    const size_t len = strlen(json);
    uint8_t *exact = malloc(len > 0 ? len : 1);
    CHECK(exact != NULL);
    memcpy(exact, json, len);
    const uint8_t *value = NULL;
    size_t at = 0, found = 0, written = 0;
    while ((found = ct__json_item(exact, len, &at, &value)) > 0) {
        CHECK(written + found + 1 < sizeof out);
        memcpy(out + written, value, found);
        written += found;
        out[written++] = ';';
    }
    out[written] = '\0';
    free(exact);
    return out;
}

static void items_of_an_array_are_found(void) {
    CHECK_TEXT(items("[1, \"a,]\" ,{\"b\":[2,3]} , [4] ]"), "1;\"a,]\";{\"b\":[2,3]};[4];");
    CHECK_TEXT(items(" [\n]"), "");
    CHECK_TEXT(items("{\"a\":[1]}"), "");
    CHECK_TEXT(items("\"[1]\""), "");
    CHECK_TEXT(items(""), "");
    static const char *const BROKEN[] = {"[", "[1", "[1,", "[,", "[\"", "[[", "[1 2", "[\"\\"};
    for (size_t i = 0; i < sizeof BROKEN / sizeof *BROKEN; i++)
        (void)items(BROKEN[i]);
}

int main(void) {
    static const ct_case cases[] = {CASE(members_of_the_outermost_object_are_found), CASE(what_is_no_json_ends_somewhere_within),
                                    CASE(numbers), CASE(strings_become_ascii), CASE(strings_become_utf8),
                                    CASE(items_of_an_array_are_found), CASE(text_is_quoted)};
    return RUN("json_member", cases);
}
