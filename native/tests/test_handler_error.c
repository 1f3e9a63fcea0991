#include "base/abi.h"

#include "ct_test.h"

static int check(const char *text) {
    const size_t len = strlen(text);
    uint8_t *copy = malloc(len > 0 ? len : 1); /* exact, so that a read past the end is seen */
    memcpy(copy, text, len);
    const int result = ct_handler_error_check(copy, len, 512);
    free(copy);
    return result;
}

static void an_error_has_its_shape(void) {
    static const char *const good[] = {
        "{\"type\":\"E\",\"message\":\"m\"}",
        " {\"message\" : \"m\" , \"type\":\"\" , \"stack\":\"s\\n\\\"\"} ",
        "{\"type\":\"E\",\"x\":[{\"type\":1},[]],\"y\":-1.5e3,\"message\":\"\\uD83D\\uDE00\",\"z\":{}}",
        "{\"a\":{\"b\":\"}\"},\"type\":\"E\",\"message\":\"\\u0041\"}",
    };
    static const char *const bad[] = {
        "", "1", "[]", "{}", "{\"type\":\"E\"}", "{\"message\":\"m\"}", "{\"type\":1,\"message\":\"m\"}",
        "{\"type\":\"E\",\"message\":null}", "{\"type\":\"E\",\"message\":\"m\",\"stack\":0}",
        "{\"type\":\"E\",\"message\":\"m\",\"type\":1}", "{\"type\":\"E\",\"message\":\"m\",}",
        "{\"x\":{\"type\":\"E\",\"message\":\"m\"}}", "{\"typ\\u0065\":\"E\",\"message\":\"m\"}",
        "{\"type\":\"E\",\"message\":\"m\",\"stac\\u006b\":1}", "{\"type\":\"E\",\"message\":\"\\uD800\"}",
        "{\"type\":\"E\",\"message\":\"\\uDC00\"}", "{\"type\":\"E\",\"message\":\"\\uD800\\uD800\"}",
        "{\"type\":\"E\",\"message\":\"m\",\"x\":[\"\\uD800x\"]}", "{\"type\":\"E\",\"message\":\"m\",\"x\":\"\\uD800\\n\"}",
        "{\"type\":\"E\",\"message\":\"m\",\"\\uD800\":1}", "{\"type\":\"E\",\"message\":\"m\"}x",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        CHECK_INT(check(good[i]), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        CHECK_INT(check(bad[i]), CT_E_MALFORMED);
}

static void depth_is_bounded(void) {
    static const uint8_t text[] = "{\"type\":\"E\",\"message\":\"m\",\"x\":[[]]}";
    CHECK_INT(ct_handler_error_check(text, sizeof text - 1, 2), CT_E_DEPTH);
    CHECK_INT(ct_handler_error_check(text, sizeof text - 1, 3), 0);
    CHECK_INT(ct_handler_error_check(text, sizeof text - 2, 3), CT_E_MALFORMED);
}

int main(void) {
    static const ct_case cases[] = {CASE(an_error_has_its_shape), CASE(depth_is_bounded)};
    return RUN("handler_error", cases);
}
