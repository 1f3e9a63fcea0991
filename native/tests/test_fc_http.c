#include "vm/fc_http.h"

#include "ct_test.h"

#define SERVER "Server: Firecracker API\r\nConnection: keep-alive\r\n"
#define NO_CONTENT "HTTP/1.1 204 \r\n" SERVER "\r\n"

static ct__span span_of(const char *text) {
    return (ct__span){(const uint8_t *)text, strlen(text)};
}

/* Reads it whole and in steps of each size up to 3, each part in memory of exactly its size; all must say the same. */
static int answer_of(const char *text, size_t len, ct__fc_answer *out) {
    ct__fc_scan scan = {0};
    const int whole = ct__fc_answer_read(&scan, (const uint8_t *)text, len, out);
    for (size_t step = 1; step <= 3; step++) {
        ct__fc_scan slow = {0};
        ct__fc_answer own;
        int result = CT_E_MORE;
        size_t part = 0;
        for (;;) {
            uint8_t *exact = malloc(part > 0 ? part : 1);
            CHECK(exact != NULL);
            memcpy(exact, text, part);
            result = ct__fc_answer_read(&slow, exact, part, &own);
            free(exact);
            if (result != CT_E_MORE || part == len)
                break;
            part = len - part < step ? len : part + step;
        }
        CHECK_INT(result, whole);
        if (whole != 0)
            continue;
        CHECK(part >= own.used && part < own.used + step);
        CHECK_INT(own.used, out->used);
        CHECK_INT(own.status, out->status);
        CHECK_INT(own.body.len, out->body.len);
        CHECK_INT(own.closes, out->closes);
    }
    return whole;
}

static int code_of(const char *text) {
    ct__fc_answer answer;
    return answer_of(text, strlen(text), &answer);
}

/* ---- requests ---- */

static const char *request_of(enum ct__fc_method method, const char *target, const char *body) {
    static char out[1024];
    const int len = ct__fc_request((uint8_t *)out, sizeof out - 1, method, target, span_of(body));
    CHECK(len > 0);
    out[len] = '\0';
    return out;
}

static void requests_are_written(void) {
    CHECK_TEXT(request_of(CT__FC_GET, "/", ""), "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n\r\n");
    CHECK_TEXT(request_of(CT__FC_PUT, "/drives/root", "{\"drive_id\":\"root\"}"),
               "PUT /drives/root HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
               "Content-Length: 19\r\n\r\n{\"drive_id\":\"root\"}");
    CHECK_TEXT(request_of(CT__FC_PATCH, "/vm", "{\"state\":\"Paused\"}"),
               "PATCH /vm HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/json\r\n"
               "Content-Length: 18\r\n\r\n{\"state\":\"Paused\"}");
}

/* Our own server's parser is as strict as ours for answers: it takes what we write. */
static void requests_are_http(void) {
    const char *text = request_of(CT__FC_PUT, "/actions", "{\"action_type\":\"InstanceStart\"}");
    ct__http1_scan scan = {0};
    ct__http1_head head;
    CHECK_INT(ct__http1_request(&scan, (const uint8_t *)text, strlen(text), &head), 0);
    CHECK(ct__span_is(head.method, "PUT") && ct__span_is(head.target, "/actions") && ct__span_is(head.host, "localhost"));
    CHECK(head.framing == CT__HTTP1_LENGTH && !head.closes);
    CHECK_INT(head.used + head.length, strlen(text));
}

static void a_request_fits_or_is_not_written(void) {
    const size_t len = strlen(request_of(CT__FC_PUT, "/vsock", "{}"));
    for (size_t cap = 0; cap <= len; cap++) {
        uint8_t *exact = malloc(cap > 0 ? cap : 1);
        CHECK(exact != NULL);
        CHECK_INT(ct__fc_request(exact, cap, CT__FC_PUT, "/vsock", span_of("{}")), cap < len ? CT_E_NOSPACE : (int)len);
        free(exact);
    }
}

static void what_firecracker_would_refuse_is_not_written(void) {
    uint8_t out[1024];
    static const char *const TARGETS[] = {"", "drives", "/a b", "/a\r\nX: y", "/a#b", "/\x80", "*", "http://a/"};
    for (size_t i = 0; i < sizeof TARGETS / sizeof *TARGETS; i++)
        CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_GET, TARGETS[i], (ct__span){0}), CT_E_RANGE);
    CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_GET, "/", span_of("{}")), CT_E_RANGE);
    CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_PUT, "/vsock", (ct__span){0}), CT_E_RANGE);
    CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_PATCH, "/vm", (ct__span){0}), CT_E_RANGE);
}

static void limits_of_a_request(void) {
    static uint8_t out[CT__FC_REQUEST_HEAD_BYTES + CT__FC_REQUEST_BODY_BYTES], body[CT__FC_REQUEST_BODY_BYTES + 1];
    char target[CT__FC_TARGET_BYTES + 2];
    memset(body, ' ', sizeof body);
    memset(target, 'a', sizeof target);
    target[0] = '/';
    target[CT__FC_TARGET_BYTES] = '\0';
    /* The longest there is fits what the header promises. */
    CHECK(ct__fc_request(out, sizeof out, CT__FC_PATCH, target, (ct__span){body, CT__FC_REQUEST_BODY_BYTES}) > CT__FC_REQUEST_BODY_BYTES);
    CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_PUT, "/a", (ct__span){body, sizeof body}), CT_E_TOOBIG);
    target[CT__FC_TARGET_BYTES] = 'a';
    target[CT__FC_TARGET_BYTES + 1] = '\0';
    CHECK_INT(ct__fc_request(out, sizeof out, CT__FC_GET, target, (ct__span){0}), CT_E_TOOBIG);
}

/* ---- answers ---- */

static void an_answer_without_body(void) {
    ct__fc_answer answer;
    CHECK_INT(answer_of(NO_CONTENT, strlen(NO_CONTENT), &answer), 0);
    CHECK_INT(answer.status, 204);
    CHECK_INT(answer.body.len, 0);
    CHECK_INT(answer.used, strlen(NO_CONTENT));
    CHECK(!answer.closes);
    CHECK_INT(code_of("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 0);
}

static void an_answer_with_a_body(void) {
    static const char TEXT[] = "HTTP/1.1 200 \r\n" SERVER "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"id\":\"a\"}   HTTP/1.1 ";
    ct__fc_answer answer;
    CHECK_INT(answer_of(TEXT, sizeof TEXT - 1, &answer), 0);
    CHECK_INT(answer.status, 200);
    CHECK(ct__span_is(answer.body, "{\"id\":\"a\"}   "));
    CHECK_INT(answer.used, sizeof TEXT - 1 - strlen("HTTP/1.1 ")); /* the next one is left */
    CHECK_INT(code_of("HTTP/1.1 400 Bad Request\r\nContent-Length: 5\r\n\r\n1234"), CT_E_MORE);
    CHECK_INT(code_of("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), 0);
    CHECK_INT(code_of(""), CT_E_MORE);
    CHECK_INT(code_of("HTTP/1.1 200 OK\r\nContent-"), CT_E_MORE);
}

static void a_connection_that_closes_is_told(void) {
    static const char TEXT[] = "HTTP/1.1 204 \r\nConnection: close\r\n\r\n";
    ct__fc_answer answer;
    CHECK_INT(answer_of(TEXT, sizeof TEXT - 1, &answer), 0);
    CHECK(answer.closes);
}

static void continue_is_passed_over(void) {
    static const char TEXT[] = "HTTP/1.1 100 \r\n" SERVER "\r\nHTTP/1.1 100 Continue\r\n\r\n" NO_CONTENT;
    ct__fc_answer answer;
    CHECK_INT(answer_of(TEXT, sizeof TEXT - 1, &answer), 0);
    CHECK_INT(answer.status, 204);
    CHECK_INT(answer.used, sizeof TEXT - 1);
    CHECK_INT(code_of("HTTP/1.1 100 Continue\r\n\r\n"), CT_E_MORE);
    CHECK_INT(code_of("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"), 0);
}

static void what_no_firecracker_sends_is_malformed(void) {
    static const char *const TEXTS[] = {
        "HTTP/1.1 20 \r\n\r\n",
        "HTTP/1.1 2000 \r\n\r\n",
        "HTTP/1.1 2x4 \r\n\r\n",
        "HTTP/1.1  204\r\n\r\n",
        "HTTP/2.0 204 \r\n\r\n",
        "http/1.1 204 \r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\r\nHTTP/1.1 204 \r\n\r\n",
        "HTTP/1.1 204 \n\n",
        "HTTP/1.1 204 \r\nServer: a\n\r\n",
        "HTTP/1.1 204 \r\nServer : a\r\n\r\n",
        "HTTP/1.1 204 \r\n Server: a\r\n\r\n",
        "HTTP/1.1 204 \r\nServer\r\n\r\n",
        "HTTP/1.1 204 \r\n: a\r\n\r\n",
        "HTTP/1.1 204 \r\nServer: a\x01\r\n\r\n",
        "HTTP/1.1 204 \r\nServer: a\r\nserver: a\r\n\r\n",
        "HTTP/1.1 204 \r\nX-One: a\r\nX-Two: a\r\nX-ONE: b\r\n\r\n",
        "HTTP/1.1 200 \r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length: 2, 2\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length: +2\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length: -1\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length: 0x2\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length:\r\n\r\n{}",
        "HTTP/1.1 200 \r\nContent-Length: 9999999999999999999\r\n\r\n{}", /* no number that we could hold */
        "HTTP/1.1 200 \r\nServer: a\r\n\r\n{}",            /* a body that only closing would end */
        "HTTP/1.1 204 \r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 304 \r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 100 \r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 103 \r\n\r\n" NO_CONTENT,
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++) {
        if (code_of(TEXTS[i]) != CT_E_MALFORMED)
            (void)fprintf(stderr, "%s\n", TEXTS[i]);
        CHECK_INT(code_of(TEXTS[i]), CT_E_MALFORMED);
    }
}

static void codings_and_the_old_version_are_unsupported(void) {
    static const char *const TEXTS[] = {
        "HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        "HTTP/1.1 200 \r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 204 \r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.0 204 \r\n\r\n",
        "HTTP/1.0 200 \r\nContent-Length: 2\r\n\r\n{}",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        CHECK_INT(code_of(TEXTS[i]), CT_E_UNSUPPORTED);
}

/* A head of exactly `size` bytes whose body is empty. */
static int head_of(size_t size) {
    static char text[CT__FC_HEAD_BYTES + 64];
    static const char BEGIN[] = "HTTP/1.1 204 \r\nServer: ";
    memset(text, 'a', sizeof text);
    memcpy(text, BEGIN, sizeof BEGIN - 1);
    memcpy(text + size - 4, "\r\n\r\n", 4);
    ct__fc_answer answer;
    return answer_of(text, size, &answer);
}

static void limits_of_a_head(void) {
    CHECK_INT(head_of(CT__FC_HEAD_BYTES), 0);
    CHECK_INT(head_of(CT__FC_HEAD_BYTES + 1), CT_E_TOOBIG);
    char text[1024] = "HTTP/1.1 204 \r\n";
    for (int i = 0; i < CT__FC_FIELDS; i++)
        (void)sprintf(text + strlen(text), "X%d: a\r\n", i);
    char *end = text + strlen(text);
    (void)strcpy(end, "\r\n");
    CHECK_INT(code_of(text), 0);
    (void)strcpy(end, "Y: a\r\n\r\n");
    CHECK_INT(code_of(text), CT_E_TOOBIG);
}

static void continues_have_an_end(void) {
    static const char ONE[] = "HTTP/1.1 100 \r\n\r\n";
    static char text[2 * CT__FC_HEAD_BYTES];
    for (size_t at = 0; at + sizeof ONE <= sizeof text; at += sizeof ONE - 1)
        memcpy(text + at, ONE, sizeof ONE);
    CHECK_INT(code_of(text), CT_E_TOOBIG);
}

static void limits_of_a_body(void) {
    static char text[CT__FC_BODY_BYTES + 128];
    memset(text, ' ', sizeof text);
    const size_t head = (size_t)sprintf(text, "HTTP/1.1 200 \r\nContent-Length: %d\r\n\r\n", CT__FC_BODY_BYTES);
    text[head] = ' ';
    ct__fc_scan scan = {0};
    ct__fc_answer answer;
    CHECK_INT(ct__fc_answer_read(&scan, (const uint8_t *)text, head + CT__FC_BODY_BYTES - 1, &answer), CT_E_MORE);
    CHECK_INT(ct__fc_answer_read(&scan, (const uint8_t *)text, head + CT__FC_BODY_BYTES, &answer), 0);
    CHECK_INT(answer.body.len, CT__FC_BODY_BYTES);
    CHECK_INT(code_of("HTTP/1.1 200 \r\nContent-Length: 65537\r\n\r\n"), CT_E_TOOBIG);
    CHECK_INT(code_of("HTTP/1.1 200 \r\nContent-Length: 999999999999999999\r\n\r\n"), CT_E_TOOBIG);
}

/* ---- faults ---- */

static const char *fault_of(const char *body, size_t cap) {
    static char out[128];
    out[ct__fc_fault(span_of(body), out, cap)] = '\0';
    return out;
}

static void a_fault_is_firecrackers_own_words(void) {
    CHECK_TEXT(fault_of("{\"fault_message\":\"The requested operation is not supported.\"}", 100), "The requested operation is not supported.");
    CHECK_TEXT(fault_of("{\"fault_message\":\"Load \\\"a\\\":\\n\\u0001\\u00e9\\u001b[2J\"}", 100), "Load \"a\":?[2J"); /* fit for a log */
    CHECK_TEXT(fault_of("{\"fault_message\":\"abcdef\"}", 3), "abc");
    CHECK_TEXT(fault_of("{\"fault_message\":\"\"}", 100), "");
    CHECK_TEXT(fault_of("{\"fault_message\":12}", 100), "");
    CHECK_TEXT(fault_of("{\"message\":\"a\"}", 100), "");
    CHECK_TEXT(fault_of("[\"fault_message\"]", 100), "");
    CHECK_TEXT(fault_of("{\"fault_message\":\"a\"", 100), "");
    CHECK_TEXT(fault_of("{\"fault_message\":\"\xff\"}", 100), "");
    CHECK_TEXT(fault_of("", 100), "");
}

int main(void) {
    static const ct_case CASES[] = {
        CASE(requests_are_written),
        CASE(requests_are_http),
        CASE(a_request_fits_or_is_not_written),
        CASE(what_firecracker_would_refuse_is_not_written),
        CASE(limits_of_a_request),
        CASE(an_answer_without_body),
        CASE(an_answer_with_a_body),
        CASE(a_connection_that_closes_is_told),
        CASE(continue_is_passed_over),
        CASE(what_no_firecracker_sends_is_malformed),
        CASE(codings_and_the_old_version_are_unsupported),
        CASE(limits_of_a_head),
        CASE(continues_have_an_end),
        CASE(limits_of_a_body),
        CASE(a_fault_is_firecrackers_own_words),
    };
    return RUN("fc_http", CASES);
}
