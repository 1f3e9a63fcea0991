#include "guest/lambda_error.h"

#include "ct_test.h"

static char said[CT__LAMBDA_ERROR_BYTES + 1];

static const char *error_of(const char *body, const char *type) {
    const size_t len = strlen(body);
    uint8_t *exact = malloc(len > 0 ? len : 1); /* of exactly its size, so that a sanitizer sees a read past it */
    CHECK(exact != NULL);
    memcpy(exact, body, len);
    const ct__span span = {(const uint8_t *)type, type == NULL ? 0 : strlen(type)};
    const size_t count = ct__lambda_error(exact, len, span, (uint8_t *)said);
    said[count] = '\0';
    free(exact);
    CHECK_INT(ct_handler_error_check((const uint8_t *)said, count, 8), 0);
    return said;
}

static void the_words_of_each_client_become_ours(void) {
    CHECK_TEXT(error_of("{\"errorType\":\"KeyError\",\"errorMessage\":\"no \\u2603\",\"stackTrace\":[\"  File x\\n\",\"    f()\\n\"]}", "Unhandled"),
               "{\"type\":\"KeyError\",\"message\":\"no \xE2\x98\x83\",\"stack\":\"KeyError: no \xE2\x98\x83\\n  File x\\n    f()\\n\"}");
    CHECK_TEXT(error_of("{\"errorMessage\":\"m\",\"errorType\":\"E\",\"stackTrace\":[{\"path\":\"a.go\",\"line\":9,\"label\":\"f\"},{\"path\":\"b.go\",\"line\":-1}]}", NULL),
               "{\"type\":\"E\",\"message\":\"m\",\"stack\":\"E: m\\n    at f (a.go:9)\\n    at  (b.go)\"}");
    CHECK_TEXT(error_of("{\"errorType\":\"T\",\"errorMessage\":\"m\",\"trace\":[\"T: m\",\"    at f\"]}", NULL),
               "{\"type\":\"T\",\"message\":\"m\",\"stack\":\"T: m\\n    at f\"}");
    CHECK_TEXT(error_of("{\"errorType\":\"T\",\"errorMessage\":\"m\",\"stackTrace\":\"whole\"}", NULL),
               "{\"type\":\"T\",\"message\":\"m\",\"stack\":\"T: m\\nwhole\"}");
    CHECK_TEXT(error_of("{\"errorType\":\"T\",\"errorMessage\":\"m\",\"stackTrace\":[]}", NULL), "{\"type\":\"T\",\"message\":\"m\",\"stack\":\"T: m\"}");
    CHECK_TEXT(error_of("{\"errorType\":\"T\",\"errorMessage\":\"m\",\"stackTrace\":[5,null,{}]}", NULL),
               "{\"type\":\"T\",\"message\":\"m\",\"stack\":\"T: m\\n\"}");
}

static void what_is_missing_is_taken_from_elsewhere(void) {
    CHECK_TEXT(error_of("{\"errorMessage\":\"m\"}", "Function.Odd"), "{\"type\":\"Function.Odd\",\"message\":\"m\"}");
    CHECK_TEXT(error_of("{\"errorMessage\":\"m\"}", NULL), "{\"type\":\"Error\",\"message\":\"m\"}");
    CHECK_TEXT(error_of("{\"errorType\":5,\"errorMessage\":{\"a\":1}}", "T"), "{\"type\":\"T\",\"message\":\"{\\\"a\\\":1}\"}");
    CHECK_TEXT(error_of("[1]", "T"), "{\"type\":\"T\",\"message\":\"[1]\"}");
    CHECK_TEXT(error_of("it broke\n", NULL), "{\"type\":\"Error\",\"message\":\"it broke\\n\"}");
    CHECK_TEXT(error_of("", "T"), "{\"type\":\"T\",\"message\":\"\"}");
    CHECK_TEXT(error_of("\xFF\xFE", "T"), "{\"type\":\"Error\",\"message\":\"the program reported an error in bytes that are no text\"}");
    CHECK_TEXT(error_of("{}", "\x80"), "{\"type\":\"Error\",\"message\":\"the program reported an error in bytes that are no text\"}");
}

static size_t put(char *out, const char *words) {
    const size_t len = strlen(words);
    memcpy(out, words, len);
    return len;
}

/* Longer texts than are kept are cut, at a character. */
static void all_is_bounded(void) {
    enum { MANY = 40 << 10 };
    char *body = malloc(8 * MANY);
    CHECK(body != NULL);
    size_t len = put(body, "{\"errorType\":\"");
    for (int i = 0; i < 300; i++)
        len += put(body + len, "\xE2\x98\x83");
    len += put(body + len, "\",\"errorMessage\":\"");
    for (int i = 0; i < MANY; i++)
        len += put(body + len, "\\u0001"); /* each is six again where it is quoted */
    len += put(body + len, "\",\"stackTrace\":[\"x\"");
    for (int i = 0; i < 9000; i++)
        len += put(body + len, ",\"\xC3\xA9\xC3\xA9\"");
    len += put(body + len, "]}");
    body[len] = '\0';
    CHECK_INT(ct_json_check((const uint8_t *)body, len, 8), 0);
    (void)error_of(body, NULL);
    CHECK(strlen(said) > 6 * CT__ERROR_MESSAGE_BYTES && strlen(said) <= CT__LAMBDA_ERROR_BYTES);
    free(body);
    char *plain = malloc(MANY + 1);
    CHECK(plain != NULL);
    memset(plain, 'a', MANY);
    plain[CT__ERROR_MESSAGE_BYTES - 1] = (char)0xE2; /* would be cut in the middle */
    plain[CT__ERROR_MESSAGE_BYTES] = (char)0x98;
    plain[CT__ERROR_MESSAGE_BYTES + 1] = (char)0x83;
    plain[MANY] = '\0';
    CHECK_INT(strlen(error_of(plain, NULL)), CT__ERROR_MESSAGE_BYTES - 1 + strlen("{\"type\":\"Error\",\"message\":\"\"}"));
    free(plain);
}

static void our_own_failures_have_the_same_form(void) {
    said[ct__error_of("Runtime.Odd", "it \"broke\"", (uint8_t *)said)] = '\0';
    CHECK_TEXT(said, "{\"type\":\"Runtime.Odd\",\"message\":\"it \\\"broke\\\"\"}");
}

int main(void) {
    static const ct_case cases[] = {CASE(the_words_of_each_client_become_ours), CASE(what_is_missing_is_taken_from_elsewhere),
                                    CASE(all_is_bounded), CASE(our_own_failures_have_the_same_form)};
    return RUN("lambda_error", cases);
}
