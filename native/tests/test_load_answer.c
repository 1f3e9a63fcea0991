#include "base/abi.h"
#include "ct_test.h"
#include "load/answer.h"
#include "load/outcome.h"

static int split(const char *text, size_t len, ct__answer *out, uint8_t **kept) {
    *kept = malloc(len > 0 ? len : 1); /* of exactly this size, so that a sanitizer sees a read past it */
    CHECK(*kept != NULL);
    memcpy(*kept, text, len);
    return ct__answer_split(*kept, len, out);
}

static int result_of(const char *text) {
    ct__answer answer;
    uint8_t *kept = NULL;
    const int result = split(text, strlen(text), &answer, &kept);
    free(kept);
    return result;
}

static void check_whole(const char *text, int status, const char *body, bool is_kept) {
    const size_t len = strlen(text);
    for (size_t part = 0; part <= len; part++) {
        ct__answer answer = {.status = 77};
        uint8_t *kept = NULL;
        const int result = split(text, part, &answer, &kept);
        if (part < len) {
            CHECK_INT(result, CT_E_MORE);
            CHECK_INT(answer.status, 77); /* written only on success */
        } else {
            CHECK_INT(result, 0);
            CHECK_INT(answer.status, status);
            CHECK_INT(answer.used, len);
            CHECK_INT(answer.body_len, strlen(body));
            CHECK(memcmp(answer.body, body, answer.body_len) == 0);
            CHECK(answer.is_kept == is_kept);
        }
        free(kept);
    }
}

static void an_answer_is_whole_only_at_its_end(void) {
    check_whole("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, "hello", true);
    check_whole("HTTP/1.1 200\r\ncontent-length:0\r\nConnection: close\r\n\r\n", 200, "", false);
    check_whole("HTTP/1.1 204 No Content\r\nx: y\r\n\r\n", 204, "", true);
    check_whole("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 429 X\r\ncontent-length: 2\r\n\r\n{}", 429, "{}", true);
    check_whole("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n", 200,
                "abc0123456789", true);
}

static void what_is_not_http_is_refused(void) {
    static const char *bad[] = {
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 099 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\n: x\r\ncontent-length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: \r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\nx",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2 \r\nab\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nabc\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: trailer\r\n\r\n",
        "x\r\n\r\n",
        "\r\n\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_INT(result_of(bad[i]), CT_E_MALFORMED);
    CHECK_INT(result_of("HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n"), CT_E_TOOBIG);
    CHECK_INT(result_of("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n"), CT_E_TOOBIG);
}

static void a_head_that_does_not_end_is_refused(void) {
    uint8_t *buf = malloc(CT__ANSWER_HEAD_MAX);
    CHECK(buf != NULL);
    memset(buf, 'x', CT__ANSWER_HEAD_MAX);
    ct__answer answer;
    CHECK_INT(ct__answer_split(buf, CT__ANSWER_HEAD_MAX - 1, &answer), CT_E_MORE);
    CHECK_INT(ct__answer_split(buf, CT__ANSWER_HEAD_MAX, &answer), CT_E_TOOBIG);
    free(buf);
}

static void check_outcome(int status, const char *body, const char *expected) {
    char what[CT__OUTCOME_TEXT];
    const ct__answer answer = {.status = status, .body = (const uint8_t *)body, .body_len = strlen(body)};
    ct__outcome_of(&answer, what);
    CHECK(strcmp(what, expected) == 0);
}

static void an_outcome_is_named_as_the_bench_names_it(void) {
    check_outcome(200, "{\"output\":1,\"error\":null}", "ok");
    check_outcome(200, "hello", "ok");
    check_outcome(200, "{\"output\":null,\"error\":{}}", "the function raised");
    check_outcome(429, "{\"status\":429,\"code\":\"queue_full\"}", "429 queue_full");
    check_outcome(503, "", "503");
    check_outcome(500, "{\"code\":\"a\\\"b\"}", "500 a");
    char longer[200] = "{\"code\":\"";
    memset(longer + 9, 'x', sizeof longer - 10);
    char what[CT__OUTCOME_TEXT];
    const ct__answer answer = {.status = 500, .body = (const uint8_t *)longer, .body_len = sizeof longer - 1};
    ct__outcome_of(&answer, what);
    CHECK_INT(strlen(what), CT__OUTCOME_TEXT - 1);
}

static void outcomes_beyond_the_table_are_others(void) {
    ct__outcomes all = {0};
    for (int i = 0; i < 40; i++) {
        char what[CT__OUTCOME_TEXT];
        (void)snprintf(what, sizeof what, "kind %d", i);
        CHECK_INT(ct__outcomes_add(&all, what, 5), 0);
        CHECK_INT(ct__outcomes_add(&all, "kind 0", 5), 0);
    }
    CHECK_INT(all.count, CT__OUTCOMES_MAX);
    CHECK_INT(all.took_us[0]->count, 41);
    CHECK(strcmp(all.what[CT__OUTCOMES_MAX - 1], "others") == 0);
    CHECK_INT(all.took_us[CT__OUTCOMES_MAX - 1]->count, 40 - CT__OUTCOMES_MAX + 1);
    ct__outcomes_fini(&all);
}

int main(void) {
    an_answer_is_whole_only_at_its_end();
    what_is_not_http_is_refused();
    a_head_that_does_not_end_is_refused();
    an_outcome_is_named_as_the_bench_names_it();
    outcomes_beyond_the_table_are_others();
    return 0;
}
