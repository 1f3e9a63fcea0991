#include "guest/runtime_api.h"

#include "ct_test.h"

#define ROOT "/2018-06-01/runtime/"

static ct__http1_head head; /* what an ask borrows */

static ct__api_ask ask_of(const char *method, const char *target, const char *fields) {
    static char text[1024];
    (void)snprintf(text, sizeof text, "%s %s HTTP/1.1\r\nHost: x\r\n%s\r\n", method, target, fields);
    ct__http1_scan scan = {0};
    CHECK_INT(ct__http1_request(&scan, (const uint8_t *)text, strlen(text), &head), 0);
    return ct__api_read(&head);
}

static void paths_and_methods_are_known(void) {
    static const struct {
        const char *method, *target;
        enum ct__api_kind kind;
    } asks[] = {
        {"GET", ROOT "invocation/next", CT__API_NEXT},
        {"POST", ROOT "invocation/next", CT__API_OTHER_METHOD},
        {"POST", ROOT "init/error", CT__API_INIT_ERROR},
        {"GET", ROOT "init/error", CT__API_OTHER_METHOD},
        {"POST", ROOT "invocation/a-b/response", CT__API_RESPONSE},
        {"POST", ROOT "invocation/a-b/error", CT__API_ERROR},
        {"PUT", ROOT "invocation/a-b/error", CT__API_OTHER_METHOD},
        {"POST", ROOT "invocation/a-b/", CT__API_UNKNOWN},
        {"POST", ROOT "invocation/a-b", CT__API_UNKNOWN},
        {"POST", ROOT "invocation//response", CT__API_UNKNOWN},
        {"POST", ROOT "invocation/a/b/response", CT__API_UNKNOWN},
        {"POST", ROOT "invocation/", CT__API_UNKNOWN},
        {"GET", ROOT "invocation/next/", CT__API_UNKNOWN},
        {"GET", ROOT "invocation/next?x", CT__API_UNKNOWN},
        {"GET", ROOT, CT__API_UNKNOWN},
        {"GET", "/", CT__API_UNKNOWN},
        {"GET", "/2018-06-01/runtim", CT__API_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
        CHECK_INT(ask_of(asks[i].method, asks[i].target, "").kind, asks[i].kind);
    CHECK(ct__span_is(ask_of("POST", ROOT "invocation/a-b/error", "").request_id, "a-b"));
}

static void headers_say_what_a_body_is(void) {
    const char *target = ROOT "invocation/a/response";
    CHECK(ask_of("POST", target, "").error_type.at == NULL);
    CHECK(ct__span_is(ask_of("POST", target, "Lambda-Runtime-Function-Error-Type: Unhandled\r\n").error_type, "Unhandled"));
    static const struct {
        const char *fields;
        bool streams, is_raw;
    } bodies[] = {
        {"Content-Length: 1\r\n", false, false},
        {"Content-Length: 1\r\nContent-Type: application/json\r\n", false, false},
        {"Content-Length: 1\r\nContent-Type: text/html; charset=utf-8\r\n", false, true},
        {"Transfer-Encoding: chunked\r\n", true, false},
        {"Transfer-Encoding: chunked\r\nContent-Type: Application/Octet-Stream\r\n", true, true},
        {"Content-Type: application/json\r\nlambda-runtime-function-response-mode: Streaming\r\n", true, true},
        {"lambda-runtime-function-response-mode: buffered\r\n", false, false},
    };
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const ct__api_ask ask = ask_of("POST", target, bodies[i].fields);
        CHECK_INT(ask.streams, bodies[i].streams);
        CHECK_INT(ask.is_raw, bodies[i].is_raw);
    }
}

static void a_call_is_told_in_headers(void) {
    ct_exec_head exec = {.remaining_ms = 1500};
    for (size_t i = 0; i < 16; i++)
        exec.request_id[i] = exec.trace_id[i] = (uint8_t)(i * 17);
    for (size_t i = 0; i < 8; i++)
        exec.span_id[i] = (uint8_t)i;
    const ct__api_call call = ct__api_call_of(&exec, 1700000000000);
    CHECK_TEXT(call.request_id, "00112233-4455-6677-8899-aabbccddeeff");
    CHECK_TEXT(call.trace, "Root=1-00112233-445566778899aabbccddeeff;Parent=0001020304050607;Sampled=1");
    char arn[CT__API_ARN_CHARS], out[CT__API_HEAD_BYTES];
    ct__api_arn(arn, "acme", "prod", "greet", "7");
    CHECK_INT(ct__api_put_call(out, &call, arn, 42), strlen(out));
    CHECK_TEXT(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                    "Lambda-Runtime-Aws-Request-Id: 00112233-4455-6677-8899-aabbccddeeff\r\nLambda-Runtime-Deadline-Ms: 1700000001500\r\n"
                    "Lambda-Runtime-Invoked-Function-Arn: arn:constellation:lambda:prod:acme:function:greet:7\r\n"
                    "Lambda-Runtime-Trace-Id: Root=1-00112233-445566778899aabbccddeeff;Parent=0001020304050607;Sampled=1\r\n"
                    "Content-Length: 42\r\n\r\n");
}

static void a_name_can_not_add_a_header(void) {
    char arn[CT__API_ARN_CHARS], longer[2 * CT__API_ARN_CHARS];
    ct__api_arn(arn, "a\r\nX: y", "\xC3\xA9", "f", "1");
    CHECK_TEXT(arn, "arn:constellation:lambda:??:a??X:?y:function:f:1");
    memset(longer, 'n', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    ct__api_arn(arn, longer, "s", "f", "1");
    CHECK_INT(strlen(arn), CT__API_ARN_CHARS - 1);
    char out[CT__API_HEAD_BYTES];
    const ct__api_call call = {.deadline_ms = UINT64_MAX};
    CHECK(ct__api_put_call(out, &call, arn, SIZE_MAX) < sizeof out);
}

static void answers_are_whole_messages(void) {
    char out[CT__API_HEAD_BYTES];
    CHECK_INT(ct__api_put_accepted(out, false), strlen(out));
    CHECK_TEXT(out, "HTTP/1.1 202 Accepted\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{\"status\":\"OK\"}\n");
    static const int STATUSES[] = {400, 403, 404, 405, 413, 431, 501, 505};
    for (size_t i = 0; i < sizeof STATUSES / sizeof *STATUSES; i++) {
        const size_t len = ct__api_put_refusal(out, STATUSES[i], "Odd", "it is odd", true);
        ct__http1_scan scan = {0};
        CHECK_INT(ct__http1_answer(&scan, (const uint8_t *)out, len, false, &head), 0);
        CHECK_INT(head.status, STATUSES[i]);
        CHECK_INT(head.closes, true);
        CHECK_INT(head.used + head.length, len);
        CHECK_TEXT(out + head.used, "{\"errorMessage\":\"it is odd\",\"errorType\":\"Odd\"}\n");
    }
}

static const char *trailer(const char *text, const char *name) {
    static char out[64];
    const ct__span found = ct__api_trailer((const uint8_t *)text, strlen(text), name);
    if (found.at == NULL)
        return "none";
    (void)snprintf(out, sizeof out, "%.*s", (int)found.len, (const char *)found.at);
    return out;
}

static void trailers_are_found_by_name(void) {
    CHECK_TEXT(trailer("A: 1\r\nB-c:  two words \r\n", "b-c"), "two words");
    CHECK_TEXT(trailer("A: 1\r\nB:2\r\n", "a"), "1");
    CHECK_TEXT(trailer("A:\r\n", "a"), "");
    CHECK_TEXT(trailer("Ab: 1\r\n", "a"), "none");
    CHECK_TEXT(trailer("A: 1", "a"), "1"); /* without its end */
    CHECK_TEXT(trailer("A\r\n", "a"), "none");
    CHECK_TEXT(trailer("", "a"), "none");
}

static const char *decoded(const char *text) {
    static uint8_t out[64];
    const ptrdiff_t len = ct__api_base64((ct__span){(const uint8_t *)text, strlen(text)}, out);
    if (len < 0)
        return "malformed";
    out[len] = '\0';
    return (const char *)out;
}

static void base64_is_decoded(void) {
    CHECK_TEXT(decoded(""), "");
    CHECK_TEXT(decoded("YQ=="), "a");
    CHECK_TEXT(decoded("YWI="), "ab");
    CHECK_TEXT(decoded("YWJj"), "abc");
    CHECK_TEXT(decoded("Pz4/w6k="), "?>?\xC3\xA9");
    CHECK_TEXT(decoded("YWJ"), "malformed");
    CHECK_TEXT(decoded("YW=j"), "malformed");
    CHECK_TEXT(decoded("Y==="), "malformed");
    CHECK_TEXT(decoded("YW J"), "malformed");
    CHECK_TEXT(decoded("\xFF\xFF\xFF\xFF"), "malformed");
}

int main(void) {
    static const ct_case cases[] = {
        CASE(paths_and_methods_are_known), CASE(headers_say_what_a_body_is), CASE(a_call_is_told_in_headers),
        CASE(a_name_can_not_add_a_header), CASE(answers_are_whole_messages), CASE(trailers_are_found_by_name),
        CASE(base64_is_decoded),
    };
    return RUN("runtime_api", cases);
}
