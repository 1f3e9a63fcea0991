#include "guest/http_call.h"

#include "ct_test.h"

static ct__http_answer answer;
static char body[256];
static size_t body_len;

/* Feeds a text in pieces of `step` bytes; returns the last result. */
static int fed(const char *text, size_t step) {
    const size_t len = strlen(text);
    size_t at = 0;
    answer = (ct__http_answer){0};
    body_len = 0;
    for (size_t upto = step < len ? step : len;; upto = upto + step < len ? upto + step : len) {
        while (at < upto && !ct__http_answer_done(&answer)) {
            size_t used = 0;
            ct__span data = {0};
            const int result = ct__http_answer_next(&answer, (const uint8_t *)text + at, upto - at, &used, &data);
            if (result == CT_E_MORE && upto < len)
                break;
            if (result != 0)
                return result;
            if (data.len > 0)
                memcpy(body + body_len, data.at, data.len);
            body_len += data.len;
            at += used;
        }
        if (upto == len)
            break;
    }
    body[body_len] = '\0';
    return 0;
}

static void an_answer_is_read_however_it_comes(void) {
    static const char *const TEXTS[] = {
        "HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 5\r\n\r\n[1,2]",
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n3\r\n,2]\r\n0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n\r\n[1,2]",
        "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n[1,2]",
    };
    for (size_t i = 0; i < sizeof TEXTS / sizeof *TEXTS; i++)
        for (size_t step = 1; step < 200; step += 7) {
            CHECK_INT(fed(TEXTS[i], step), 0);
            CHECK_TEXT(body, "[1,2]");
            CHECK_INT(answer.status, 200);
            CHECK(answer.says_json && ct__http_answer_is_good(&answer) && ct__http_answer_may_end(&answer));
            CHECK_INT(ct__http_answer_done(&answer), i < 3);
        }
}

static void what_is_no_answer_is_refused(void) {
    CHECK_INT(fed("SSH-2.0-OpenSSH\r\n\r\n", 100), CT_E_MALFORMED);
    CHECK_INT(fed("HTTP/2 200 OK\r\n\r\n", 100), CT_E_MALFORMED);
    CHECK_INT(fed("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 100), CT_E_MALFORMED);
    CHECK_INT(fed("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 100), CT_E_MALFORMED);
    CHECK_INT(fed("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 100), CT_E_MALFORMED);
    CHECK_INT(fed("HTTP/1.1 200 O", 100), CT_E_MORE);
    char many[512] = "";
    for (int i = 0; i <= CT__HTTP_CALL_INTERIMS; i++)
        (void)strcat(many, "HTTP/1.1 100 Continue\r\n\r\n");
    CHECK_INT(fed(many, sizeof many), CT_E_MALFORMED);
}

static void the_end_of_the_connection_counts_where_it_may(void) {
    CHECK_INT(fed("HTTP/1.1 500 No\r\nContent-Type: text/plain\r\n\r\nsorry", 100), 0);
    CHECK(ct__http_answer_may_end(&answer) && !ct__http_answer_is_good(&answer) && !answer.says_json);
    CHECK_INT(fed("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsor", 100), 0);
    CHECK(!ct__http_answer_may_end(&answer));
    CHECK_INT(fed("HTTP/1.1 204 No Content\r\n\r\n", 100), 0);
    CHECK(ct__http_answer_done(&answer));
    answer = (ct__http_answer){0};
    CHECK(!ct__http_answer_may_end(&answer));
}

static void a_call_is_a_request(void) {
    const ct_exec_head call = {.request_id = {1, 0xab}, .trace_id = {2}, .span_id = {3}, .remaining_ms = 500};
    const ct__http_function function = {.name = "sh out\r\n", .version = "7", .port = 8080};
    char head[CT__HTTP_CALL_BYTES];
    const size_t len = ct__http_call_put(head, &call, 1000, &function, 9);
    CHECK_INT(len, strlen(head));
    CHECK_TEXT(head, "POST / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 9\r\n"
                     "Connection: close\r\nConstellation-Request-Id: 01ab0000-0000-0000-0000-000000000000\r\n"
                     "Constellation-Deadline-Ms: 1500\r\nConstellation-Function: sh?out??\r\nConstellation-Version: 7\r\n"
                     "Traceparent: 00-02000000000000000000000000000000-0300000000000000-01\r\n\r\n");
    ct__http1_scan scan = {0};
    static ct__http1_head read;
    CHECK_INT(ct__http1_request(&scan, (const uint8_t *)head, len, &read), 0);
    CHECK_INT(read.length, 9);
}

int main(void) {
    static const ct_case CASES[] = {
        CASE(an_answer_is_read_however_it_comes),
        CASE(what_is_no_answer_is_refused),
        CASE(the_end_of_the_connection_counts_where_it_may),
        CASE(a_call_is_a_request),
    };
    return RUN("http_call", CASES);
}
