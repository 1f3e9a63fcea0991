/* A client, a server, and another one behind it, in one reactor. */
#ifndef CT_H2_RIG_H
#define CT_H2_RIG_H

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

static inline ct__h2_span span(const char *text) {
    return (ct__h2_span){(const uint8_t *)text, strlen(text)};
}

static inline void turn_for(int ms) {
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

static inline bool wanted(void *ctx, const ct__h2_head *head) {
    const owner *o = ctx;
    return o->wants_all || (head->path.len >= 3 && memcmp(head->path.data, "/c/", 3) == 0);
}

static inline void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
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

static inline void cancelled(void *ctx, ct__h2_stream stream, void *which) {
    owner *o = ctx;
    o->cancels++;
    CHECK(*(ct__h2_stream *)which == stream);
    CHECK_INT(ct__h2_answer(o->server, stream, NULL, 0), -ESTALE);
}

static inline void stopped(void *ctx) {
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

static inline void keep(char *out, ct__h2_span text) {
    const size_t len = text.len < 63 ? text.len : 63;
    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = 0;
}

static inline void done(ct__h2_call *call, const ct__h2_reply *reply) {
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

static inline int begin(ct__h2_client *client, caller *c, const char *to, const void *body, size_t len, uint64_t within_ns) {
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

static inline void finish(const caller *c) {
    for (int i = 0; i < 20000 && c->done == 0; i++)
        turn_for(1000);
    CHECK_INT(c->done, 1);
}

/* ---- the rig ---- */

static inline int listen_at(char *where, const char *name) {
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

static inline void open_rig(const ct__h2_limits *limits, const ct__h2_limits *client_limits) {
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

static inline void close_rig(void) {
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

#endif
