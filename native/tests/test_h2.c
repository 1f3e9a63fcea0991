/* Both ends against each other, and the server as a relay in front of another one. */
#define _GNU_SOURCE
#include "base/cursor.h"
#include "h2/client.h"
#include "h2/server.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STREAMS_MAX = 4096, SECOND = 1000000000 };

static ct_reactor *r;
static char dir[32], path[64], back_path[64];
static int door = -1, back_door = -1;

static ct__h2_span span(const char *text) {
    return (ct__h2_span){(const uint8_t *)text, strlen(text)};
}

static void turn_for(int ms) {
    struct pollfd wait = {.fd = ct_reactor_fd(r), .events = POLLIN};
    if (poll(&wait, 1, ms) == 1)
        CHECK(ct_reactor_drain(r) >= 0);
}

/* ---- the owner of a server: echoes, refuses, waits, forwards, by path ---- */

typedef struct owner {
    ct__h2_server *server;
    ct__h2_stream waiting[STREAMS_MAX];
    int waits, requests, cancels, stops;
    bool wants_all;
} owner;

static bool wanted(void *ctx, const ct__h2_head *head) {
    const owner *o = ctx;
    return o->wants_all || (head->path.len >= 3 && memcmp(head->path.data, "/c/", 3) == 0);
}

static void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    owner *o = ctx;
    o->requests++;
    if (ct__h2_is(head->path, "/c/echo", 7) || ct__h2_is(head->path, "/b/echo", 7)) {
        const ct__h2_span pieces[] = {{message, len / 2}, {NULL, 0}, {message + len / 2, len - len / 2}};
        CHECK_INT(ct__h2_answer(o->server, stream, pieces, 3), 0);
        CHECK_INT(ct__h2_answer(o->server, stream, pieces, 3), -ESTALE);
        CHECK_INT(ct__h2_own(o->server, stream, o), -ESTALE);
    } else if (ct__h2_is(head->path, "/c/refuse", 9)) {
        CHECK_INT(ct__h2_refuse(o->server, stream, 8, span("too m\xC3\xA4ny"), span("{\"code\":\"x\"}")), 0);
        CHECK_INT(ct__h2_forward(o->server, stream), -ESTALE);
    } else if (ct__h2_is(head->path, "/c/head", 7)) {
        CHECK(!head->is_odd && head->has_timeout && head->deadline_ns > ct__reactor_now_ns(r));
        const ct__h2_span pieces[] = {head->authorization, head->identity, head->request_id};
        CHECK_INT(ct__h2_answer(o->server, stream, pieces, 3), 0);
    } else if (!o->wants_all && ct__h2_is(head->path, "/c/forward", 10)) {
        CHECK_INT(ct__h2_forward(o->server, stream), 0);
    } else {
        CHECK_INT(ct__h2_own(o->server, stream, &o->waiting[o->waits]), 0);
        o->waiting[o->waits++] = stream;
    }
}

static void cancelled(void *ctx, ct__h2_stream stream, void *which) {
    owner *o = ctx;
    o->cancels++;
    CHECK(*(ct__h2_stream *)which == stream);
    CHECK_INT(ct__h2_answer(o->server, stream, NULL, 0), -ESTALE);
}

static void stopped(void *ctx) {
    ((owner *)ctx)->stops++;
}

static const ct__h2_server_calls CALLS = {
    .wanted = wanted, .request = request, .cancelled = cancelled, .stopped = stopped};

/* ---- a caller ---- */

typedef struct caller {
    ct__h2_call call;
    ct__h2_reply reply;
    char body[64], message[64], problem[64];
    size_t body_len;
    uint64_t sum;
    int done;
} caller;

static void keep(char *out, ct__h2_span text) {
    const size_t len = text.len < 63 ? text.len : 63;
    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = 0;
}

static void done(ct__h2_call *call, const ct__h2_reply *reply) {
    caller *c = (caller *)call;
    CHECK(call->exchange == NULL);
    c->done++;
    c->reply = *reply;
    c->body_len = reply->body.len;
    for (size_t i = 0; i < reply->body.len; i++)
        c->sum = c->sum * 31 + reply->body.data[i];
    keep(c->body, reply->body);
    keep(c->message, reply->message);
    keep(c->problem, reply->problem);
}

static int begin(ct__h2_client *client, caller *c, const char *to, const void *body, size_t len, uint64_t within_ns) {
    *c = (caller){.call = {.done = done}};
    const ct__h2_pair pairs[] = {{span("authorization"), span("Bearer token"), true},
                                 {span("nova-identity"), span("who"), true},
                                 {span("x-request-id"), span("42"), false}};
    const ct__h2_span pieces[] = {{body, len / 3}, {(const uint8_t *)body + len / 3, len - len / 3}};
    return ct__h2_begin(client, &c->call,
                        &(ct__h2_request){.path = span(to),
                                          .pairs = pairs,
                                          .pair_count = 3,
                                          .pieces = pieces,
                                          .piece_count = 2,
                                          .deadline_ns = ct__reactor_now_ns(r) + within_ns});
}

static void finish(const caller *c) {
    for (int i = 0; i < 20000 && c->done == 0; i++)
        turn_for(1000);
    CHECK_INT(c->done, 1);
}

/* ---- the rig ---- */

static int listen_at(char *where, const char *name) {
    (void)snprintf(where, 64, "%s/%s", dir, name);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s", where);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(fd, 64), 0);
    return fd;
}

static owner front, back;
static ct__h2_client *client;

static void open_rig(const ct__h2_limits *limits, const ct__h2_limits *client_limits) {
    (void)snprintf(dir, sizeof dir, "/tmp/ct-h2-XXXXXX");
    CHECK(mkdtemp(dir) != NULL);
    r = ct_reactor_new();
    door = listen_at(path, "front");
    back_door = listen_at(back_path, "back");
    front = back = (owner){0};
    back.wants_all = true;
    front.server = ct__h2_server_new(r, door, back_path, limits, &CALLS, &front);
    back.server = ct__h2_server_new(r, back_door, "/nowhere", &(ct__h2_limits){0}, &CALLS, &back);
    client = ct__h2_client_new_unix(r, path, client_limits);
    CHECK(front.server != NULL && back.server != NULL && client != NULL);
}

static void close_rig(void) {
    ct__h2_client_free(client);
    ct__h2_server_free(front.server);
    ct__h2_server_free(back.server);
    ct_reactor_free(r);
    (void)close(door);
    (void)close(back_door);
    (void)unlink(path);
    (void)unlink(back_path);
    CHECK_INT(rmdir(dir), 0);
}

static const ct__h2_limits PLAIN = {0};

/* ---- cases ---- */

static void a_call_is_answered(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/echo", "hello", 5, 5LL * SECOND), 0);
    CHECK_INT(c.done, 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK(c.reply.is_answered);
    CHECK_TEXT(c.body, "hello");
    CHECK_INT(begin(client, &c, "/c/echo", "", 0, 5LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(c.body_len, 0);
    CHECK_INT(begin(client, &c, "/c/head", "", 0, 5LL * SECOND), 0);
    finish(&c);
    CHECK_TEXT(c.body, "Bearer tokenwho42");
    CHECK_INT(ct__h2_client_calls(client), 0);
    close_rig();
}

static void a_refusal_carries_its_problem(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/refuse", "x", 1, 5LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 8);
    CHECK(c.reply.is_answered && c.reply.may_have_begun);
    CHECK_TEXT(c.message, "too m\xC3\xA4ny");
    CHECK_TEXT(c.problem, "{\"code\":\"x\"}");
    close_rig();
}

static void many_calls_share_a_connection(void) {
    open_rig(&PLAIN, &PLAIN);
    static caller many[1000];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++) {
            char text[16];
            const int len = snprintf(text, sizeof text, "call %d", i);
            CHECK_INT(begin(client, &many[i], i % 2 ? "/c/echo" : "/c/wait", text, (size_t)len, 60LL * SECOND), 0);
        }
        for (int i = 0; i < 1000; i++)
            if (i % 2)
                finish(&many[i]);
        while (front.waits < 500)
            turn_for(1000);
        for (int i = 0; i < 500; i++)
            CHECK_INT(ct__h2_answer(front.server, front.waiting[i], &(ct__h2_span){(const uint8_t *)"later", 5}, 1), 0);
        front.waits = 0;
        for (int i = 0; i < 1000; i++) {
            finish(&many[i]);
            char text[16];
            (void)snprintf(text, sizeof text, i % 2 ? "call %d" : "later", i);
            CHECK_TEXT(many[i].body, text);
        }
    }
    CHECK_INT(ct__h2_server_counts(front.server).connections, 1);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    close_rig();
}

static void large_messages_pass_both_ways(void) {
    open_rig(&PLAIN, &PLAIN);
    const size_t len = 6 << 20;
    uint8_t *big = malloc(len);
    uint64_t sum = 0;
    for (size_t i = 0; i < len; i++) {
        big[i] = (uint8_t)(i * 2654435761U >> 13);
        sum = sum * 31 + big[i];
    }
    static const char *const paths[] = {"/c/echo", "/b/echo", "/c/forward"};
    for (size_t i = 0; i < 3; i++) {
        caller c;
        CHECK_INT(begin(client, &c, paths[i], big, len, 60LL * SECOND), 0);
        if (i == 2)
            while (back.waits == 0)
                turn_for(1000);
        if (i == 2)
            CHECK_INT(ct__h2_answer(back.server, back.waiting[0], &(ct__h2_span){big, len}, 1), 0);
        finish(&c);
        CHECK_INT(c.reply.status, 0);
        CHECK_INT(c.body_len, len);
        CHECK(c.sum == sum);
    }
    CHECK_INT(ct__h2_begin(client, &(ct__h2_call){0}, &(ct__h2_request){.pieces = (ct__h2_span[]){{big, 7 << 20}}, .piece_count = 1}),
              CT_E_TOOBIG);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    free(big);
    close_rig();
}

static void other_streams_pass_through(void) {
    open_rig(&PLAIN, &PLAIN);
    static caller many[300];
    for (int i = 0; i < 300; i++)
        CHECK_INT(begin(client, &many[i], "/b/echo", "through", 7, 60LL * SECOND), 0);
    for (int i = 0; i < 300; i++) {
        finish(&many[i]);
        CHECK_INT(many[i].reply.status, 0);
        CHECK_TEXT(many[i].body, "through");
    }
    CHECK_INT(front.requests, 0);
    CHECK_INT(back.requests, 300);
    CHECK_INT(ct__h2_server_counts(front.server).forwarded, 300);
    caller c;
    CHECK_INT(begin(client, &c, "/b/refuse", "", 0, 60LL * SECOND), 0); /* waits there, then is refused */
    while (back.waits == 0)
        turn_for(1000);
    CHECK_INT(ct__h2_refuse(back.server, back.waiting[0], 5, span("no"), span("{}")), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 5);
    CHECK_TEXT(c.problem, "{}");
    close_rig();
}

static void a_cancelled_call_ends_on_every_hop(void) {
    open_rig(&PLAIN, &PLAIN);
    static const char *const paths[] = {"/c/wait", "/b/wait", "/c/forward"};
    owner *const owners[] = {&front, &back, &back};
    for (size_t i = 0; i < 3; i++) {
        owners[i]->waits = owners[i]->cancels = 0;
        caller c;
        CHECK_INT(begin(client, &c, paths[i], "x", 1, 60LL * SECOND), 0);
        while (owners[i]->waits == 0)
            turn_for(1000);
        ct__h2_cancel(&c.call);
        ct__h2_cancel(&c.call);
        while (owners[i]->cancels == 0)
            turn_for(1000);
        CHECK_INT(c.done, 0);
        owners[i]->waits = owners[i]->cancels = 0;
        CHECK_INT(begin(client, &c, paths[i], "x", 1, 30000000), 0); /* the deadline does the same */
        finish(&c);
        CHECK_INT(c.reply.status, 4);
        CHECK(c.reply.may_have_begun && !c.reply.is_answered);
        while (owners[i]->cancels == 0)
            turn_for(1000);
    }
    caller c;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    ct__h2_cancel(&c.call); /* before a byte was sent */
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(ct__h2_server_counts(front.server).streams, 0);
    close_rig();
}

static void nothing_has_begun_where_nobody_listens(void) {
    open_rig(&PLAIN, &PLAIN);
    ct__h2_client *lost = ct__h2_client_new_unix(r, "/nowhere/at/all", &PLAIN);
    caller c;
    CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ENOENT);
    CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ENOENT);
    ct__h2_client_free(lost);
    const int probe = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    CHECK_INT(bind(probe, (const struct sockaddr *)&address, sizeof address), 0); /* taken, and nobody listens */
    CHECK_INT(getsockname(probe, (struct sockaddr *)&address, &len), 0);
    lost = ct__h2_client_new(r, "127.0.0.1", ntohs(address.sin_port), &PLAIN);
    const int result = begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND);
    if (result == 0) {
        finish(&c);
        CHECK_INT(c.reply.status, 14);
        CHECK(!c.reply.may_have_begun && !c.reply.is_answered);
        CHECK_INT(begin(lost, &c, "/c/echo", "x", 1, 60LL * SECOND), -ECONNREFUSED);
    }
    ct__h2_client_free(lost);
    (void)close(probe);
    close_rig();
}

static void a_lost_upstream_is_said(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/b/wait", "x", 1, 60LL * SECOND), 0);
    while (back.waits == 0)
        turn_for(1000);
    ct__h2_server_free(back.server);
    back.server = NULL;
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK(c.reply.is_answered);
    (void)unlink(back_path);
    CHECK_INT(begin(client, &c, "/b/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK_TEXT(c.message, "the server behind this port can not be reached");
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    close_rig();
}

static void a_lost_connection_ends_its_calls(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    while (front.waits == 0)
        turn_for(1000);
    ct__h2_server_free(front.server);
    front.server = NULL;
    finish(&c);
    CHECK_INT(c.reply.status, 14);
    CHECK(c.reply.may_have_begun && !c.reply.is_answered);
    front = (owner){0};
    front.server = ct__h2_server_new(r, door, back_path, &PLAIN, &CALLS, &front);
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0); /* a new connection, at once */
    finish(&c);
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    while (front.waits == 0)
        turn_for(1000);
    ct__h2_client_free(client); /* ends what is in hand */
    client = NULL;
    CHECK_INT(c.done, 1);
    while (front.cancels == 0)
        turn_for(1000);
    close_rig();
}

static void stopping_finishes_what_is_in_hand(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c, late;
    CHECK_INT(begin(client, &c, "/c/wait", "x", 1, 60LL * SECOND), 0);
    CHECK_INT(begin(client, &late, "/c/wait", "y", 1, 60LL * SECOND), 0);
    while (front.waits < 2)
        turn_for(1000);
    ct__h2_server_stop(front.server, ct__reactor_now_ns(r) + SECOND / 10);
    CHECK_INT(ct__h2_answer(front.server, front.waiting[0], &(ct__h2_span){(const uint8_t *)"yes", 3}, 1), 0);
    finish(&c);
    CHECK_TEXT(c.body, "yes");
    CHECK_INT(late.done, 0);
    while (front.stops == 0)
        turn_for(1000);
    CHECK_INT(front.cancels, 1);
    finish(&late);
    CHECK_INT(late.reply.status, 14);
    close_rig();
}

static void bounds_are_kept(void) {
    const ct__h2_limits tight = {.streams = 4, .connections = 1, .held_bytes = 1000, .message_bytes = 600};
    open_rig(&tight, &(ct__h2_limits){.connections = 1});
    static caller many[4];
    caller c;
    CHECK_INT(begin(client, &many[0], "/c/echo", "", 0, 60LL * SECOND), 0); /* until the bound is told, nobody keeps it */
    finish(&many[0]);
    for (int i = 0; i < 4; i++)
        CHECK_INT(begin(client, &many[i], "/c/wait", "0123456789", 10, 60LL * SECOND), 0);
    while (front.waits < 4)
        turn_for(1000);
    CHECK_INT(begin(client, &c, "/c/wait", "", 0, 60LL * SECOND), CT_E_FULL);
    ct__h2_client *second = ct__h2_client_new_unix(r, path, &PLAIN);
    CHECK_INT(begin(second, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c); /* one connection too many */
    CHECK_INT(c.reply.status, 14);
    CHECK_INT(ct__h2_server_counts(front.server).turned_away, 1);
    ct__h2_client_free(second);
    for (int i = 0; i < 4; i++)
        CHECK_INT(ct__h2_answer(front.server, front.waiting[i], NULL, 0), 0);
    for (int i = 0; i < 4; i++)
        finish(&many[i]);
    front.waits = 0;
    char body[900] = {0};
    CHECK_INT(begin(client, &many[0], "/c/wait", body, 500, 60LL * SECOND), 0);
    while (front.waits < 1)
        turn_for(1000);
    CHECK_INT(begin(client, &c, "/c/wait", body, 500, 60LL * SECOND), 0); /* together above held_bytes */
    finish(&c);
    CHECK_INT(c.reply.status, 8);
    CHECK_INT(ct__h2_answer(front.server, front.waiting[0], &(ct__h2_span){(const uint8_t *)body, 900}, 1), 0);
    finish(&many[0]);
    CHECK_INT(many[0].body_len, 900);
    CHECK_INT(begin(client, &c, "/c/forward", body, 700, 60LL * SECOND), 0); /* above message_bytes: for the one behind */
    while (back.waits < 1)
        turn_for(1000);
    CHECK_INT(front.requests, 6);
    CHECK_INT(ct__h2_answer(back.server, back.waiting[0], NULL, 0), 0);
    finish(&c);
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    close_rig();
}

/* Passes bytes between a client's connection and an adopted one, `step` at a time; both ends see every cut. */
static void relay(size_t step, const char *to, size_t len) {
    open_rig(&PLAIN, &PLAIN);
    char relay_path[64];
    const int relay_door = listen_at(relay_path, "relay");
    ct__h2_client *near = ct__h2_client_new_unix(r, relay_path, &PLAIN);
    char *body = malloc(len + 1);
    memset(body, 'b', len);
    caller c;
    CHECK_INT(begin(near, &c, to, body, len, 600LL * SECOND), 0);
    const int left = accept4(relay_door, NULL, NULL, SOCK_NONBLOCK);
    int pair[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_INT(ct__h2_server_adopt(front.server, pair[0]), 0);
    while (c.done == 0) {
        char bytes[64];
        CHECK(step <= sizeof bytes);
        ssize_t n = read(left, bytes, step);
        if (n > 0)
            CHECK_INT(write(pair[1], bytes, (size_t)n), n);
        const ssize_t m = read(pair[1], bytes, step);
        if (m > 0)
            CHECK_INT(write(left, bytes, (size_t)m), m);
        CHECK(n != 0 && m != 0);
        turn_for(n < 0 && m < 0 ? 10 : 0);
    }
    CHECK_INT(c.reply.status, 0);
    CHECK_INT(c.body_len, len);
    ct__h2_client_free(near);
    (void)close(left);
    (void)close(pair[1]);
    (void)close(relay_door);
    (void)unlink(relay_path);
    free(body);
    close_rig();
}

static void every_cut_of_the_bytes_is_the_same_call(void) {
    for (size_t step = 1; step < 16; step += 2)
        relay(step, step % 4 == 1 ? "/c/echo" : "/b/echo", 300);
}

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

static void bodies_pass_where_nothing_more_may_wait(void) {
    open_rig(&(ct__h2_limits){.held_bytes = 1000}, &PLAIN);
    const size_t len = 5 << 20;
    char *big = malloc(len);
    memset(big, 'b', len);
    static caller many[8];
    for (int i = 0; i < 8; i++)
        CHECK_INT(begin(client, &many[i], "/b/echo", big, len, 60LL * SECOND), 0);
    for (int i = 0; i < 8; i++) {
        finish(&many[i]);
        CHECK_INT(many[i].reply.status, 0);
        CHECK_INT(many[i].body_len, len);
    }
    CHECK_INT(ct__h2_server_counts(front.server).held_bytes, 0);
    caller c; /* the windows are whole again */
    CHECK_INT(begin(client, &c, "/b/echo", big, len, 60LL * SECOND), 0);
    finish(&c);
    CHECK_INT(c.body_len, len);
    free(big);
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

static void the_next_connection_follows_a_goaway(void) {
    open_rig(&PLAIN, &PLAIN);
    caller c, d;
    CHECK_INT(begin(client, &c, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&c);
    ct__h2_server_stop(front.server, ct__reactor_now_ns(r) + SECOND);
    owner next = {0};
    next.server = ct__h2_server_new(r, door, back_path, &PLAIN, &CALLS, &next);
    while (front.stops == 0)
        turn_for(1000);
    CHECK_INT(begin(client, &d, "/c/echo", "x", 1, 60LL * SECOND), 0);
    finish(&d);
    CHECK_INT(d.reply.status, 0);
    CHECK_INT(next.requests, 1);
    ct__h2_server_free(next.server);
    close_rig();
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_is_answered),
                                    CASE(a_refusal_carries_its_problem),
                                    CASE(many_calls_share_a_connection),
                                    CASE(large_messages_pass_both_ways),
                                    CASE(other_streams_pass_through),
                                    CASE(a_cancelled_call_ends_on_every_hop),
                                    CASE(nothing_has_begun_where_nobody_listens),
                                    CASE(a_lost_upstream_is_said),
                                    CASE(a_lost_connection_ends_its_calls),
                                    CASE(stopping_finishes_what_is_in_hand),
                                    CASE(bounds_are_kept),
                                    CASE(every_cut_of_the_bytes_is_the_same_call),
                                    CASE(what_is_malformed_closes_its_own_connection),
                                    CASE(who_speaks_no_grpc_is_told_so),
                                    CASE(odd_answers_have_a_meaning),
                                    CASE(bodies_pass_where_nothing_more_may_wait),
                                    CASE(resets_without_end_close_the_connection),
                                    CASE(a_message_must_arrive_in_time),
                                    CASE(a_silent_peer_is_noticed_while_calls_are_in_hand),
                                    CASE(the_next_connection_follows_a_goaway)};
    return RUN("h2", cases);
}
