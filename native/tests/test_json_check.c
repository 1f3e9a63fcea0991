#include "base/abi.h"
#include "ct_test.h"

/* In memory of exactly its size, so that a sanitizer sees a read past the end. */
static int check(const char *text, size_t len, uint32_t depth) {
    uint8_t *copy = malloc(len > 0 ? len : 1);
    CHECK(copy != NULL);
    memcpy(copy, text, len);
    const int result = ct_json_check(copy, len, depth);
    free(copy);
    return result;
}

static const char DOCUMENT[] = " {\"a\": [1, -2.5e+10, true, false, null, \"\\u00e9\\n\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"], "
                               "\"long enough for eight at a time\": {}, \"\": []} ";

static void no_prefix_of_a_document_is_one(void) {
    const size_t len = strlen(DOCUMENT);
    CHECK_INT(check(DOCUMENT, len, 8), 0);
    for (size_t cut = 0; cut < len - 1; cut++)
        CHECK_INT(check(DOCUMENT, cut, 8), CT_E_MALFORMED);
}

static void a_byte_that_can_not_be_is_found_wherever_it_is(void) {
    const size_t len = strlen(DOCUMENT);
    for (size_t at = 0; at < len; at++) {
        char broken[sizeof DOCUMENT];
        memcpy(broken, DOCUMENT, sizeof broken);
        broken[at] = '\x01';
        CHECK_INT(check(broken, len, 8), CT_E_MALFORMED);
        broken[at] = '\xff';
        CHECK_INT(check(broken, len, 8), CT_E_MALFORMED);
    }
}

static void depth_counts_containers(void) {
    CHECK_INT(check("1", 1, 0), 0);
    CHECK_INT(check("[]", 2, 0), CT_E_DEPTH);
    CHECK_INT(check("[[],{\"a\":[]}]", 13, 3), 0);
    CHECK_INT(check("[[],{\"a\":[]}]", 13, 2), CT_E_DEPTH);
    char deep[CT_JSON_DEPTH_MAX + 1];
    memset(deep, '[', sizeof deep);
    CHECK_INT(check(deep, sizeof deep, UINT32_MAX), CT_E_DEPTH);
    CHECK_INT(check(deep, sizeof deep - 1, UINT32_MAX), CT_E_MALFORMED);
}

static void only_the_shortest_utf8_passes(void) {
    static const char *const bad[] = {"\"\xc0\x80\"",         "\"\xc1\xbf\"",     "\"\xe0\x9f\xbf\"", "\"\xed\xa0\x80\"",
                                      "\"\xf0\x8f\xbf\xbf\"", "\"\xf4\x90\x80\x80\"", "\"\xf5\x80\x80\x80\"", "\"\x80\"",
                                      "\"\xc3\"",             "\"\xe2\x82\"",     "\"\xf0\x9f\x98\""};
    static const char *const good[] = {"\"\xc2\x80\"",     "\"\xdf\xbf\"",         "\"\xe0\xa0\x80\"",    "\"\xed\x9f\xbf\"",
                                       "\"\xee\x80\x80\"", "\"\xf0\x90\x80\x80\"", "\"\xf4\x8f\xbf\xbf\"", "\"\x7f\""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_INT(check(bad[i], strlen(bad[i]), 1), CT_E_MALFORMED);
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_INT(check(good[i], strlen(good[i]), 1), 0);
}

static void brackets_must_match(void) {
    CHECK_INT(check("[}", 2, 9), CT_E_MALFORMED);
    CHECK_INT(check("{]", 2, 9), CT_E_MALFORMED);
    CHECK_INT(check("[{\"a\":1]]", 9, 9), CT_E_MALFORMED);
    CHECK_INT(check("{\"a\":[1}}", 9, 9), CT_E_MALFORMED);
    CHECK_INT(check("[1]]", 4, 9), CT_E_MALFORMED);
}

int main(void) {
    static const ct_case cases[] = {CASE(no_prefix_of_a_document_is_one), CASE(a_byte_that_can_not_be_is_found_wherever_it_is),
                                    CASE(depth_counts_containers), CASE(only_the_shortest_utf8_passes),
                                    CASE(brackets_must_match)};
    return RUN("json_check", cases);
}
