/* Calls that the edge makes itself, to a comet that the test plays through the server end of h2; and what happens without memory. */
#define _GNU_SOURCE
#include "base/sysx.h"
#include "edge_rig.h"

#include "h2/server.h"
#include "proto/pbwire.h"

static ct__h2_server *comet;
static int comet_door = -1;
static ct__h2_stream waiting;
static int cancels;
static char last_function[80], last_identity[80], last_depth[16];
static uint32_t last_timeout_ms;

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

static bool wanted(void *ctx, const ct__h2_head *head) {
    (void)ctx;
    return ct__h2_is(head->path, "/nova.v1.NovaService/Invoke", 27);
}

static void keep(char *out, size_t cap, const uint8_t *data, size_t len) {
    CHECK(len < cap);
    if (len > 0)
        memcpy(out, data, len);
    out[len] = '\0';
}

static void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    (void)ctx;
    ct__reader r = {.at = message, .left = len};
    ct__pb_field field;
    const uint8_t *payload = NULL;
    size_t payload_len = 0;
    last_timeout_ms = 0;
    while (ct__pb_next(&r, &field) == 1) {
        if (field.number == 1)
            keep(last_function, sizeof last_function, field.data, field.len);
        else if (field.number == 3)
            last_timeout_ms = (uint32_t)field.value;
        if (field.number == 2) {
            payload = field.data;
            payload_len = field.len;
        }
    }
    keep(last_identity, sizeof last_identity, head->identity.data, head->identity.len);
    keep(last_depth, sizeof last_depth, head->call_depth.data, head->call_depth.len);
    static const char PROBLEM[] = "{\"status\":429,\"code\":\"full\",\"retry_after_s\":3}";
    if (strcmp(last_function, "waits") == 0) {
        waiting = stream;
        (void)ct__h2_own(comet, stream, NULL);
        return;
    }
    if (strcmp(last_function, "full") == 0) {
        (void)ct__h2_refuse(comet, stream, 8, (ct__h2_span){NULL, 0}, (ct__h2_span){(const uint8_t *)PROBLEM, sizeof PROBLEM - 1});
        return;
    }
    if (strcmp(last_function, "bare") == 0) {
        (void)ct__h2_refuse(comet, stream, 5, (ct__h2_span){NULL, 0}, (ct__h2_span){NULL, 0});
        return;
    }
    static uint8_t out[1 << 17];
    ct__writer w = {.at = out, .left = sizeof out};
    ct__pb_put_bytes(&w, strcmp(last_function, "raises") == 0 ? 3 : 2, payload, payload_len);
    ct__pb_put_bytes(&w, 6, "7", 1);
    const ct__h2_span piece = {out, sizeof out - w.left};
    (void)ct__h2_answer(comet, stream, &piece, 1);
}

static void cancelled(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx, (void)stream, (void)owner;
    cancels++;
}

static void open_both(void) {
    open_rig(8);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    comet_door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(comet_door, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(comet_door, 16), 0);
    CHECK_INT(getsockname(comet_door, (struct sockaddr *)&address, &len), 0);
    static const ct__h2_server_calls CALLS = {.wanted = wanted, .request = request, .cancelled = cancelled};
    const ct__h2_limits limits = {0};
    comet = ct__h2_server_new(reactor, comet_door, back_path, &limits, &CALLS, NULL);
    CHECK(comet != NULL);
    static const uint64_t BOUNDS[] = {1, 60000000000};
    ct_edge_lane lane = {.comet = "localhost",
                         .port = ntohs(address.sin_port),
                         .authorization = "Bearer s",
                         .calls_max = 8,
                         .max_timeout_ns = 5000000000,
                         .grace_ns = 1000000000,
                         .read_ns = 300000000,
                         .body_max = 100000,
                         .bounds_ns = BOUNDS,
                         .bound_count = 2};
    CHECK_INT(ct_edge_learn(edge, (const uint8_t *)"k", 1, (const uint8_t *)"t", 1, NULL, 0, 1, 1), 0); /* no lane: nothing to learn for */
    CHECK_INT(ct_edge_call(edge, &lane), CT_E_RANGE);
    lane.comet = "127.0.0.1";
    CHECK_INT(ct_edge_call(edge, &lane), 0);
    CHECK_INT(ct_edge_call(edge, &lane), CT_E_RANGE);
    CHECK_INT(ct_edge_learn(edge, (const uint8_t *)"kkey\0acme\0", 10, (const uint8_t *)"token", 5, NULL, 0, UINT64_MAX, UINT64_MAX), 0);
    CHECK_INT(ct_edge_learn(edge, (const uint8_t *)"l\0\0", 3, (const uint8_t *)"local", 5, NULL, 0, UINT64_MAX, UINT64_MAX), 0);
    ct_edge_fresh(edge, UINT64_MAX);
    waiting = 0;
    cancels = 0;
}

static void close_both(void) {
    ct_edge_free(edge);
    ct__h2_server_free(comet);
    (void)close(comet_door);
    edge = NULL;
    close_rig();
}

static const char *call(int c, const char *function, const char *fields, const char *body) {
    static char text[4096];
    CHECK(snprintf(text, sizeof text, "POST /functions/%s/invoke HTTP/1.1\r\nHost: h\r\n%sContent-Length: %zu\r\n\r\n%s", function,
                   fields, strlen(body), body) < (int)sizeof text);
    say(c, text);
    return text;
}

#define KEY "X-API-Key: key\r\nX-Nova-Tenant: acme\r\n"

static void a_call_and_its_answer(void) {
    open_both();
    const int c = client();
    (void)call(c, "echo", KEY "X-Request-ID: 0190B5A0-7a3b-7c00-8000-0123456789ab\r\nX-Nova-Timeout-S: 1.5\r\nX-Nova-Call-Depth: 2\r\n",
               "[1]");
    char *got = hear(c, "}");
    CHECK(has(got, "HTTP/1.1 200 \r\ncontent-type: application/json\r\ncontent-length: 132\r\n"
                   "x-nova-version: 7\r\nx-request-id: 0190b5a0-7a3b-7c00-8000-0123456789ab\r\ndate: "));
    CHECK(has(got, "{\"request_id\":\"0190b5a0-7a3b-7c00-8000-0123456789ab\",\"output\":[1],\"error\":null,\"duration_ms\":0.000,"
                   "\"cold_start\":false,\"version\":\"7\"}"));
    CHECK_TEXT(last_function, "echo");
    CHECK_TEXT(last_identity, "token");
    CHECK_TEXT(last_depth, "2");
    CHECK_INT(last_timeout_ms, 1500);
    (void)call(c, "raises", KEY, "{\"type\":\"Bad\"}");
    CHECK(has(hear(c, "\"7\"}"), "x-nova-function-error: Bad\r\n"));
    (void)call(c, "full", KEY, "");
    got = hear(c, "\"}");
    CHECK(has(got, "HTTP/1.1 429 \r\n") && has(got, "retry-after: 3\r\n") && has(got, ",\"retry_after_s\":3,\"request_id\":\""));
    (void)call(c, "bare", KEY, "1");
    (void)snprintf(last_depth, sizeof last_depth, "{\"refusal\":%d", CT_EDGE_GRPC + 5);
    CHECK(has(hear(c, "}"), last_depth));
    (void)call(c, "echo", KEY, "{");
    CHECK(has(hear(c, "}"), "{\"refusal\":10,"));
    const ct_edge_counts now = counts();
    CHECK_INT(now.called, 4);
    CHECK_INT(now.forwarded, 0);
    CHECK_INT(now.calls.answered[2], 2);
    CHECK_INT(now.calls.slots[0] + now.calls.slots[1], 5);
    ct_edge_code codes[4];
    CHECK_INT(ct_edge_codes(edge, codes, 4), 1);
    CHECK_TEXT(codes[0].code, "full");
    (void)close(c);
    close_both();
}

static void who_is_not_known_is_forwarded(void) {
    open_both();
    const int c = client();
    static const char *const UNKNOWN[] = {"X-API-Key: kex\r\nX-Nova-Tenant: acme\r\n", "X-API-Key: key\r\n", "",
                                          "Authorization: key\r\nX-Nova-Tenant: acme\r\n", KEY "X-Nova-Tenant: acme\r\n"};
    int s = -1;
    for (size_t i = 0; i < sizeof UNKNOWN / sizeof *UNKNOWN; i++) {
        (void)call(c, "echo", UNKNOWN[i], "1");
        s = s < 0 ? server() : s;
        (void)hear(s, "\r\n\r\n1");
        say(s, "HTTP/1.1 204 \r\n\r\n");
        (void)hear(c, "\r\n\r\n");
    }
    CHECK_INT(counts().called, 0);
    ct_edge_trust(edge, 99, (const uint8_t *)"h", 1);             /* nobody */
    ct_edge_trust(edge, (uint64_t)1 << 32, (const uint8_t *)"h", 1); /* the first connection in the first place */
    (void)call(c, "echo", "", "2");
    CHECK(has(hear(c, "}"), "\"output\":2,"));
    CHECK_TEXT(last_identity, "local");
    ct_edge_forget(edge);
    (void)call(c, "echo", KEY, "1");
    (void)hear(s, "\r\n\r\n1");
    (void)close(c);
    (void)close(s);
    close_both();
}

/* By the rule that Python gave: this uid, and a Host that Python let in on some connection before. */
static void a_local_user_is_known_on_every_connection(void) {
    open_both();
    CHECK_INT(ct_edge_local(edge, (uint32_t)geteuid() + 1), 0);
    const int first = client();
    UNTIL(counts().connections == 1);
    ct_edge_trust(edge, (uint64_t)1 << 32, (const uint8_t *)"h", 1);
    const int stranger = client();
    (void)call(stranger, "echo", "", "1");
    int s = server();
    (void)hear(s, "\r\n\r\n1"); /* is somebody else's: Python says */
    CHECK_INT(ct_edge_local(edge, (uint32_t)geteuid()), 0);
    const int c = client();
    (void)call(c, "echo", "Via: 1.1 proxy\r\n", "2");
    s = server();
    (void)hear(s, "\r\n\r\n2"); /* has a sign of another hand */
    say(s, "HTTP/1.1 204 \r\n\r\n");
    (void)hear(c, "\r\n\r\n");
    say(c, "POST /functions/echo/invoke HTTP/1.1\r\nHost: other\r\nContent-Length: 1\r\n\r\n3");
    (void)hear(s, "\r\n\r\n3"); /* names a Host that nobody let in */
    say(s, "HTTP/1.1 204 \r\n\r\n");
    (void)hear(c, "\r\n\r\n");
    CHECK_INT(counts().forwarded, 3);
    (void)call(c, "echo", "", "4");
    CHECK(has(hear(c, "}"), "\"output\":4,"));
    CHECK_TEXT(last_identity, "local");
    CHECK_INT(counts().forwarded, 3);
    for (char host[] = "1"; host[0] <= '4'; host[0]++)
        ct_edge_trust(edge, (uint64_t)1 << 32, (const uint8_t *)host, 1);
    const int late = client();
    (void)call(late, "echo", "", "5");
    (void)hear(s, "\r\n\r\n5"); /* that Host made room for four others */
    (void)close(first);
    (void)close(stranger);
    (void)close(c);
    (void)close(late);
    close_both();
}

static void one_call_asks_for_all_of_its_caller(void) {
    open_both();
#define NEW "X-API-Key: new\r\n"
    int c[4];
    for (int i = 0; i < 4; i++)
        c[i] = client();
    (void)call(c[0], "echo", NEW, "0");
    const int s = server();
    (void)hear(s, "\r\n\r\n0");
    (void)call(c[1], "echo", NEW, "1");
    (void)call(c[2], "echo", NEW, "2");
    (void)call(c[3], "echo", KEY, "3"); /* another caller has nothing to wait for */
    CHECK(has(hear(c[3], "}"), "\"output\":3,"));
    CHECK_INT(counts().forwarded, 1);
    (void)close(c[2]); /* whoever leaves is not missed */
    UNTIL(counts().inflight == 2);
    CHECK_INT(ct_edge_learn(edge, (const uint8_t *)"knew\0\0", 6, (const uint8_t *)"fresh", 5, NULL, 0, UINT64_MAX, UINT64_MAX), 0);
    CHECK(has(hear(c[1], "}"), "\"output\":1,"));
    CHECK_TEXT(last_identity, "fresh");
    CHECK_INT(counts().forwarded, 1);
    say(s, "HTTP/1.1 204 \r\n\r\n");
    (void)hear(c[0], "\r\n\r\n");
    ct_edge_forget(edge);
    (void)call(c[0], "echo", NEW, "0");
    (void)hear(s, "\r\n\r\n0");
    (void)call(c[1], "echo", NEW, "1");
    (void)call(c[3], "echo", NEW, "3");
    UNTIL(counts().inflight == 3);
    CHECK_INT(counts().forwarded, 2);
    say(s, "HTTP/1.1 403 \r\ncontent-length: 0\r\n\r\n"); /* nothing was learnt: the next one asks */
    (void)hear(c[0], "\r\n\r\n");
    UNTIL(counts().forwarded == 3);
    (void)hear(s, "\r\n\r\n"); /* one of the two */
    UNTIL(counts().forwarded == 4); /* and who hears nothing for long asks as well */
    for (int i = 0; i < 4; i++)
        if (i != 2)
            (void)close(c[i]);
    (void)close(s);
    close_both();
}

static void a_call_to_a_tenants_host_is_the_servers(void) {
    open_both();
    int c = client(), s = -1;
    static const char *const NAMES[] = {"*.wild.org\nh\n", "\n" /* not names: any host may be one */, ""};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        CHECK_INT(ct_edge_domains(edge, (const uint8_t *)NAMES[i], strlen(NAMES[i])), i == 1 ? CT_E_RANGE : 0);
        (void)call(c, "echo", KEY, "7");
        if (i < 2) {
            s = s < 0 ? server() : s;
            (void)hear(s, "\r\n\r\n7");
            say(s, "HTTP/1.1 204 \r\n\r\n");
        }
        CHECK(has(hear(c, i < 2 ? "\r\n\r\n" : "}"), i < 2 ? " 204 " : "\"output\":7,"));
        CHECK_INT(counts().called, i < 2 ? 0 : 1);
    }
    (void)close(c);
    (void)close(s);
    close_both();
}

static void who_leaves_cancels(void) {
    open_both();
    const int c = client();
    (void)call(c, "waits", KEY, "1");
    UNTIL(waiting != 0);
    CHECK_INT(counts().inflight, 1);
    (void)close(c);
    UNTIL(cancels == 1 && counts().inflight == 0);
    CHECK_INT(counts().calls.answered[0], 1);
    close_both();
}

static void a_call_has_its_time(void) {
    open_both();
    const int c = client();
    (void)call(c, "waits", KEY "X-Nova-Timeout-S: 0.001\r\n", "1");
    char late[32];
    (void)snprintf(late, sizeof late, "{\"refusal\":%d,", CT_EDGE_LATE);
    CHECK(has(hear(c, "}"), late));
    (void)close(c);
    close_both();
}

static void a_body_that_comes_slowly(void) {
    open_both();
    int c = client();
    say(c, "POST /v1/functions/echo/invoke HTTP/1.1\r\nHost: h\r\n" KEY "Content-Length: 6\r\n\r\n[1,");
    UNTIL(counts().held_bytes == 6);
    say(c, " 2]POST");
    CHECK(has(hear(c, "}"), "\"output\":[1, 2],"));
    CHECK_INT(counts().held_bytes, 0);
    (void)close(c);
    c = client();
    say(c, "POST /functions/echo/invoke HTTP/1.1\r\nHost: h\r\n" KEY "Content-Length: 6\r\n\r\n[1,");
    char slow[32];
    (void)snprintf(slow, sizeof slow, "{\"refusal\":%d,", CT_EDGE_BODY_SLOW);
    CHECK(has(hear(c, NULL), slow));
    CHECK_INT(counts().held_bytes, 0);
    (void)close(c);
    CHECK_INT(ct_edge_hold(edge, (1 << 20) - 5), 0);
    c = client();
    say(c, "POST /functions/echo/invoke HTTP/1.1\r\nHost: h\r\n" KEY "Content-Length: 6\r\n\r\n[1,");
    (void)snprintf(slow, sizeof slow, "{\"refusal\":%d,", CT_EDGE_BODIES);
    CHECK(has(hear(c, NULL), slow));
    CHECK_INT(ct_edge_hold(edge, 5 - (1 << 20)), 0);
    CHECK_INT(counts().held_bytes, 0);
    (void)close(c);
    close_both();
}

static void a_body_in_chunks(void) {
    open_both();
    const int c = client();
    static const char HEAD[] = "POST /functions/echo/invoke HTTP/1.1\r\nHost: h\r\n" KEY "Transfer-Encoding: chunked\r\n\r\n";
    static const char BODY[] = "3;x=y\r\n[1,\r\n1\r\n2\r\n000\r\nT: x\r\n\r\n";
    say(c, HEAD);
    for (size_t i = 0; i < sizeof BODY - 1; i++) {
        const char one[2] = {BODY[i], '\0'};
        say(c, one);
        turn(1);
    }
    char refusal[32];
    (void)snprintf(refusal, sizeof refusal, "{\"refusal\":%d,", CT_EDGE_NOT_JSON);
    CHECK(has(hear(c, "}"), refusal)); /* "[1,2" */
    CHECK_INT(counts().held_bytes, 0);
    say(c, HEAD);
    say(c, "2\r\n[1\r\n1\r\n]\r\n0\r\n\r\nPOST");
    CHECK(has(hear(c, "}"), "\"output\":[1],"));
    (void)close(c);
    const int broken = client();
    say(broken, HEAD);
    say(broken, "2\r\n[1");
    UNTIL(counts().held_bytes == 5);
    say(broken, "]\r\n0\r\n\r\n");
    CHECK(has(hear(broken, NULL), "HTTP/1.1 400 "));
    (void)close(broken);
    const int large = client();
    say(large, HEAD);
    static char much[100001];
    memset(much, ' ', sizeof much - 1);
    say(large, "186a1\r\n"); /* one more than may be */
    say(large, much);
    say(large, " ");
    const int s = server(); /* the forwarded one; and the broken one before it */
    const int t = server();
    (void)hear(s, NULL);
    say(t, "HTTP/1.1 413 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    CHECK(has(hear(large, NULL), "HTTP/1.1 413 "));
    (void)close(large);
    (void)close(s);
    (void)close(t);
    UNTIL(counts().connections == 0);
    CHECK_INT(counts().held_bytes, 0);
    CHECK_INT(counts().inflight, 0);
    close_both();
}

/* Whatever can not be had, the edge serves on afterwards. */
static void memory_runs_out(void) {
    open_both();
    for (long n = 0; n < 40; n++) {
        const int c = client(), other = client();
        allocations_left = n;
        (void)call(c, "echo", KEY, "[1]");
        say(other, "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        for (int i = 0; i < 4; i++)
            turn(2);
        allocations_left = -1;
        (void)close(c);
        (void)close(other);
        for (int fd; (fd = accept4(back_door, NULL, NULL, SOCK_NONBLOCK)) >= 0;)
            (void)close(fd);
        UNTIL(counts().connections == 0);
    }
    CHECK_INT(counts().inflight, 0);
    bool is_served = false;
    /* A connection to comet that failed is tried again after a while. */
    for (const uint64_t end_ms = ct__now_ms() + 20000; !is_served && ct__now_ms() < end_ms;) {
        const int c = client();
        (void)call(c, "echo", KEY, "[1]");
        is_served = strstr(hear(c, "}"), "\"output\":[1],") != NULL;
        (void)close(c);
        turn(20);
    }
    CHECK(is_served);
    close_both();
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_and_its_answer), CASE(who_is_not_known_is_forwarded), CASE(a_local_user_is_known_on_every_connection),
                                    CASE(one_call_asks_for_all_of_its_caller),
                                    CASE(a_call_to_a_tenants_host_is_the_servers), CASE(who_leaves_cancels), CASE(a_call_has_its_time), CASE(a_body_that_comes_slowly), CASE(a_body_in_chunks),
                                    CASE(memory_runs_out)};
    return RUN("edge_call_nomem", cases);
}
