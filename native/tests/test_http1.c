#include "edge/http1.h"

#include "ct_test.h"

#define HOST "Host: a\r\n"
#define GET "GET / HTTP/1.1\r\n" HOST

/* Reads it as a whole and byte by byte, each part in memory of exactly its size; both must say the same. */
static int request_of(const char *text, size_t len, ct__http1_head *head) {
    ct__http1_scan scan = {0};
    const int whole = ct__http1_request(&scan, (const uint8_t *)text, len, head);
    ct__http1_scan slow = {0};
    int result = CT_E_MORE;
    for (size_t part = 0; part <= len && result == CT_E_MORE; part++) {
        uint8_t *exact = malloc(part > 0 ? part : 1);
        CHECK(exact != NULL);
        memcpy(exact, text, part);
        ct__http1_head own;
        result = ct__http1_request(&slow, exact, part, &own);
        if (result == 0)
            CHECK_INT(own.used, head->used);
        free(exact);
    }
    CHECK_INT(result, whole);
    return whole;
}

static int answer_of(const char *text, size_t len, bool of_head, ct__http1_head *head) {
    ct__http1_scan scan = {0};
    const int whole = ct__http1_answer(&scan, (const uint8_t *)text, len, of_head, head);
    ct__http1_scan slow = {0};
    int result = CT_E_MORE;
    for (size_t part = 0; part <= len && result == CT_E_MORE; part++) {
        ct__http1_head own;
        result = ct__http1_answer(&slow, (const uint8_t *)text, part, of_head, &own);
    }
    CHECK_INT(result, whole);
    return whole;
}

typedef struct refused {
    int status;
    const char *text;
} refused;

static void expect_refusals(const refused *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ct__http1_head head;
        const int result = request_of(list[i].text, strlen(list[i].text), &head);
        if (result != list[i].status)
            (void)fprintf(stderr, "%s\n", list[i].text);
        CHECK_INT(result, list[i].status);
    }
}

static void a_request_is_read(void) {
    static const char TEXT[] = "POST /functions/a/invoke?x=1 HTTP/1.1\r\nHost: a.b:80\r\nX-Empty:\r\nX-Blank: \t v w \t\r\n"
                               "Content-Length: 12\r\nExpect: 100-Continue\r\nConnection: foo, Close\r\n\r\nnext";
    ct__http1_head head;
    CHECK_INT(request_of(TEXT, sizeof TEXT - 1, &head), 0);
    CHECK_INT(head.used, sizeof TEXT - 1 - 4);
    CHECK(ct__span_is(head.method, "POST"));
    CHECK(ct__span_is(head.target, "/functions/a/invoke?x=1"));
    CHECK(ct__span_is(head.host, "a.b:80"));
    CHECK_INT(head.count, 6);
    CHECK(ct__span_is(head.fields[1].value, ""));
    CHECK(ct__span_is(head.fields[2].value, "v w"));
    CHECK(ct__span_like(head.fields[2].name, "x-blank") && !ct__span_is(head.fields[2].name, "x-blank"));
    CHECK(ct__span_begins(head.fields[2].name, "x-") && !ct__span_begins(head.fields[2].name, "x-blank-and-more"));
    CHECK_INT(head.framing, CT__HTTP1_LENGTH);
    CHECK_INT(head.length, 12);
    CHECK(head.expects && head.closes && !head.upgrades);
    CHECK_INT(head.minor, 1);
}

static void how_a_connection_goes_on(void) {
    static const struct {
        const char *text;
        bool closes, upgrades;
    } CASES[] = {
        {GET "\r\n", false, false},
        {GET "Connection: keep-alive\r\n\r\n", false, false},
        {GET "Connection: close\r\n\r\n", true, false},
        {GET "Connection: keep-alive ,close\r\n\r\n", true, false},
        {GET "Connection: x\r\nConnection: CLOSE\r\n\r\n", true, false},
        {GET "Connection: closed\r\n\r\n", false, false},
        {GET "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", false, true},
        {GET "Connection: Upgrade\r\n\r\n", false, false},
        {GET "Upgrade: websocket\r\n\r\n", false, false},
        {"GET / HTTP/1.0\r\n\r\n", true, false},
        {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", false, false},
        {"GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", true, false},
        {"\r\n" GET "\r\n", false, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__http1_head head;
        CHECK_INT(request_of(CASES[i].text, strlen(CASES[i].text), &head), 0);
        CHECK_INT(head.closes, CASES[i].closes);
        CHECK_INT(head.upgrades, CASES[i].upgrades);
        CHECK_INT(head.framing, CT__HTTP1_NO_BODY);
        CHECK(ct__span_is(head.method, "GET"));
    }
}

static void targets(void) {
    static const struct {
        const char *text, *target;
    } CASES[] = {
        {"GET /a%2Fb?c HTTP/1.1\r\nHost: h\r\n\r\n", "/a%2Fb?c"},
        {"GET //a HTTP/1.1\r\nHost: h\r\n\r\n", "//a"},
        {"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "*"},
        {"GET http://h/p?q HTTP/1.1\r\nHost: h\r\n\r\n", "/p?q"},
        {"GET HTTP://H:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "/"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__http1_head head;
        CHECK_INT(request_of(CASES[i].text, strlen(CASES[i].text), &head), 0);
        CHECK(ct__span_is(head.target, CASES[i].target));
    }
    static const refused REFUSED[] = {
        {400, "GET http://evil/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h:81/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h@evil/ HTTP/1.1\r\nHost: evil\r\n\r\n"},
        {400, "GET http:///p HTTP/1.1\r\nHost:\r\n\r\n"},
        {400, "GET http://h?q HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET http://h/ HTTP/1.0\r\n\r\n"},
        {400, "GET https://h/ HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET * HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET p HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /\xC3\xA9 HTTP/1.1\r\nHost: h\r\n\r\n"},
        {400, "GET /a\tb HTTP/1.1\r\nHost: h\r\n\r\n"},
    };
    expect_refusals(REFUSED, sizeof REFUSED / sizeof *REFUSED);
}

static void what_is_no_request(void) {
    static const refused REFUSED[] = {
        {400, "\x16\x03\x01"},
        {400, " GET / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\n" HOST "\r\n"},
        {400, "\n"},
        {400, "\r\n\r\n" GET "\r\n"},
        {400, "\rGET / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "\rX\r\n\r\n"},
        {400, "GET\r\n\r\n"},
        {400, "GET /\r\n\r\n"},
        {400, "GET  / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET /  HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1 \r\n" HOST "\r\n"},
        {400, "GET / http/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1,1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/x.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.x\r\n" HOST "\r\n"},
        {400, "GET / HTTP/11.1\r\n" HOST "\r\n"},
        {505, "GET / HTTP/1.2\r\n" HOST "\r\n"},
        {505, "GET / HTTP/9.9\r\n" HOST "\r\n"},
        {505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
        {400, "G(T / HTTP/1.1\r\n" HOST "\r\n"},
        {501, "THEMETHODWITHMORETHANTHIRTYTWOBYTES / HTTP/1.1\r\n" HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\n\r\n"},
        {400, GET HOST "\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"},
        {400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"},
        {417, GET "Expect: 200-maybe\r\n\r\n"},
        {417, GET "Expect: 100-continue\r\nExpect: x\r\n\r\n"},
    };
    expect_refusals(REFUSED, sizeof REFUSED / sizeof *REFUSED);
}

static void fields_that_could_be_read_in_two_ways(void) {
    static const refused REFUSED[] = {
        {400, GET "X : 1\r\n\r\n"},
        {400, GET "X\t: 1\r\n\r\n"},
        {400, GET " X: 1\r\n\r\n"},
        {400, GET "X: 1\r\n folded\r\n\r\n"},
        {400, GET "X: 1\r\n\tfolded\r\n\r\n"},
        {400, GET "X\r\n\r\n"},
        {400, GET ": 1\r\n\r\n"},
        {400, GET "X: a\x01\r\n\r\n"},
        {400, GET "X: a\x7F\r\n\r\n"},
        {400, GET "X: a\rb\r\n\r\n"},
        {400, GET "X: a\n\r\n"},
        {400, GET "X: 1\r\n\n"},
        {400, GET "X\xE9: 1\r\n\r\n"},
        {400, GET "X(: 1\r\n\r\n"},
    };
    expect_refusals(REFUSED, sizeof REFUSED / sizeof *REFUSED);
    static const char NUL[] = GET "X: a\0b\r\n\r\n";
    ct__http1_head head;
    CHECK_INT(request_of(NUL, sizeof NUL - 1, &head), 400);
    static const char TEXT[] = GET "X: caf\xE9\r\n\r\n";
    CHECK_INT(request_of(TEXT, sizeof TEXT - 1, &head), 0);
}

static void lengths_that_could_be_read_in_two_ways(void) {
    static const refused REFUSED[] = {
        /* CL.TE and TE.CL */
        {400, GET "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX"},
        {400, GET "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX"},
        /* TE.TE */
        {400, GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n"},
        {400, GET "Transfer-Encoding: x\r\nTransfer-encoding: chunked\r\n\r\n"},
        {400, GET "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"},
        {501, GET "Transfer-Encoding: xchunked\r\n\r\n"},
        {501, GET "Transfer-Encoding: chunked, chunked\r\n\r\n"},
        {501, GET "Transfer-Encoding: gzip, chunked\r\n\r\n"},
        {501, GET "Transfer-Encoding: chunked, identity\r\n\r\n"},
        {501, GET "Transfer-Encoding: \"chunked\"\r\n\r\n"},
        {501, GET "Transfer-Encoding: identity\r\n\r\n"},
        {501, GET "Transfer-Encoding:\r\n\r\n"},
        {400, GET "Transfer-Encoding : chunked\r\n\r\n"},
        {400, GET "Transfer-Encoding:\x0B" "chunked\r\n\r\n"},
        {400, GET "X: x\nTransfer-Encoding: chunked\r\n\r\n"},
        {400, GET "Transfer-Encoding\r\n : chunked\r\n\r\n"},
        {400, GET "Transfer-Encoding:\r\n chunked\r\n\r\n"},
        {400, "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"},
        /* CL.CL */
        {400, GET "Content-Length: 2\r\nContent-Length: 3\r\n\r\n"},
        {400, GET "Content-Length: 2\r\nContent-Length: 2\r\n\r\n"},
        {400, GET "Content-Length: 2, 2\r\n\r\n"},
        {400, GET "Content-Length:\r\n\r\n"},
        {400, GET "Content-Length: +2\r\n\r\n"},
        {400, GET "Content-Length: -2\r\n\r\n"},
        {400, GET "Content-Length: 0x2\r\n\r\n"},
        {400, GET "Content-Length: 2 2\r\n\r\n"},
        {400, GET "Content-Length: 2_0\r\n\r\n"},
        {400, GET "Content-Length: \xB2\r\n\r\n"},
        {413, GET "Content-Length: 1000000000000000000\r\n\r\n"},
        {413, GET "Content-Length: 18446744073709551618\r\n\r\n"},
    };
    expect_refusals(REFUSED, sizeof REFUSED / sizeof *REFUSED);
    static const char CHUNKED[] = GET "tRANSFER-eNCODING: \t CHUNKED \r\n\r\n";
    static const char LONG[] = GET "Content-Length: 000999999999999999\r\n\r\n";
    ct__http1_head head;
    CHECK_INT(request_of(CHUNKED, sizeof CHUNKED - 1, &head), 0);
    CHECK_INT(head.framing, CT__HTTP1_CHUNKED);
    CHECK_INT(request_of(LONG, sizeof LONG - 1, &head), 0);
    CHECK_INT(head.length, 999999999999999);
}

/* begin, `count` times `unit`, end: read as a whole. */
static int repeated(const char *begin, const char *unit, size_t count, const char *end, ct__http1_head *head) {
    const size_t unit_len = strlen(unit);
    const size_t len = strlen(begin) + count * unit_len + strlen(end);
    char *text = malloc(len + 1);
    CHECK(text != NULL);
    char *at = stpcpy(text, begin);
    for (size_t i = 0; i < count; i++)
        at = stpcpy(at, unit);
    (void)stpcpy(at, end);
    ct__http1_scan scan = {0};
    const int result = ct__http1_request(&scan, (const uint8_t *)text, len, head);
    free(text);
    return result;
}

static void a_head_is_bounded(void) {
    ct__http1_head head;
    CHECK_INT(repeated(GET, "A: 1\r\n", CT__HTTP1_FIELDS - 1, "\r\n", &head), 0);
    CHECK_INT(head.count, CT__HTTP1_FIELDS);
    CHECK_INT(repeated(GET, "A: 1\r\n", CT__HTTP1_FIELDS, "\r\n", &head), 431);
    CHECK_INT(repeated(GET, "A: 1\r\n", CT__HTTP1_FIELDS, "", &head), 431); /* no need of its end */
    CHECK_INT(repeated(GET "A: ", "x", CT__HTTP1_HEAD_BYTES - sizeof(GET "A: \r\n\r\n") + 1, "\r\n\r\n", &head), 0);
    CHECK_INT(repeated(GET "A: ", "x", CT__HTTP1_HEAD_BYTES - sizeof(GET "A: \r\n\r\n") + 2, "\r\n\r\n", &head), 431);
    CHECK_INT(repeated(GET "A: ", "x", CT__HTTP1_HEAD_BYTES, "", &head), 431);
    CHECK_INT(repeated("GET /", "x", CT__HTTP1_TARGET_BYTES - 1, " HTTP/1.1\r\n" HOST "\r\n", &head), 0);
    CHECK_INT(repeated("GET /", "x", CT__HTTP1_TARGET_BYTES, " HTTP/1.1\r\n" HOST "\r\n", &head), 414);
    CHECK_INT(repeated("GET /", "x", 2 * CT__HTTP1_TARGET_BYTES, "", &head), 414);
}

static void answers(void) {
    static const struct {
        const char *text;
        bool of_head;
        uint32_t status;
        enum ct__http1_framing framing;
        bool closes;
    } CASES[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", false, 200, CT__HTTP1_LENGTH, false},
        {"HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n", false, 200, CT__HTTP1_CHUNKED, false},
        {"HTTP/1.1 200\r\n\r\n", false, 200, CT__HTTP1_UNTIL_CLOSE, true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", false, 200, CT__HTTP1_LENGTH, true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n", false, 200, CT__HTTP1_LENGTH, false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", true, 200, CT__HTTP1_NO_BODY, false},
        {"HTTP/1.1 204 \r\nConnection: close\r\n\r\n", false, 204, CT__HTTP1_NO_BODY, true},
        {"HTTP/1.1 304 \r\nContent-Length: 3\r\n\r\n", false, 304, CT__HTTP1_NO_BODY, false},
        {"HTTP/1.1 100 Continue\r\n\r\n", false, 100, CT__HTTP1_NO_BODY, false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__http1_head head;
        CHECK_INT(answer_of(CASES[i].text, strlen(CASES[i].text), CASES[i].of_head, &head), 0);
        CHECK_INT(head.status, CASES[i].status);
        CHECK_INT(head.framing, CASES[i].framing);
        CHECK_INT(head.closes, CASES[i].closes);
    }
    static const char *const REFUSED[] = {
        "\r\nHTTP/1.1 200 OK\r\n\r\n",
        "HTTP/2.0 200 OK\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 2x0 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 200 O\x01\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX : 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 OK\nX: 1\r\n\r\n",
    };
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        ct__http1_head head;
        CHECK_INT(answer_of(REFUSED[i], strlen(REFUSED[i]), false, &head), 502);
    }
    ct__http1_head head;
    CHECK_INT(answer_of("HTTP/1.1 101 \r\n\r\n", 17, false, &head), 0);
    CHECK(head.upgrades);
}

/* Each byte alone, against the rules in words. */
static void bytes_are_what_the_rules_say(void) {
    for (int byte = 0; byte < 256; byte++) {
        const bool is_letter = (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z');
        const bool is_digit = byte >= '0' && byte <= '9';
        const bool is_mark = byte != 0 && strchr("!#$%&'*+-.^_`|~", byte) != NULL;
        char text[] = GET "X?: 1\r\n\r\n";
        text[sizeof GET] = (char)byte;
        ct__http1_scan scan = {0};
        ct__http1_head head;
        int result = ct__http1_request(&scan, (uint8_t *)text, sizeof text - 1, &head);
        CHECK_INT(result == 0, is_letter || is_digit || is_mark || byte == ':');
        char value[] = GET "X: a?b\r\n\r\n";
        value[sizeof GET + 3] = (char)byte;
        scan = (ct__http1_scan){0};
        result = ct__http1_request(&scan, (uint8_t *)value, sizeof value - 1, &head);
        CHECK_INT(result == 0, byte == '\t' || (byte >= 0x20 && byte != 0x7F));
        char target[] = "GET /?x HTTP/1.1\r\n" HOST "\r\n";
        target[5] = (char)byte;
        scan = (ct__http1_scan){0};
        result = ct__http1_request(&scan, (uint8_t *)target, sizeof target - 1, &head);
        CHECK_INT(result == 0, byte > 0x20 && byte < 0x7F && byte != '#');
        char host[] = "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n";
        host[23] = (char)byte;
        scan = (ct__http1_scan){0};
        result = ct__http1_request(&scan, (uint8_t *)host, sizeof host - 1, &head);
        CHECK_INT(result == 0, is_letter || is_digit || (byte != 0 && strchr("-._~!$&'()*+;=:[]%", byte) != NULL));
    }
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_request_is_read), CASE(how_a_connection_goes_on), CASE(targets), CASE(what_is_no_request),
        CASE(fields_that_could_be_read_in_two_ways), CASE(lengths_that_could_be_read_in_two_ways), CASE(a_head_is_bounded),
        CASE(answers), CASE(bytes_are_what_the_rules_say)};
    return RUN("http1", cases);
}
