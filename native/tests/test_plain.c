#include "edge/plain.h"

#include "ct_test.h"

static const uint64_t MAX_NS = 300000000000;

static bool read_text(const char *text, ct__plain *out) {
    static ct__http1_head head;
    ct__http1_scan scan = {0};
    CHECK_INT(ct__http1_request(&scan, (const uint8_t *)text, strlen(text), &head), 0);
    return ct__plain_read(&head, MAX_NS, out);
}

/* A call with these headers. */
static bool with(const char *fields, ct__plain *out) {
    static char text[8192];
    CHECK(snprintf(text, sizeof text, "POST /functions/f/invoke HTTP/1.1\r\nHost: h\r\n%s\r\n", fields) < (int)sizeof text);
    return read_text(text, out);
}

static void targets_and_methods(void) {
    static const struct {
        const char *line;
        const char *name; /* NULL: not plain */
    } CASES[] = {
        {"POST /functions/f/invoke HTTP/1.1", "f"},
        {"POST /v1/functions/Some_name-9/invoke HTTP/1.1", "Some_name-9"},
        {"POST /v1/v1/functions/f/invoke HTTP/1.1", NULL},
        {"POST /v2/functions/f/invoke HTTP/1.1", NULL},
        {"POST /functions//invoke HTTP/1.1", NULL},
        {"POST /functions/invoke HTTP/1.1", NULL},
        {"POST /functions/a/b/invoke HTTP/1.1", NULL},
        {"POST /functions/a%2Fb/invoke HTTP/1.1", NULL},
        {"POST /functions/../invoke HTTP/1.1", NULL},
        {"POST /functions/f/invoke/ HTTP/1.1", NULL},
        {"POST /functions/f/invoke? HTTP/1.1", NULL},
        {"POST /functions/f/invoke-async HTTP/1.1", NULL},
        {"POST //functions/f/invoke HTTP/1.1", NULL},
        {"POST /functions/"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx/invoke HTTP/1.1",
         NULL},
        {"post /functions/f/invoke HTTP/1.1", NULL},
        {"GET /functions/f/invoke HTTP/1.1", NULL},
        {"POST /functions/f/invoke HTTP/1.0", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "%s\r\nHost: h\r\n\r\n", CASES[i].line);
        ct__plain plain;
        CHECK_INT(read_text(text, &plain), CASES[i].name != NULL);
        CHECK(CASES[i].name == NULL || ct__span_is(plain.function, CASES[i].name));
    }
}

static void answers_in_pieces(void) {
    static const struct {
        const char *accept;
        bool is_events;
    } CASES[] = {
        {"", false},
        {"Accept: */*\r\n", false},
        {"Accept: text/event-stream\r\n", true},
        {"accept: text/html, TEXT/Event-Stream ;q=0.1, a\r\n", true},
        {"Accept: text/html\r\nAccept: text/event-stream\r\n", true},
        {"Accept: text/event-streams\r\n", false},
        {"Accept: x;text/event-stream\r\n", false},
        {"Accept: ,\r\n", false},
    };
    ct__plain p;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "POST /v1/functions/f/invoke-stream HTTP/1.1\r\nHost: h\r\n%s\r\n", CASES[i].accept);
        CHECK(read_text(text, &p) && p.is_stream && ct__span_is(p.function, "f"));
        CHECK_INT(p.is_events, CASES[i].is_events);
    }
    CHECK(with("Accept: text/event-stream\r\n", &p) && !p.is_stream && !p.is_events);
    CHECK(!read_text("POST /functions/f/invoke-stream-stream HTTP/1.1\r\nHost: h\r\n\r\n", &p));
    CHECK(!read_text("POST /functions/f-stream HTTP/1.1\r\nHost: h\r\n\r\n", &p));
}

static void who_calls(void) {
    ct__plain p;
    CHECK(with("", &p) && p.kind == CT__LOCAL && p.credential.len == 0 && p.is_lone);
    CHECK(with("x-API-key: a b\r\nX-Nova-Tenant: t\r\nx-nova-namespace: n\r\n", &p) && p.kind == CT__API_KEY);
    CHECK(ct__span_is(p.credential, "a b") && ct__span_is(p.tenant, "t") && ct__span_is(p.space, "n"));
    CHECK(with("Authorization: Bearer x\r\n", &p) && p.kind == CT__AUTHORIZATION && ct__span_is(p.credential, "Bearer x"));
    CHECK(!with("Authorization: Bearer x\r\nX-API-Key: x\r\n", &p));
    static const char *const HANDS[] = {"Forwarded: x", "via: x", "X-Forwarded-For: x", "x-forwarded-anything: x", "Origin: x", "Sec-Fetch-Site: x"};
    for (size_t i = 0; i < sizeof HANDS / sizeof *HANDS; i++) {
        char fields[64];
        (void)snprintf(fields, sizeof fields, "%s\r\n", HANDS[i]);
        CHECK(with(fields, &p) && !p.is_lone);
    }
}

static void what_it_says(void) {
    static const struct {
        const char *fields;
        bool is_plain;
        uint32_t timeout_ms;
    } CASES[] = {
        {"Accept: */*\r\nUser-Agent: u\r\nCookie: c\r\nTE: trailers\r\nIf-Match: x\r\n", true, 0},
        {"Content-Type: application/json\r\nContent-Length: 9\r\n", true, 0},
        {"Content-Type: APPLICATION/JSON\r\n", true, 0},
        {"Content-Type: application/json;charset=utf-8\r\n", false, 0},
        {"Content-Type:\r\n", false, 0},
        {"Transfer-Encoding: chunked\r\n", true, 0},
        {"Expect: 100-continue\r\n", false, 0},
        {"Connection: close\r\n", false, 0},
        {"Connection: Upgrade\r\nUpgrade: h2c\r\n", false, 0},
        {"X-Nova-Timeout-S: 2\r\n", true, 2000},
        {"X-Nova-Timeout-S: 2.5\r\n", true, 2500},
        {"X-Nova-Timeout-S: 0.0025\r\n", true, 2}, /* to even, as Python rounds */
        {"X-Nova-Timeout-S: 0.0035\r\n", true, 4},
        {"X-Nova-Timeout-S: 0.00001\r\n", true, 1},
        {"X-Nova-Timeout-S: 300.000\r\n", true, 300000},
        {"X-Nova-Timeout-S: 300.001\r\n", false, 0},
        {"X-Nova-Timeout-S: 0.0\r\n", false, 0},
        {"X-Nova-Timeout-S:\r\n", false, 0},
        {"X-Nova-Timeout-S: .5\r\n", false, 0},
        {"X-Nova-Timeout-S: 5.\r\n", false, 0},
        {"X-Nova-Timeout-S: 1.2.3\r\n", false, 0},
        {"X-Nova-Timeout-S: 1e1\r\n", false, 0},
        {"X-Nova-Timeout-S: 0000000000000001\r\n", false, 0},
        {"X-Nova-Timeout-S: 1\r\nX-Nova-Timeout-S: 1\r\n", false, 0},
        {"X-Nova-Invocation-Type: RequestResponse\r\n", true, 0},
        {"X-Nova-Invocation-Type: Event\r\n", false, 0},
        {"Idempotency-Key: x\r\n", false, 0},
        {"Idempotency-Key: x\r\nIdempotency-Key: y\r\n", false, 0},
        {"X-Nova-Qualifier: caf\xE9\r\n", false, 0},
        {"X-Nova-Qualifier: a\tb\r\n", false, 0},
        {"X-Nova-Call-Depth: 12\r\nX-Nova-Call-Chain: a,b.c:d/e\r\n", true, 0},
        {"X-Nova-Call-Depth: 12345\r\n", false, 0},
        {"X-Nova-Call-Depth: 01\r\n", false, 0},
        {"X-Nova-Call-Depth:\r\n", false, 0},
        {"X-Nova-Call-Depth: x\r\n", false, 0},
        {"X-Nova-Call-Depth: 1\r\nX-Nova-Call-Chain: a,,b\r\n", false, 0},
        {"X-Nova-Call-Depth: 1\r\nX-Nova-Call-Chain: ,a\r\n", false, 0},
        {"X-Nova-Call-Depth: 1\r\nX-Nova-Call-Chain: a,\r\n", false, 0},
        {"X-Nova-Call-Depth: 1\r\nX-Nova-Call-Chain: a b\r\n", false, 0},
        {"X-Request-ID: 0190b5a0-7a3b-7c00-8000-0123456789a\r\n", true, 0},
        {"X-Request-ID: 0190b5a0+7a3b-7c00-8000-0123456789ab\r\n", false, 0},
        {"X-Request-ID: 0190b5a0-7a3b-7c00-8000-0123456789ag\r\n", false, 0},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__plain p;
        if (with(CASES[i].fields, &p) != CASES[i].is_plain)
            CHECK_TEXT(CASES[i].fields, CASES[i].is_plain ? "plain" : "not plain");
        if (CASES[i].is_plain)
            CHECK_INT(p.timeout_ms, CASES[i].timeout_ms);
    }
    ct__plain p;
    CHECK(with("X-Request-ID: 0190B5A0-7a3b-7c00-8000-0123456789AB\r\nX-Nova-Qualifier: v 1\r\n", &p) && p.has_request_id);
    CHECK(memcmp(p.request_id, "0190b5a0-7a3b-7c00-8000-0123456789ab", 36) == 0 && ct__span_is(p.qualifier, "v 1"));
    CHECK(with("X-Nova-Qualifier: prod\r\nX-Nova-Sticky: u1\r\n", &p) && ct__span_is(p.sticky, "u1"));
    CHECK(!with("X-Nova-Qualifier: prod\r\nCookie: nova-sticky=u1\r\n", &p)); /* the key may be in it */
    CHECK(with("Cookie: nova-sticky=u1\r\nX-Nova-Sticky: u1\r\n", &p) && p.sticky.len == 0);
    CHECK(with("traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", &p) && p.traceparent.len == 55);
    CHECK(with("traceparent: 00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n", &p) && p.traceparent.len == 0);
    CHECK(with("X-Nova-Call-Chain: !\r\n", &p) && p.chain.len == 0);
    CHECK(with("X-Nova-Call-Depth: 0\r\nX-Nova-Call-Chain: a\r\n", &p) && p.depth.len == 0 && p.chain.len == 1);
}

int main(void) {
    static const ct_case cases[] = {CASE(targets_and_methods), CASE(answers_in_pieces), CASE(who_calls), CASE(what_it_says)};
    return RUN("plain", cases);
}
