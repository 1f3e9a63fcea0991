/* ct-bare PORT FD: the least that can stand between a client and a worker, to measure by how much the platform is more.
 * One process, one epoll set, HTTP/1.1 on loopback, one worker (already initialised) behind the socket FD, one call
 * at a time, first come first served. No authentication, limits, records or second worker. PORT 0: any; the port is
 * printed. Ends when the worker does. */

#define _GNU_SOURCE
#include "base/abi.h"
#include "base/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { USAGE = 64, FAILED = 70, CONNS = 256, BATCH = 64, REQUEST_BYTES = 64 << 10, WORKER_BYTES = 1 << 20 };
enum { LISTENER = CONNS, WORKER = CONNS + 1 }; /* in epoll's data, beside the numbers of connections */
enum { DEADLINE_MS = 30000 };

typedef struct conn {
    int fd;          /* -1: free */
    bool is_waiting; /* in line, or with the worker: the slot stays taken */
    bool is_gone;    /* hung up meanwhile */
    uint8_t *body;
    size_t body_len, len;
    uint8_t buf[REQUEST_BYTES];
} conn;

typedef struct server {
    conn conns[CONNS];
    uint32_t line[CONNS]; /* a ring; the first has the worker */
    uint32_t line_at, line_len;
    int epoll_fd, listen_fd, worker_fd;
    uint8_t got[WORKER_BYTES];
    size_t got_len;
    uint8_t out[WORKER_BYTES];
} server;

static int add(const server *s, int fd, uint32_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u32 = number};
    return epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void hang_up(conn *c) {
    if (c->fd >= 0)
        (void)close(c->fd);
    c->fd = -1;
    c->is_gone = c->is_waiting;
    c->len = 0;
}

/* Frames are small beside a socket's buffer: one that does not fit at once means a worker that does not read. */
static int ask_worker(server *s, const conn *c) {
    const size_t body_len = CT_EXEC_HEAD_BYTES + c->body_len;
    const ct_exec_head head = {.remaining_ms = DEADLINE_MS};
    (void)ct_frame_put(s->out, CT_FRAME_EXEC, 0, 1, body_len);
    ct_exec_head_put(s->out + CT_FRAME_HEADER_BYTES, &head);
    memcpy(s->out + CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES, c->body, c->body_len);
    const size_t whole = CT_FRAME_HEADER_BYTES + body_len;
    return send(s->worker_fd, s->out, whole, MSG_NOSIGNAL) == (ssize_t)whole ? 0 : -EPIPE;
}

/* Where a whole request's body is, or CT_E_MORE, or CT_E_MALFORMED for anything but what the load generator sends. */
static int request_of(conn *c) {
    const uint8_t *end = memmem(c->buf, c->len, "\r\n\r\n", 4);
    if (end == NULL)
        return c->len < sizeof c->buf ? CT_E_MORE : CT_E_MALFORMED;
    size_t length = 0;
    for (const uint8_t *at = c->buf; at < end;) {
        const uint8_t *next = memmem(at, (size_t)(end - at) + 2, "\r\n", 2);
        if (next - at > 15 && strncasecmp((const char *)at, "content-length:", 15) == 0)
            length = strtoul((const char *)at + 15, NULL, 10);
        at = next + 2;
    }
    const size_t head = (size_t)(end - c->buf) + 4;
    if (length > sizeof c->buf - head)
        return CT_E_MALFORMED;
    if (c->len < head + length)
        return CT_E_MORE;
    c->body = c->buf + head;
    c->body_len = length;
    return c->len == head + length ? 0 : CT_E_MALFORMED;
}

static int heard(server *s, conn *c) {
    const ssize_t got = recv(c->fd, c->buf + c->len, sizeof c->buf - c->len, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0 || c->is_waiting) {
        hang_up(c);
        return 0;
    }
    c->len += (size_t)got;
    const int result = request_of(c);
    if (result == CT_E_MORE)
        return 0;
    if (result < 0) {
        hang_up(c);
        return 0;
    }
    c->is_waiting = true;
    s->line[(s->line_at + s->line_len++) % CONNS] = (uint32_t)(c - s->conns);
    return s->line_len == 1 ? ask_worker(s, c) : 0;
}

static void answer(server *s, conn *c, const ct_frame *frame) {
    const bool is_result = frame->kind == CT_FRAME_RESULT;
    const char *before = is_result ? "{\"output\":" : "{\"output\":null,\"error\":";
    const char *after = is_result ? ",\"error\":null}" : "}";
    const size_t length = strlen(before) + frame->len + strlen(after);
    const int head = snprintf((char *)s->out, 256,
                              "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
                              length, before);
    size_t at = (size_t)head;
    if (at + frame->len + strlen(after) > sizeof s->out) {
        hang_up(c);
        return;
    }
    memcpy(s->out + at, frame->body, frame->len);
    at += frame->len;
    memcpy(s->out + at, after, strlen(after));
    at += strlen(after);
    if (send(c->fd, s->out, at, MSG_NOSIGNAL) != (ssize_t)at)
        hang_up(c);
}

/* The call at the head of the line is done: answer it, and let the worker have the next. */
static int served(server *s, const ct_frame *frame) {
    if (s->line_len == 0)
        return CT_E_MALFORMED;
    conn *c = &s->conns[s->line[s->line_at]];
    c->is_waiting = false;
    c->len = 0;
    if (!c->is_gone)
        answer(s, c, frame);
    c->is_gone = false;
    s->line_at = (s->line_at + 1) % CONNS;
    s->line_len--;
    while (s->line_len > 0 && s->conns[s->line[s->line_at]].is_gone) {
        s->conns[s->line[s->line_at]].is_waiting = s->conns[s->line[s->line_at]].is_gone = false;
        s->line_at = (s->line_at + 1) % CONNS;
        s->line_len--;
    }
    return s->line_len > 0 ? ask_worker(s, &s->conns[s->line[s->line_at]]) : 0;
}

static int worker_spoke(server *s) {
    const ssize_t got = recv(s->worker_fd, s->got + s->got_len, sizeof s->got - s->got_len, 0);
    if (got < 0 && errno == EAGAIN)
        return 0;
    if (got <= 0)
        return -EPIPE;
    s->got_len += (size_t)got;
    size_t at = 0;
    ct_frame frame;
    int result = 0;
    while ((result = ct_frame_split(s->got + at, s->got_len - at, WORKER_BYTES / 2, &frame)) == 0) {
        if (frame.kind == CT_FRAME_RESULT || frame.kind == CT_FRAME_ERROR)
            result = served(s, &frame);
        if (result < 0)
            return result;
        at += frame.used;
    }
    memmove(s->got, s->got + at, s->got_len - at);
    s->got_len -= at;
    return result == CT_E_MORE ? 0 : result;
}

static int welcome(server *s) {
    const int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0)
        return errno == EAGAIN ? 0 : -errno;
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    for (uint32_t i = 0; i < CONNS; i++)
        if (s->conns[i].fd < 0 && !s->conns[i].is_waiting) {
            s->conns[i].fd = fd;
            return add(s, fd, i);
        }
    (void)close(fd);
    return 0;
}

static int listen_on(server *s, const char *port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listen_fd < 0 || bind(s->listen_fd, (const struct sockaddr *)&address, size) < 0 ||
        listen(s->listen_fd, CONNS) < 0 || getsockname(s->listen_fd, (struct sockaddr *)&address, &size) < 0)
        return -errno;
    (void)printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return add(s, s->listen_fd, LISTENER);
}

static int serve(server *s) {
    struct epoll_event events[BATCH];
    for (;;) {
        const int count = epoll_wait(s->epoll_fd, events, BATCH, -1);
        if (count < 0 && errno != EINTR)
            return -errno;
        for (int i = 0; i < count; i++) {
            const uint32_t number = events[i].data.u32;
            int result = 0;
            if (number == LISTENER)
                result = welcome(s);
            else if (number == WORKER)
                result = worker_spoke(s);
            else if (s->conns[number].fd >= 0)
                result = heard(s, &s->conns[number]);
            if (result < 0)
                return result;
        }
    }
}

int main(int argc, char **argv) {
    if (argc != 3) {
        (void)fputs("usage: ct-bare PORT FD\n", stderr);
        return USAGE;
    }
    ct_automem server *s = calloc(1, sizeof *s);
    if (s == NULL)
        return FAILED;
    for (int i = 0; i < CONNS; i++)
        s->conns[i].fd = -1;
    s->worker_fd = (int)strtol(argv[2], NULL, 10);
    s->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    int result = s->epoll_fd < 0 || fcntl(s->worker_fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : add(s, s->worker_fd, WORKER);
    if (result == 0)
        result = listen_on(s, argv[1]);
    if (result == 0)
        result = serve(s);
    if (result == -EPIPE)
        return 0; /* the worker ended, and so do we */
    (void)fprintf(stderr, "ct-bare: %s\n", ct_strerror(result));
    return FAILED;
}
