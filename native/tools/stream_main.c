/* What streams are measured with.
 *
 * ct-stream relay PORT PIECE_BYTES: the least that can stand between a client and a worker that makes an answer in pieces, with as many sockets as
 * the platform has: one process that clients reach over TCP, a second one behind it by a unix socket, and behind that a process that writes
 * frames for ever, one a client, in place of a worker. Nothing is read of what passes, no call is known, none is refused. PORT 0: any; it is
 * printed. Ends with its standard input.
 *
 * ct-stream read HOST PORT CONNECTIONS WARM_UP_S SECONDS: sends standard input, a request, on each connection and reads what comes until the time is
 * over; prints the bytes of the time after the warm-up, and that time. With CONNECTIONS below 0 it reads the first byte of each and then nothing. */

#define _GNU_SOURCE
#include "base/abi.h"
#include "base/scope.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { USAGE = 64, FAILED = 70, PASSES = 1024, BATCH = 64, BLOCK_BYTES = 64 << 10, REQUEST_BYTES = 64 << 10 };

static const char HEAD[] = "HTTP/1.1 200 OK\r\n\r\n";

typedef struct pass {
    int from, to;
    size_t at, len; /* of the block: what waits for `to` */
    uint8_t block[BLOCK_BYTES];
} pass;

typedef struct relay {
    int epoll_fd, listen_fd;
    pass *passes[PASSES];
    int (*reach)(const struct relay *relay); /* a descriptor of what is behind */
    bool is_front;
    size_t piece_bytes;
    struct sockaddr_un behind;
} relay;

static int watch(int epoll_fd, int op, int fd, uint32_t events, uint32_t number) {
    struct epoll_event event = {.events = events, .data.u32 = number};
    return epoll_ctl(epoll_fd, op, fd, &event);
}

static void drop(relay *r, uint32_t i) {
    (void)close(r->passes[i]->from);
    (void)close(r->passes[i]->to);
    free(r->passes[i]);
    r->passes[i] = NULL;
}

static void move(relay *r, uint32_t i) {
    pass *p = r->passes[i];
    const bool was_full = p->len > 0;
    if (!was_full) {
        const ssize_t got = recv(p->from, p->block, sizeof p->block, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            drop(r, i);
            return;
        }
        p->at = 0;
        p->len = got > 0 ? (size_t)got : 0;
    }
    const ssize_t sent = p->len > 0 ? send(p->to, p->block + p->at, p->len, MSG_DONTWAIT | MSG_NOSIGNAL) : 0;
    if (sent < 0 && errno != EAGAIN) {
        drop(r, i);
        return;
    }
    p->at += sent > 0 ? (size_t)sent : 0;
    p->len -= sent > 0 ? (size_t)sent : 0;
    if (was_full == (p->len > 0))
        return;
    (void)watch(r->epoll_fd, EPOLL_CTL_MOD, p->from, p->len > 0 ? 0 : EPOLLIN, i);
    (void)watch(r->epoll_fd, EPOLL_CTL_MOD, p->to, p->len > 0 ? EPOLLOUT : 0, i);
}

/* A client, or what serves one, is passed on to. */
static void welcome(relay *r) {
    const int fd = accept4(r->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    uint32_t i = 0;
    while (i < PASSES && r->passes[i] != NULL)
        i++;
    pass *p = fd >= 0 && i < PASSES ? calloc(1, sizeof *p) : NULL;
    const int behind = p != NULL ? r->reach(r) : -1;
    if (behind < 0) {
        free(p);
        (void)close(fd);
        return;
    }
    if (r->is_front) {
        const int on = 1;
        uint8_t request[REQUEST_BYTES];
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        (void)!recv(fd, request, sizeof request, 0);
        (void)!send(fd, HEAD, sizeof HEAD - 1, MSG_NOSIGNAL);
    }
    *p = (pass){.from = behind, .to = fd};
    r->passes[i] = p;
    (void)watch(r->epoll_fd, EPOLL_CTL_ADD, behind, EPOLLIN, i);
    (void)watch(r->epoll_fd, EPOLL_CTL_ADD, fd, 0, i);
}

static int serve(relay *r) {
    struct epoll_event events[BATCH];
    r->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll_fd < 0 || watch(r->epoll_fd, EPOLL_CTL_ADD, r->listen_fd, EPOLLIN, PASSES) < 0 ||
        (r->is_front && watch(r->epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, EPOLLIN, PASSES + 1) < 0))
        return -errno;
    for (;;) {
        const int count = epoll_wait(r->epoll_fd, events, BATCH, -1);
        for (int i = 0; i < count; i++) {
            const uint32_t number = events[i].data.u32;
            if (number == PASSES + 1)
                return 0;
            if (number == PASSES)
                welcome(r);
            else if (r->passes[number] != NULL)
                move(r, number);
        }
    }
}

/* ---- in place of a worker ---- */

static void flood(int fd, size_t piece_bytes) {
    uint8_t head[CT_FRAME_HEADER_BYTES];
    uint8_t *piece = malloc(piece_bytes);
    if (piece == NULL)
        _exit(FAILED);
    memset(piece, 'x', piece_bytes);
    (void)ct_frame_put(head, CT_FRAME_CHUNK, 0, 1, piece_bytes);
    for (;;) {
        struct iovec parts[] = {{head, sizeof head}, {piece, piece_bytes}};
        for (size_t left = sizeof head + piece_bytes; left > 0;) {
            const ssize_t sent = writev(fd, parts, 2);
            if (sent <= 0)
                _exit(0);
            left -= (size_t)sent;
            for (size_t i = 0, gone = (size_t)sent; i < 2 && gone > 0; i++) {
                const size_t part = gone < parts[i].iov_len ? gone : parts[i].iov_len;
                parts[i].iov_base = (uint8_t *)parts[i].iov_base + part;
                parts[i].iov_len -= part;
                gone -= part;
            }
        }
    }
}

static int begin_worker(const relay *r) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    const pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)signal(SIGPIPE, SIG_IGN);
        (void)prctl(PR_SET_NAME, "ct-source");
        for (int fd = 3; fd < PASSES * 2; fd++)
            if (fd != pair[1])
                (void)close(fd);
        flood(pair[1], r->piece_bytes);
    }
    (void)close(pair[1]);
    return pair[0];
}

static int reach_behind(const relay *r) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && connect(fd, (const struct sockaddr *)&r->behind, sizeof r->behind) == 0 ? fd : -1;
}

static int run_relay(uint16_t port, size_t piece_bytes) {
    static relay front, back;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof address;
    front = (relay){.is_front = true, .reach = reach_behind, .behind = {.sun_family = AF_UNIX}};
    back = (relay){.reach = begin_worker, .piece_bytes = piece_bytes};
    (void)snprintf(front.behind.sun_path + 1, sizeof front.behind.sun_path - 1, "ct-stream-%d", (int)getpid()); /* abstract: no file */
    (void)signal(SIGCHLD, SIG_IGN);
    front.listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    back.listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(front.listen_fd, (const struct sockaddr *)&address, size) < 0 || listen(front.listen_fd, PASSES) < 0 ||
        getsockname(front.listen_fd, (struct sockaddr *)&address, &size) < 0 ||
        bind(back.listen_fd, (const struct sockaddr *)&front.behind, sizeof front.behind) < 0 || listen(back.listen_fd, PASSES) < 0)
        return -errno;
    const pid_t child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        _exit(serve(&back) < 0 ? FAILED : 0);
    }
    (void)printf("%d\n", ntohs(address.sin_port));
    (void)fflush(stdout);
    return child < 0 ? -errno : serve(&front);
}

/* ---- the reader ---- */

static double now_s(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static int connect_to(const char *host, const char *port) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(port, NULL, 10))};
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1 || connect(fd, (const struct sockaddr *)&address, sizeof address) < 0)
        return -EHOSTUNREACH;
    return fd;
}

static int run_reader(const char *host, const char *port, int connections, double warm_up_s, double seconds) {
    static uint8_t request[REQUEST_BYTES], block[BLOCK_BYTES];
    const bool is_slow = connections < 0;
    const size_t count = (size_t)abs(connections), request_len = fread(request, 1, sizeof request, stdin);
    struct pollfd fds[PASSES];
    if (count > PASSES)
        return -E2BIG;
    for (size_t i = 0; i < count; i++) {
        fds[i] = (struct pollfd){.fd = connect_to(host, port), .events = POLLIN};
        if (fds[i].fd < 0 || send(fds[i].fd, request, request_len, MSG_NOSIGNAL) != (ssize_t)request_len)
            return -EHOSTUNREACH;
    }
    for (size_t i = 0; i < count; i++) /* every answer has begun */
        if (recv(fds[i].fd, block, is_slow ? 1 : 16, 0) <= 0 || memcmp(block, "H", 1) != 0)
            return -EPROTO;
    const double begin_s = now_s() + warm_up_s;
    uint64_t bytes = 0;
    double at_s = now_s();
    for (bool is_warm = false; at_s < begin_s + seconds; at_s = now_s()) {
        if (!is_warm && at_s >= begin_s) {
            is_warm = true;
            bytes = 0;
        }
        if (is_slow) {
            (void)usleep(10000);
            continue;
        }
        (void)poll(fds, count, 100);
        for (size_t i = 0; i < count; i++) {
            if (fds[i].revents == 0)
                continue;
            const ssize_t got = recv(fds[i].fd, block, sizeof block, MSG_DONTWAIT);
            if (got == 0)
                return -ECONNRESET; /* an answer that ends is not what is measured */
            bytes += got > 0 ? (uint64_t)got : 0;
        }
    }
    (void)printf("{\"bytes\":%llu,\"elapsed_s\":%.3f}\n", (unsigned long long)bytes, at_s - begin_s);
    return 0;
}

int main(int argc, char **argv) {
    int result = USAGE;
    if (argc == 4 && strcmp(argv[1], "relay") == 0)
        result = run_relay((uint16_t)strtoul(argv[2], NULL, 10), strtoul(argv[3], NULL, 10));
    else if (argc == 7 && strcmp(argv[1], "read") == 0)
        result = run_reader(argv[2], argv[3], (int)strtol(argv[4], NULL, 10), strtod(argv[5], NULL), strtod(argv[6], NULL));
    else
        (void)fputs("usage: ct-stream relay PORT PIECE_BYTES | read HOST PORT CONNECTIONS WARM_UP_S SECONDS\n", stderr);
    if (result < 0)
        (void)fprintf(stderr, "ct-stream: %s\n", ct_strerror(result));
    return result < 0 ? FAILED : result;
}
