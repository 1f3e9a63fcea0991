/* Either end against a peer that writes what it likes. */
#define _GNU_SOURCE
#include "h2_rig.h"

/* ---- a client that writes what it likes ---- */

static int raw_connection(void) {
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_INT(ct__h2_server_adopt(front.server, pair[0]), 0);
    return pair[1];
}

static const char MAGIC[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

static void say(int fd, const void *bytes, size_t len) {
    CHECK_INT(write(fd, bytes, len), len);
}

static void frame(int fd, uint8_t type, uint8_t flags, uint32_t id, const void *payload, size_t len) {
    uint8_t head[9] = {0, (uint8_t)(len >> 8), (uint8_t)len, type, flags};
    ct__be32_put(head + 5, id);
    say(fd, head, 9);
    if (len > 0)
        say(fd, payload, len);
}

/* Reads to the end of the connection; returns the code of its GOAWAY, or -1. */
static long goaway_of(int fd) {
    static uint8_t got[1 << 20];
    size_t len = 0;
    for (int i = 0; i < 5000; i++) {
        turn_for(1);
        const ssize_t n = read(fd, got + len, sizeof got - len);
        if (n > 0)
            len += (size_t)n;
        else if (n == 0 || errno != EAGAIN)
            break;
    }
    long code = -1;
    for (size_t at = 0; at + 9 <= len; at += 9 + ((size_t)got[at] << 16 | (size_t)got[at + 1] << 8 | got[at + 2]))
        if (got[at + 3] == 7)
            code = (long)ct__be32(got + at + 13);
    (void)close(fd);
    return code;
}

static void what_is_malformed_closes_its_own_connection(void) {
    open_rig(&(ct__h2_limits){.greeting_ns = 100000000, .body_ns = 50000000}, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    while (front.waits == 0)
        turn_for(1000);
    int fd = raw_connection();
    say(fd, "GET / HTTP/1.1\r\n\r\n", 18);
    CHECK_INT(goaway_of(fd), 1);
    fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, "12345", 5); /* SETTINGS of a wrong size */
    CHECK_INT(goaway_of(fd), 6);
    fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    frame(fd, 0, 0, 1, "x", 1); /* DATA on an idle stream */
    CHECK_INT(goaway_of(fd), 1);
    fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    frame(fd, 1, 4, 1, "\xFF\xFF\xFF\xFF\xFF\xFF", 6); /* no HPACK */
    CHECK_INT(goaway_of(fd), 9);
    fd = raw_connection(); /* says nothing */
    (void)goaway_of(fd);
    fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    frame(fd, 1, 0, 1, "\x82", 1); /* headers that never end */
    (void)goaway_of(fd);
    fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    for (int i = 0; i < 3000; i++) { /* asks for answers and does not take them */
        uint8_t ping[17] = {0, 0, 8, 6};
        if (write(fd, ping, 17) != 17)
            break;
    }
    shutdown(fd, SHUT_RD);
    while (ct__h2_server_counts(front.server).connections > 1)
        turn_for(1000);
    (void)close(fd);
    CHECK_INT(ct__h2_server_counts(front.server).faulted, 6);
    CHECK_INT(c.done, 0); /* all the while */
    CHECK_INT(ct__h2_answer(front.server, front.waiting[0], NULL, 0), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    close_rig();
}

static size_t literal(uint8_t *out, const char *name, const char *value) {
    size_t at = 0;
    out[at++] = 0;
    out[at++] = (uint8_t)strlen(name);
    memcpy(out + at, name, strlen(name));
    at += strlen(name);
    out[at++] = (uint8_t)strlen(value);
    memcpy(out + at, value, strlen(value));
    return at + strlen(value);
}

static void who_speaks_no_grpc_is_told_so(void) {
    open_rig(&PLAIN, &PLAIN);
    static const char *const methods[] = {"GET", "HEAD", "POST"};
    for (size_t i = 0; i < 3; i++) {
        const int fd = raw_connection();
        say(fd, MAGIC, sizeof MAGIC - 1);
        frame(fd, 4, 0, 0, NULL, 0);
        uint8_t block[256];
        size_t len = 0;
        len += literal(block + len, ":method", methods[i]);
        len += literal(block + len, ":scheme", "http");
        len += literal(block + len, ":path", "/c/echo");
        len += literal(block + len, ":authority", "a");
        frame(fd, 1, i < 2 ? 5 : 4, 1, block, len);
        if (i == 2)
            frame(fd, 0, 1, 1, "junk", 4);
        char got[4096] = {0};
        size_t at = 0;
        for (int turns = 0; turns < 100 && ct__h2_server_counts(front.server).streams == 0; turns++)
            turn_for(10);
        while (ct__h2_server_counts(front.server).streams > 0)
            turn_for(1000);
        const ssize_t n = read(fd, got + at, sizeof got - at);
        CHECK(n > 0);
        CHECK((memmem(got, (size_t)n, "speaks gRPC only", 16) != NULL) == (i != 1));
        (void)close(fd);
    }
    CHECK_INT(front.requests + back.requests, 0);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    close_rig();
}

/* ---- a server that answers what it likes: straight to our client, and from behind our server ---- */

typedef struct answer {
    const char *fields[8]; /* of the head */
    const char *trailer[6];
    const char *body;
    size_t body_len;
    uint32_t reset, goaway; /* a code + 1 */
    uint32_t status;        /* what our client makes of it */
    uint32_t behind;        /* and what it makes of it through our server */
    const char *message;
    bool may_have_begun;
} answer;

static void send_block(int fd, uint8_t flags, const char *const *fields) {
    uint8_t block[1024];
    size_t len = 0;
    for (; fields[0] != NULL; fields += 2)
        len += literal(block + len, fields[0], fields[1]);
    frame(fd, 1, flags, 1, block, len);
}

static void say_answer(int fd, const answer *a) {
    frame(fd, 4, 0, 0, NULL, 0);
    const bool has_more = a->body != NULL || a->trailer[0] != NULL || a->reset != 0;
    static const char *const interim[] = {":status", "103", NULL};
    if (a->fields[0] != NULL) {
        send_block(fd, 4, interim);
        send_block(fd, has_more ? 4 : 5, a->fields);
    }
    if (a->body != NULL)
        frame(fd, 0, a->trailer[0] == NULL && a->reset == 0, 1, a->body, a->body_len);
    if (a->trailer[0] != NULL)
        send_block(fd, 5, a->trailer);
    uint8_t code[8] = {0};
    if (a->reset != 0) {
        ct__be32_put(code, a->reset - 1);
        frame(fd, 3, 0, 1, code, 4);
    }
    if (a->goaway != 0) {
        ct__be32_put(code + 4, a->goaway - 1);
        frame(fd, 7, 0, 0, code, 8);
    }
}

static const answer ANSWERS[] = {
    {{":status", "200"}, {"grpc-status", "0"}, "\0\0\0\0\2ok", 7, 0, 0, 0, 0, "", true},
    {{":status", "200"}, {"grpc-status", "0"}, "\0\0\0\0\3ok", 7, 0, 0, 13, 13, "the answer is not one gRPC message", true},
    {{":status", "200"}, {"grpc-status", "0"}, "\1\0\0\0\2ok", 7, 0, 0, 13, 13, "the answer is not one gRPC message", true},
    {{":status", "200", "grpc-status", "7", "grpc-message", "no%20way"}, {0}, NULL, 0, 0, 0, 7, 7, "no way", true},
    {{":status", "200", "grpc-status", "seven"}, {0}, NULL, 0, 0, 0, 2, 2, "an answer without a gRPC status", true},
    {{":status", "200"}, {0}, "\0\0\0\0\2ok", 7, 0, 0, 2, 2, "an answer without a gRPC status", true},
    {{":status", "200", "grpc-encoding", "gzip"}, {"grpc-status", "0"}, "\1\0\0\0\0", 5, 0, 0, 13, 13,
     "the answer's metadata is too large, or encoded", true},
    {{":status", "400"}, {0}, NULL, 0, 0, 0, 13, 13, "an answer without a gRPC status", true},
    {{":status", "401"}, {0}, NULL, 0, 0, 0, 16, 16, "an answer without a gRPC status", true},
    {{":status", "403"}, {0}, NULL, 0, 0, 0, 7, 7, "an answer without a gRPC status", true},
    {{":status", "404"}, {0}, NULL, 0, 0, 0, 12, 12, "an answer without a gRPC status", true},
    {{":status", "503"}, {0}, NULL, 0, 0, 0, 14, 14, "an answer without a gRPC status", true},
    {{":status", "302"}, {0}, NULL, 0, 0, 0, 2, 2, "an answer without a gRPC status", true},
    {{NULL}, {0}, NULL, 0, 1 + 7, 0, 14, 14, "the server refused the call", false},
    {{NULL}, {0}, NULL, 0, 1 + 11, 0, 8, 8, "the server asks to go slower", true},
    {{NULL}, {0}, NULL, 0, 1 + 2, 0, 14, 14, "the server ended the call without an answer", true},
    {{":status", "200"}, {0}, "\0\0\0\0\2o", 6, 1 + 8, 0, 14, 14, "the server ended the call without an answer", true},
    {{NULL}, {0}, NULL, 0, 0, 1 + 0, 14, 14, "the server refused the call", false},
};

static void odd_answers_have_a_meaning(void) {
    open_rig(&PLAIN, &PLAIN);
    char odd_path[64], port_path[64];
    const int odd_door = listen_at(odd_path, "odd"), port_door = listen_at(port_path, "port");
    for (size_t i = 0; i < 2 * sizeof ANSWERS / sizeof ANSWERS[0]; i++) {
        const answer *a = &ANSWERS[i / 2];
        const bool is_behind = i % 2 == 1;
        ct__h2_server *port = ct__h2_server_new(r, port_door, odd_path, &PLAIN, NULL, NULL);
        ct__h2_client *near = ct__h2_client_new_unix(r, is_behind ? port_path : odd_path, &PLAIN);
        caller c;
        CHECK_INT(begin(near, &c, "/x", "x", 1, 60LL * SECOND), 0);
        int fd = -1;
        for (int turns = 0; turns < 1000 && fd < 0; turns++) {
            turn_for(1);
            fd = accept4(odd_door, NULL, NULL, SOCK_NONBLOCK);
        }
        for (int turns = 0; turns < 10; turns++)
            turn_for(1); /* the request is out */
        say_answer(fd, a);
        finish(&c);
        CHECK_INT(c.reply.status, is_behind ? a->behind : a->status);
        if (!is_behind) {
            CHECK_TEXT(c.message, a->message);
            CHECK_INT(c.reply.may_have_begun, a->may_have_begun);
        }
        ct__h2_client_free(near);
        ct__h2_server_free(port);
        (void)close(fd);
    }
    (void)close(odd_door);
    (void)close(port_door);
    (void)unlink(odd_path);
    (void)unlink(port_path);
    close_rig();
}

static void resets_without_end_close_the_connection(void) {
    open_rig(&PLAIN, &PLAIN);
    const int fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    uint8_t block[256], code[4] = {0, 0, 0, 8};
    size_t len = 0;
    len += literal(block + len, ":method", "POST");
    len += literal(block + len, ":scheme", "http");
    len += literal(block + len, ":path", "/c/wait");
    len += literal(block + len, ":authority", "a");
    len += literal(block + len, "content-type", "application/grpc");
    for (uint32_t id = 1; id < 100000 && ct__h2_server_counts(front.server).faulted == 0; id += 2) {
        uint8_t bytes[512] = {0, 0, (uint8_t)len, 1, 4};
        ct__be32_put(bytes + 5, id);
        memcpy(bytes + 9, block, len);
        const uint8_t reset[] = {0, 0, 4, 3, 0};
        memcpy(bytes + 9 + len, reset, 5);
        ct__be32_put(bytes + 14 + len, id);
        memcpy(bytes + 18 + len, code, 4);
        if (send(fd, bytes, 22 + len, MSG_NOSIGNAL) < 0)
            CHECK(errno == EAGAIN || errno == EPIPE);
        turn_for(0);
        char drop[4096];
        (void)!read(fd, drop, sizeof drop);
    }
    CHECK_INT(ct__h2_server_counts(front.server).faulted, 1);
    CHECK_INT(ct__h2_server_counts(front.server).streams, 0);
    (void)close(fd);
    close_rig();
}

static void a_message_must_arrive_in_time(void) {
    open_rig(&(ct__h2_limits){.body_ns = 50000000}, &PLAIN);
    const int fd = raw_connection();
    say(fd, MAGIC, sizeof MAGIC - 1);
    frame(fd, 4, 0, 0, NULL, 0);
    uint8_t block[256];
    size_t len = 0;
    len += literal(block + len, ":method", "POST");
    len += literal(block + len, ":scheme", "http");
    len += literal(block + len, ":path", "/c/echo");
    len += literal(block + len, ":authority", "a");
    len += literal(block + len, "content-type", "application/grpc");
    frame(fd, 1, 4, 1, block, len);
    frame(fd, 0, 0, 1, "\0\0\0\0\5he", 7);
    for (int i = 0; i < 100 && ct__h2_server_counts(front.server).streams == 0; i++)
        turn_for(10);
    CHECK_INT(ct__h2_server_counts(front.server).streams, 1);
    while (ct__h2_server_counts(front.server).streams > 0)
        turn_for(1000);
    CHECK_INT(front.requests, 0);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    CHECK_INT(ct__h2_server_counts(front.server).connections, 1);
    (void)close(fd);
    close_rig();
}

static void a_silent_peer_is_noticed_while_calls_are_in_hand(void) {
    open_rig(&PLAIN, &PLAIN);
    char mute_path[64];
    const int mute_door = listen_at(mute_path, "mute");
    ct__h2_client *near = ct__h2_client_new_unix(r, mute_path, &(ct__h2_limits){.ping_after_ns = 50000000, .ping_ns = 50000000});
    caller c;
    CHECK_INT(begin(near, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    const int fd = accept4(mute_door, NULL, NULL, SOCK_NONBLOCK);
    frame(fd, 4, 0, 0, NULL, 0); /* its settings, and nothing more */
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK(c.reply.may_have_begun);
    ct__h2_client_free(near);
    (void)close(fd);
    (void)close(mute_door);
    (void)unlink(mute_path);
    close_rig();
}

int main(void) {
    static const ct_case cases[] = {CASE(what_is_malformed_closes_its_own_connection),
                                    CASE(who_speaks_no_grpc_is_told_so),
                                    CASE(odd_answers_have_a_meaning),
                                    CASE(resets_without_end_close_the_connection),
                                    CASE(a_message_must_arrive_in_time),
                                    CASE(a_silent_peer_is_noticed_while_calls_are_in_hand)};
    return RUN("h2_peers", cases);
}
