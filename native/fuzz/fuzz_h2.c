/* Any bytes from a client: the server answers, refuses or closes, and nothing is left behind. The first byte chooses what the owner does and how the
 * input is cut; the rest is what the client sends, behind a correct preface unless the first byte says otherwise; or what a
 * server sends to our client, or from behind our server. */
#define _GNU_SOURCE
#include "h2/client.h"
#include "h2/server.h"
#include "h2/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { TURNS = 6, RAW = 0x80, WHOLE = 0x40, CLIENT = 0x20, BEHIND = 0x10 };

typedef struct owner {
    ct__h2_server *server;
    ct__h2_stream waiting;
    uint8_t mood;
} owner;

static void must(int holds) {
    if (!holds)
        abort();
}

static bool wanted(void *ctx, const ct__h2_head *head) {
    const owner *o = ctx;
    must(head->path.data != NULL || head->path.len == 0);
    return (o->mood & 1) == 0;
}

static void request(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    owner *o = ctx;
    const ct__h2_span pieces[] = {{message, len}, head->path, head->authorization, head->identity};
    switch (o->mood >> 1 & 3) {
    case 0:
        must(ct__h2_answer(o->server, stream, pieces, 4) != -ESTALE);
        break;
    case 1:
        must(ct__h2_refuse(o->server, stream, 8, pieces[0], pieces[1]) != -ESTALE);
        break;
    case 2:
        must(ct__h2_forward(o->server, stream) == 0);
        break;
    default:
        must(ct__h2_own(o->server, stream, o) == 0);
        o->waiting = stream;
        return;
    }
    must(ct__h2_answer(o->server, stream, pieces, 1) == -ESTALE);
}

static void cancelled(void *ctx, ct__h2_stream stream, void *which) {
    owner *o = ctx;
    must(which == o);
    must(ct__h2_answer(o->server, stream, NULL, 0) == -ESTALE);
}

static const ct__h2_server_calls CALLS = {.wanted = wanted, .request = request, .cancelled = cancelled};

static void done(ct__h2_call *call, const ct__h2_reply *reply) {
    must(call->exchange == NULL && (reply->status != 0 || reply->is_answered));
}

static void texts(const uint8_t *data, size_t size) {
    if (size > 512)
        return;
    uint8_t out[2048];
    const ct__h2_span text = {data, size};
    uint64_t ns;
    (void)ct__h2_timeout_get(text, &ns);
    (void)ct__h2_status_get(text);
    (void)ct__h2_message_len(data, size);
    must(ct__h2_percent_get(out, text) <= size);
    must(ct__h2_base64_get(out, text) <= size || ct__h2_base64_get(out, text) == SIZE_MAX);
    const size_t coded = ct__h2_percent_put(out, text);
    uint8_t back[512];
    must(ct__h2_percent_get(back, (ct__h2_span){out, coded}) == size && (size == 0 || memcmp(back, data, size) == 0));
}

static int door = -1;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

static void open_door(void) {
    char dir[] = "/tmp/ct-fuzz-XXXXXX";
    must(mkdtemp(dir) != NULL);
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/s", dir);
    door = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    must(bind(door, (const struct sockaddr *)&address, sizeof address) == 0 && listen(door, 8) == 0);
}

static void close_door(void) __attribute__((destructor));
static void close_door(void) {
    if (door < 0)
        return;
    (void)close(door);
    (void)unlink(address.sun_path);
    *strrchr(address.sun_path, '/') = 0;
    (void)rmdir(address.sun_path);
}

/* Ours may have hung up already: a machine that stands still for long enough lets its deadlines pass. */
static void say(int fd, const uint8_t *data, size_t size) {
    const ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    must(sent == (ssize_t)size || (sent < 0 && errno == EPIPE));
}

/* The other end's bytes, at our client. */
static void answer_client(ct_reactor *reactor, const uint8_t *data, size_t size) {
    if (door < 0)
        open_door();
    ct__h2_client *client = ct__h2_client_new_unix(reactor, address.sun_path, &(ct__h2_limits){0});
    ct__h2_call call = {.done = done};
    const ct__h2_span body = {(const uint8_t *)"x", 1};
    must(ct__h2_begin(client, &call, &(ct__h2_request){.path = body, .pieces = &body, .piece_count = 1, .deadline_ns = UINT64_MAX}) == 0);
    const int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK);
    must(fd >= 0);
    say(fd, data, size);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    (void)close(fd);
    (void)ct_reactor_drain(reactor);
    ct__h2_client_free(client);
    must(call.exchange == NULL);
}

static const uint8_t PREFACE[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";

static size_t literal(uint8_t *out, const char *name, const char *value) {
    const size_t name_len = strlen(name), value_len = strlen(value);
    out[0] = 0;
    out[1] = (uint8_t)name_len;
    memcpy(out + 2, name, name_len);
    out[2 + name_len] = (uint8_t)value_len;
    memcpy(out + 3 + name_len, value, value_len);
    return 3 + name_len + value_len;
}

/* The bytes of a server behind ours, while a good client waits. */
static void answer_server(ct_reactor *reactor, const uint8_t *data, size_t size) {
    if (door < 0)
        open_door();
    ct__h2_server *server = ct__h2_server_new(reactor, -1, address.sun_path, &(ct__h2_limits){0}, NULL, NULL);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    must(ct__h2_server_adopt(server, pair[0]) == 0);
    uint8_t head[256] = {0, 0, 0, 1, 5, 0, 0, 0, 1};
    size_t len = 9;
    len += literal(head + len, ":method", "POST");
    len += literal(head + len, ":scheme", "http");
    len += literal(head + len, ":path", "/a/b");
    len += literal(head + len, ":authority", "a");
    len += literal(head + len, "content-type", "application/grpc");
    head[2] = (uint8_t)(len - 9);
    must(write(pair[1], PREFACE, sizeof PREFACE) == sizeof PREFACE && write(pair[1], head, len) == (ssize_t)len);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    const int fd = accept4(door, NULL, NULL, SOCK_NONBLOCK);
    must(fd >= 0);
    say(fd, data, size);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    (void)close(fd);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    must(ct__h2_server_counts(server).streams == 0); /* whatever was said, it has ended */
    (void)close(pair[1]);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    const ct_h2_counts counts = ct__h2_server_counts(server);
    must(counts.connections == 0 && counts.upstreams == 0 && counts.held_bytes == 0);
    ct__h2_server_free(server);
}

static void ask_server(ct_reactor *reactor, uint8_t mood, const uint8_t *data, size_t size) {
    owner o = {.mood = mood};
    o.server = ct__h2_server_new(reactor, -1, "/nowhere", &(ct__h2_limits){.held_bytes = 4096, .message_bytes = 512}, &CALLS, &o);
    int pair[2];
    must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0);
    must(ct__h2_server_adopt(o.server, pair[0]) == 0);
    if ((mood & RAW) == 0)
        must(write(pair[1], PREFACE, sizeof PREFACE) == sizeof PREFACE);
    const size_t step = (mood & WHOLE) != 0 || size < 4 ? size : size / 4;
    for (size_t at = 0; at < size; at += step) {
        const size_t len = size - at < step ? size - at : step;
        if (send(pair[1], data + at, len, MSG_NOSIGNAL) < 0)
            break;
        (void)ct_reactor_drain(reactor);
        (void)ct_reactor_drain(reactor);
    }
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    if (o.waiting != 0)
        (void)ct__h2_answer(o.server, o.waiting, NULL, 0);
    (void)close(pair[1]);
    for (int i = 0; i < TURNS; i++)
        (void)ct_reactor_drain(reactor);
    const ct_h2_counts counts = ct__h2_server_counts(o.server);
    must(counts.connections == 0 && counts.streams == 0 && counts.held_bytes == 0);
    ct__h2_server_free(o.server);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    texts(data + 1, size - 1);
    ct_reactor *reactor = ct_reactor_new();
    must(reactor != NULL);
    if ((data[0] & CLIENT) != 0 && (data[0] & BEHIND) != 0)
        answer_server(reactor, data + 1, size - 1);
    else if ((data[0] & CLIENT) != 0)
        answer_client(reactor, data + 1, size - 1);
    else
        ask_server(reactor, data[0], data + 1, size - 1);
    ct_reactor_free(reactor);
    return 0;
}
