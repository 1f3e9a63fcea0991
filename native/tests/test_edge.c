#define _GNU_SOURCE
#include "edge_rig.h"

#define GET "GET /a HTTP/1.1\r\nHost: h\r\n"
#define OK "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Odd:  kept \r\n\r\nhi"

static void a_request_and_its_answer_pass(void) {
    open_rig(8);
    const int c = client();
    say(c, "GET http://h/a?b HTTP/1.1\r\nHost: h\r\nX-Mine:1\r\nForwarded: x\r\nX-Forwarded-For: y\r\nVia: v\r\n"
           "Constellation-Peer: forged\r\nCookie: k\r\n\r\n");
    const int s = server();
    char *seen = hear(s, "\r\n\r\n");
    CHECK(has(seen, "GET /a?b HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\nVia: v\r\nCookie: k\r\nconstellation-peer: 127.0.0.1 "));
    CHECK(has(seen, " proxied\r\n\r\n"));
    CHECK(strstr(seen, "forged") == NULL && strstr(seen, "orwarded") == NULL);
    CHECK_INT(counts().inflight, 1);
    say(s, OK);
    CHECK_TEXT(hear(c, "hi"), OK);
    CHECK_INT(counts().inflight, 0);
    say(c, GET "Connection: close\r\n\r\n"); /* on the same two connections */
    seen = hear(s, "\r\n\r\n");
    CHECK(has(seen, " direct\r\n\r\n") && has(seen, "Connection: close\r\n"));
    say(s, "HTTP/1.1 204 \r\nconnection: close\r\n\r\n");
    CHECK_TEXT(hear(c, NULL), "HTTP/1.1 204 \r\nconnection: close\r\n\r\n");
    CHECK_TEXT(hear(s, NULL), "");
    (void)close(c);
    (void)close(s);
    UNTIL(counts().connections == 0);
    close_rig();
}

static void connections_at_rest_hold_little(void) {
    enum { CLIENTS = 16, LITTLE = 2048 };
    open_rig(8);
    int clients[CLIENTS], s = -1;
    for (size_t i = 0; i < CLIENTS; i++) {
        clients[i] = client();
        say(clients[i], GET "\r\n");
        s = s < 0 ? server() : s;
        (void)hear(s, "\r\n\r\n");
        say(s, OK);
        (void)hear(clients[i], "hi");
    }
    size_t held_bytes = 0;
    for (const ct__caller *c = edge->callers; c != NULL; c = c->next)
        held_bytes += c->conn.in.cap + c->conn.out.cap;
    CHECK_INT(counts().connections, CLIENTS);
    CHECK(held_bytes <= CLIENTS * LITTLE);
    for (size_t i = 0; i < CLIENTS; i++)
        (void)close(clients[i]);
    (void)close(s);
    close_rig();
}

static void bodies_are_told_anew(void) {
    open_rig(8);
    const int c = client();
    say(c, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n");
    const int s = server();
    CHECK(has(hear(s, "abc\r\n"), "transfer-encoding: chunked\r\nconstellation-peer"));
    say(c, "0A\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n" GET "\r\n");
    CHECK_TEXT(hear(s, "0\r\n\r\n"), "a\r\n0123456789\r\n0\r\n\r\n");
    say(s, "HTTP/1.1 100 Continue\r\n\r\n");
    say(s, "HTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    CHECK(has(hear(c, "0\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 \r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"));
    CHECK(has(hear(s, "\r\n\r\n"), "GET /a HTTP/1.1\r\n")); /* sent behind the first, answered behind it */
    say(s, OK);
    CHECK_TEXT(hear(c, "hi"), OK);
    say(c, "HEAD /a HTTP/1.1\r\nHost: h\r\n\r\n");
    (void)hear(s, "\r\n\r\n");
    say(s, "HTTP/1.1 200 \r\ncontent-length: 99\r\n\r\n");
    (void)hear(c, "\r\n\r\n");
    CHECK_INT(counts().inflight, 0);
    (void)close(c);
    (void)close(s);
    close_rig();
}

static void what_is_malformed_never_reaches_the_server(void) {
    open_rig(8);
    int c = client();
    say(c, GET "X : 1\r\n\r\n" GET "\r\n");
    char *got = hear(c, NULL);
    CHECK(has(got, "HTTP/1.1 400 \r\ncontent-type: application/problem+json\r\n"));
    CHECK(has(got, "x-test: 1\r\nconnection: close\r\nx-request-id: ") && has(got, "{\"refusal\":0,\"request_id\":\""));
    (void)close(c);
    c = client();
    say(c, GET); /* an end in the middle */
    CHECK_INT(shutdown(c, SHUT_WR), 0);
    CHECK(has(hear(c, NULL), "HTTP/1.1 400 "));
    (void)close(c);
    CHECK_INT(accept4(back_door, NULL, NULL, SOCK_NONBLOCK), -1);
    c = client(); /* and in the middle of a body */
    say(c, "POST /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nx");
    const int s = server();
    CHECK(strstr(hear(s, NULL), "0\r\n\r\n") == NULL);
    CHECK(has(hear(c, NULL), "HTTP/1.1 400 "));
    (void)close(c);
    (void)close(s);
    CHECK_INT(counts().refused[CT_EDGE_MALFORMED], 3);
    UNTIL(counts().connections == 0 && counts().inflight == 0);
    close_rig();
}

static void a_silent_client_is_let_go(void) {
    open_rig(8);
    const int silent = client(), slow = client();
    say(slow, "GET / HT");
    CHECK(has(hear(slow, NULL), "{\"refusal\":1,"));
    CHECK_TEXT(hear(silent, NULL), "");
    (void)close(silent);
    (void)close(slow);
    close_rig();
}

static void a_server_that_fails(void) {
    open_rig(8);
    int c = client();
    say(c, GET "\r\n");
    int s = server();
    (void)close(s);
    CHECK(has(hear(c, NULL), "{\"refusal\":7,")); /* nothing was sent yet */
    (void)close(c);
    c = client();
    say(c, GET "\r\n");
    s = server();
    say(s, "HTTP/1.1 200 \r\ncontent-length: 9\r\n\r\nhalf");
    (void)hear(c, "half");
    (void)close(s);
    CHECK_TEXT(hear(c, NULL), "");
    (void)close(c);
    c = client();
    say(c, GET "\r\n");
    s = server();
    say(s, "HTTP/1.1 200 \r\n\r\nall");
    (void)hear(c, "all");
    (void)close(s);
    CHECK_TEXT(hear(c, NULL), ""); /* an answer that ends with its connection */
    (void)close(c);
    c = client();
    say(c, GET "\r\n");
    s = server();
    say(s, "HTTP/1.1 200 \r\nBad : 1\r\n\r\n");
    CHECK(has(hear(c, NULL), "{\"refusal\":7,"));
    (void)close(c);
    (void)close(s);
    (void)close(back_door);
    (void)unlink(back_path);
    c = client();
    say(c, GET "\r\n");
    CHECK(has(hear(c, NULL), "{\"refusal\":7,"));
    (void)close(c);
    close_rig();
}

static void a_client_that_leaves_takes_its_request_along(void) {
    open_rig(8);
    const int c = client();
    say(c, GET "\r\n");
    const int s = server();
    (void)hear(s, "\r\n\r\n");
    (void)close(c);
    CHECK_TEXT(hear(s, NULL), "");
    (void)close(s);
    UNTIL(counts().inflight == 0 && counts().connections == 0);
    close_rig();
}

static void over_the_limit_is_refused_at_once(void) {
    open_rig(1);
    const int first = client(), second = client();
    say(first, GET "\r\n");
    const int s = server();
    (void)hear(s, "\r\n\r\n");
    say(second, GET "\r\n");
    CHECK(has(hear(second, "}"), "{\"refusal\":8,"));
    say(s, OK);
    (void)hear(first, "hi");
    say(second, GET "\r\n"); /* its connection goes on */
    (void)hear(s, "\r\n\r\n");
    say(s, OK);
    CHECK_TEXT(hear(second, "hi"), OK);
    say(first, GET "\r\n");
    (void)hear(s, "\r\n\r\n");
    say(second, "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n"); /* but not behind an unread body */
    CHECK(has(hear(second, NULL), "connection: close\r\n"));
    (void)close(first);
    (void)close(second);
    (void)close(s);
    close_rig();
}

static void an_upgrade_is_a_tunnel(void) {
    open_rig(8);
    const int c = client();
    say(c, GET "Connection: Upgrade\r\nUpgrade: x\r\n\r\nearly");
    const int s = server();
    CHECK(has(hear(s, "\r\n\r\n"), "Upgrade: x\r\n"));
    say(s, "HTTP/1.1 101 \r\nupgrade: x\r\n\r\nhello");
    CHECK(has(hear(c, "hello"), "HTTP/1.1 101 \r\n"));
    CHECK_TEXT(hear(s, "early"), "early");
    say(c, "\x01\x02");
    CHECK_TEXT(hear(s, "\x02"), "\x01\x02");
    CHECK_INT(shutdown(s, SHUT_WR), 0);
    CHECK_TEXT(hear(c, NULL), "");
    say(c, "last");
    CHECK_TEXT(hear(s, "last"), "last");
    (void)close(c);
    CHECK_TEXT(hear(s, NULL), "");
    (void)close(s);
    UNTIL(counts().connections == 0);
    close_rig();
}

/* Neither side is read faster than the other takes it, and what a server sent before it closed still arrives. */
static void back_pressure_goes_both_ways(void) {
    open_rig(8);
    static char block[65536];
    memset(block, 'x', sizeof block);
    const int c = client();
    say(c, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    const int s = server();
    size_t sent = 0, got = 0;
    for (int quiet = 0; quiet < 20;) {
        const ssize_t n = send(c, block, sizeof block, MSG_NOSIGNAL);
        sent += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        turn(1);
    }
    CHECK(sent < 50000000);
    say(s, "HTTP/1.1 200 \r\nconnection: close\r\n\r\n");
    for (int quiet = 0; quiet < 20;) {
        const ssize_t n = send(s, block, sizeof block, MSG_NOSIGNAL);
        got += n > 0 ? (size_t)n : 0;
        quiet = n > 0 ? 0 : quiet + 1;
        turn(1);
    }
    CHECK(got < 50000000);
    (void)close(s);
    size_t seen = 0;
    char head[512] = {0};
    for (bool is_over = false; !is_over;) {
        static char in[65536];
        const ssize_t n = recv(c, in, sizeof in, 0);
        is_over = n == 0 || (n < 0 && errno != EAGAIN);
        for (ssize_t i = 0; i < n && seen + (size_t)i + 1 < sizeof head; i++)
            head[seen + (size_t)i] = in[i];
        seen += n > 0 ? (size_t)n : 0;
        if (n < 0)
            turn(1);
    }
    const char *end = strstr(head, "\r\n\r\n");
    CHECK(end != NULL && seen - (size_t)(end + 4 - head) == got); /* all of it, behind the head */
    (void)close(c);
    close_rig();
}

static void a_stop_lets_what_is_in_hand_end(void) {
    open_rig(8);
    const int quiet = client(), busy = client();
    say(busy, GET "\r\n");
    const int s = server();
    (void)hear(s, "\r\n\r\n");
    UNTIL(counts().connections == 2);
    ct_edge_stop(edge);
    CHECK_TEXT(hear(quiet, NULL), "");
    say(s, OK);
    CHECK_TEXT(hear(busy, NULL), OK);
    (void)close(quiet);
    (void)close(busy);
    (void)close(s);
    close_rig();
}

static void settings_are_checked(void) {
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    const ct_edge_settings settings = {.upstream = path};
    CHECK(ct_edge_new(NULL, &settings) == NULL);
    open_rig(1);
    CHECK_INT(ct_edge_problem(edge, CT_EDGE_REFUSALS, 400, (const uint8_t *)"{}", 2, ""), CT_E_RANGE);
    CHECK_INT(ct_edge_problem(edge, 0, 400, (const uint8_t *)"[]", 2, ""), CT_E_RANGE);
    CHECK_INT(ct_edge_problem(edge, 0, 400, (const uint8_t *)"}", 1, ""), CT_E_RANGE);
    close_rig();
}

int main(void) {
    static const ct_case cases[] = {
        CASE(a_request_and_its_answer_pass), CASE(connections_at_rest_hold_little), CASE(bodies_are_told_anew),
        CASE(what_is_malformed_never_reaches_the_server),
        CASE(a_silent_client_is_let_go), CASE(a_server_that_fails), CASE(a_client_that_leaves_takes_its_request_along),
        CASE(over_the_limit_is_refused_at_once), CASE(an_upgrade_is_a_tunnel), CASE(back_pressure_goes_both_ways),
        CASE(a_stop_lets_what_is_in_hand_end), CASE(settings_are_checked)};
    return RUN("edge", cases);
}
