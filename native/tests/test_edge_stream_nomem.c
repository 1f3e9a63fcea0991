/* Calls that the edge makes itself and passes on in pieces, to a comet that the test plays; and what happens without memory. */
#define _GNU_SOURCE
#include "base/sysx.h"
#include "edge_rig.h"

#include "h2/server.h"
#include "proto/pbwire.h"

enum { PIECE_BYTES = 50000 };

static ct__h2_server *comet;
static int comet_door = -1;
static ct__h2_stream asked;
static int cancels, drains;
static char last_payload[64];

/* Memory that runs out at the n-th request for it, and is there again behind. */
static long allocations_left = -1;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_reallocarray(void *memory, size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool is_out(void) {
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__wrap_malloc(size_t size) {
    return is_out() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return is_out() ? NULL : __real_calloc(count, size);
}

void *__wrap_reallocarray(void *memory, size_t count, size_t size) {
    return is_out() ? NULL : __real_reallocarray(memory, count, size);
}

/* ---- comet ---- */

static bool wanted(void *ctx, const ct__h2_head *head) {
    (void)ctx;
    return ct__h2_is(head->path, "/nova.v1.NovaService/InvokeStream", 33);
}

static void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    (void)ctx, (void)head;
    ct__reader r = {.at = message, .left = len};
    ct__pb_field field;
    while (ct__pb_next(&r, &field) == 1)
        if (field.number == 2 && field.len < sizeof last_payload) {
            memcpy(last_payload, field.data, field.len);
            last_payload[field.len] = '\0';
        }
    asked = stream;
    (void)ct__h2_own(comet, stream, NULL);
}

static void cancelled(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx, (void)stream, (void)owner;
    cancels++;
}

static void drained(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx, (void)stream, (void)owner;
    drains++;
}

static int tell(const char *text) {
    uint8_t front[16];
    ct__writer w = {.at = front, .left = sizeof front};
    ct__pb_put_bytes_head(&w, 1, strlen(text));
    const ct__h2_span pieces[] = {{front, sizeof front - w.left}, {(const uint8_t *)text, strlen(text)}};
    return ct__h2_say(comet, asked, pieces, 2);
}

static void tell_end(const char *error) {
    uint8_t end[128], message[160];
    ct__writer w = {.at = end, .left = sizeof end};
    ct__pb_put_bytes(&w, 2, error, strlen(error));
    ct__pb_put_bytes(&w, 5, "7", 1);
    ct__writer m = {.at = message, .left = sizeof message};
    ct__pb_put_bytes(&m, 2, end, sizeof end - w.left);
    const ct__h2_span piece = {message, sizeof message - m.left};
    (void)ct__h2_answer(comet, asked, &piece, 1);
}

static void tell_problem(void) {
    static const char PROBLEM[] = "{\"status\":502,\"code\":\"instance_died\"}";
    (void)ct__h2_refuse(comet, asked, 10, (ct__h2_span){NULL, 0}, (ct__h2_span){(const uint8_t *)PROBLEM, sizeof PROBLEM - 1});
}

static void open_both(void) {
    open_rig(8);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    comet_door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(comet_door, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(comet_door, 16), 0);
    CHECK_INT(getsockname(comet_door, (struct sockaddr *)&address, &len), 0);
    static const ct__h2_server_calls CALLS = {.wanted = wanted, .request = request, .cancelled = cancelled, .drained = drained};
    comet = ct__h2_server_new(reactor, comet_door, back_path, &(ct__h2_limits){0}, &CALLS, NULL);
    CHECK(comet != NULL);
    static const uint64_t BOUNDS[] = {1, 60000000000};
    const ct_edge_lane lane = {.comet = "127.0.0.1",
                               .port = ntohs(address.sin_port),
                               .authorization = "Bearer s",
                               .calls_max = 8,
                               .max_timeout_ns = 5000000000,
                               .stream_ns = 20000000000,
                               .grace_ns = 1000000000,
                               .read_ns = 300000000,
                               .body_max = 100000,
                               .bounds_ns = BOUNDS,
                               .bound_count = 2};
    CHECK_INT(ct_edge_call(edge, &lane), 0);
    CHECK_INT(ct_edge_learn(edge, (const uint8_t *)"kkey\0\0", 6, (const uint8_t *)"token", 5, NULL, 0, UINT64_MAX, UINT64_MAX), 0);
    ct_edge_fresh(edge, UINT64_MAX);
    asked = 0;
    cancels = drains = 0;
}

static void close_both(void) {
    ct_edge_free(edge);
    ct__h2_server_free(comet);
    (void)close(comet_door);
    edge = NULL;
    close_rig();
}

static void ask(int c, const char *fields) {
    char text[512];
    asked = 0;
    CHECK(snprintf(text, sizeof text, "POST /functions/f/invoke-stream HTTP/1.1\r\nHost: h\r\nX-API-Key: key\r\n%sContent-Length: 3\r\n\r\n[1]",
                   fields) < (int)sizeof text);
    say(c, text);
    UNTIL(asked != 0);
}

#define EVENTS "Accept: text/event-stream\r\n"

/* ---- */

static void pieces_become_chunks(void) {
    open_both();
    const int c = client();
    ask(c, "X-Request-ID: 0190b5a0-7a3b-7c00-8000-0123456789ab\r\n");
    CHECK_TEXT(last_payload, "[1]");
    CHECK_INT(tell("one"), 0);
    char *got = hear(c, "one\r\n"); /* before the end is known */
    CHECK(has(got, "HTTP/1.1 200 \r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n"
                   "x-request-id: 0190b5a0-7a3b-7c00-8000-0123456789ab\r\ndate: "));
    CHECK(has(got, "Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n"));
    CHECK_INT(tell("more than sixteen"), 0);
    tell_end("");
    CHECK_TEXT(hear(c, "\r\n0\r\n\r\n"), "11\r\nmore than sixteen\r\n0\r\n\r\n");
    ask(c, ""); /* the connection lives on */
    tell_end("{\"type\":\"Bad\",\"message\":\"\"}");
    got = hear(c, "\"7\"}");
    CHECK(has(got, "x-nova-function-error: Bad\r\n") && has(got, "\"output\":null,\"error\":{\"type\":\"Bad\",\"message\":\"\"},"));
    ask(c, "");
    tell_problem();
    got = hear(c, "\"}");
    CHECK(has(got, "HTTP/1.1 502 \r\n") && has(got, "{\"status\":502,\"code\":\"instance_died\",\"request_id\":\""));
    const ct_edge_counts now = counts();
    CHECK_INT(now.called, 3);
    CHECK_INT(now.forwarded, 0);
    CHECK_INT(now.streams.answered[2], 2);
    CHECK_INT(now.streams.answered[5], 1);
    CHECK_INT(now.calls.answered[2], 0);
    (void)close(c);
    close_both();
}

static void pieces_become_events(void) {
    open_both();
    const int c = client();
    ask(c, EVENTS);
    CHECK_INT(tell("a\nb\xC3"), 0);
    char *got = hear(c, "\n\n\r\n");
    CHECK(has(got, "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n"));
    CHECK(has(got, "\r\n\r\n11\r\ndata: a\ndata: b\n\n\r\n"));
    tell_end("");
    got = hear(c, "0\r\n\r\n");
    CHECK(has(got, "data: \xEF\xBF\xBD\n\n\r\n") && has(got, "event: done\ndata: {\"request_id\":\""));
    CHECK(has(got, "\"duration_ms\":0.000,\"cold_start\":false,\"version\":\"7\"}\n\n\r\n0\r\n\r\n"));
    ask(c, EVENTS);
    CHECK_INT(tell("a"), 0);
    tell_problem();
    CHECK(has(hear(c, "0\r\n\r\n"), "event: error\ndata: {\"status\":502,\"code\":\"instance_died\",\"request_id\":\""));
    ask(c, EVENTS);
    tell_end("{\"type\":\"Bad\",\"message\":\"\"}");
    CHECK(has(hear(c, "0\r\n\r\n"), "event: error\ndata: {\"type\":\"Bad\",\"message\":\"\"}\n\n\r\n"));
    ask(c, EVENTS);
    CHECK_INT(tell("a"), 0);
    (void)ct__h2_refuse(comet, asked, 14, (ct__h2_span){NULL, 0}, (ct__h2_span){NULL, 0});
    char own[32];
    (void)snprintf(own, sizeof own, "data: {\"refusal\":%d,", CT_EDGE_GRPC + 14);
    CHECK(has(hear(c, "0\r\n\r\n"), own));
    (void)close(c);
    close_both();
}

/* All that can be said of it in plain text: the connection ends without the last chunk. */
static void what_fails_on_the_way_is_cut(void) {
    open_both();
    for (int way = 0; way < 3; way++) {
        const int c = client();
        ask(c, "");
        CHECK_INT(tell("one"), 0);
        if (way == 0)
            tell_end("{\"type\":\"Bad\",\"message\":\"\"}");
        else if (way == 1)
            tell_problem();
        else
            (void)ct__h2_answer(comet, asked, NULL, 0); /* an answer that does not say how the call ended */
        const char *got = hear(c, NULL);
        CHECK(has(got, "3\r\none\r\n") && strstr(got, "0\r\n\r\n") == NULL);
        (void)close(c);
        UNTIL(counts().connections == 0);
    }
    const int c = client();
    ask(c, "");
    (void)ct__h2_answer(comet, asked, NULL, 0);
    char none[32];
    (void)snprintf(none, sizeof none, "{\"refusal\":%d,", CT_EDGE_COMET);
    CHECK(has(hear(c, "}"), none));
    ct_edge_code codes[4];
    CHECK_INT(ct_edge_codes(edge, codes, 4), 2);
    CHECK_TEXT(codes[0].code, "function_error");
    CHECK_TEXT(codes[1].code, "instance_died");
    (void)close(c);
    close_both();
}

static void who_leaves_cancels(void) {
    open_both();
    int c = client();
    ask(c, "");
    (void)close(c); /* before the first piece */
    UNTIL(cancels == 1 && counts().inflight == 0);
    c = client();
    ask(c, "");
    CHECK_INT(tell("one"), 0);
    (void)hear(c, "one");
    (void)close(c);
    UNTIL(cancels == 2 && counts().inflight == 0);
    CHECK_INT(counts().streams.answered[0], 1);
    CHECK_INT(counts().streams.answered[2], 1);
    close_both();
}

/* Nothing more is taken from comet than a window and a connection's queue; what was made comes whole in the end. */
static void a_slow_client_holds_the_call(void) {
    open_both();
    static char piece[PIECE_BYTES + 1];
    memset(piece, 'x', PIECE_BYTES);
    const int c = client();
    ask(c, "");
    size_t told = 0;
    int result = 0;
    for (int quiet = 0; quiet < 10;) {
        if (result == 0) {
            result = tell(piece);
            CHECK(result >= 0);
            told += PIECE_BYTES;
        }
        const int before = drains;
        turn(5);
        if (drains != before)
            result = 0;
        quiet = result == 0 ? 0 : quiet + 1;
    }
    CHECK(told < 12U << 20); /* most of it in the sockets: their buffers grow to some MB */
    const int other = client();
    ask(other, "");
    CHECK_INT(tell("quick"), 0);
    tell_end("");
    CHECK(has(hear(other, "0\r\n\r\n"), "5\r\nquick\r\n"));
    (void)close(other);
    size_t heard = 0;
    static char block[1 << 16];
    for (int i = 0; i < 20000 && heard < told; i++) {
        const ssize_t n = recv(c, block, sizeof block, 0);
        for (ssize_t at = 0; at < n; at++)
            heard += block[at] == 'x';
        if (n <= 0)
            turn(5);
    }
    CHECK(heard >= told); /* the head has an x or two */
    (void)close(c);
    UNTIL(cancels == 1);
    close_both();
}

static void memory_runs_out(void) {
    open_both();
    for (long n = 0; n < 60; n++) {
        const int c = client();
        UNTIL(counts().connections == 1);
        asked = 0;
        allocations_left = n;
        say(c, "POST /functions/f/invoke-stream HTTP/1.1\r\nHost: h\r\nX-API-Key: key\r\nAccept: text/event-stream\r\nContent-Length: 3\r\n\r\n[1]");
        for (int i = 0; i < 4; i++)
            turn(2);
        if (asked != 0) {
            (void)tell("one\ntwo");
            turn(2);
            (void)tell("three");
            if (n % 2 == 0)
                tell_problem();
            else
                tell_end("");
        }
        for (int i = 0; i < 4; i++)
            turn(2);
        allocations_left = -1;
        (void)close(c);
        for (int fd; (fd = accept4(back_door, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
            (void)close(fd);
        UNTIL(counts().connections == 0);
    }
    CHECK_INT(counts().inflight, 0);
    bool is_served = false;
    /* A connection to comet that failed is tried again after a while. */
    for (const uint64_t end_ms = ct__now_ms() + 20000; !is_served && ct__now_ms() < end_ms;) {
        const int c = client();
        asked = 0;
        say(c, "POST /functions/f/invoke-stream HTTP/1.1\r\nHost: h\r\nX-API-Key: key\r\nContent-Length: 1\r\n\r\n1");
        for (int i = 0; i < 50 && asked == 0; i++)
            turn(2);
        if (asked != 0) {
            tell_end("");
            is_served = strstr(hear(c, "0\r\n\r\n"), "HTTP/1.1 200 ") != NULL;
        }
        (void)close(c);
        turn(20);
    }
    CHECK(is_served);
    close_both();
}

int main(void) {
    static const ct_case cases[] = {CASE(pieces_become_chunks), CASE(pieces_become_events), CASE(what_fails_on_the_way_is_cut),
                                    CASE(who_leaves_cancels), CASE(a_slow_client_holds_the_call), CASE(memory_runs_out)};
    return RUN("edge_stream_nomem", cases);
}
