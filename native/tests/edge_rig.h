/* An edge on a real port, with a server behind it that the test itself plays, byte by byte. */
#ifndef CT_EDGE_RIG_H
#define CT_EDGE_RIG_H

#include "edge/edge.h"

#include "ct_test.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static ct_reactor *reactor;
static ct_edge *edge;
static int door = -1, back_door = -1, h2_door = -1;
static uint16_t port;
static char directory[] = "/tmp/ct-edge-XXXXXX";
static char back_path[64], h2_path[64];

static inline void turn(int ms) {
    struct pollfd wait = {.fd = ct_reactor_fd(reactor), .events = POLLIN};
    if (poll(&wait, 1, ms) == 1)
        CHECK(ct_reactor_drain(reactor) >= 0);
}

static inline int unix_door(const char *path) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)strcpy(address.sun_path, path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(fd, 16), 0);
    return fd;
}

static inline void open_rig(uint32_t inflight_max) {
    static const uint64_t SECOND_NS = 1000000000;
    (void)strcpy(directory, "/tmp/ct-edge-XXXXXX");
    CHECK(mkdtemp(directory) != NULL);
    (void)snprintf(back_path, sizeof back_path, "%s/s", directory);
    (void)snprintf(h2_path, sizeof h2_path, "%s/h", directory);
    back_door = unix_door(back_path);
    h2_door = unix_door(h2_path);
    struct sockaddr_in front = {.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof front;
    door = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(door, (const struct sockaddr *)&front, sizeof front), 0);
    CHECK_INT(listen(door, 16), 0);
    CHECK_INT(getsockname(door, (struct sockaddr *)&front, &len), 0);
    port = ntohs(front.sin_port);
    reactor = ct_reactor_new();
    const ct_edge_settings settings = {.upstream = back_path,
                                       .idle_ns = 2 * SECOND_NS,
                                       .inflight_max = inflight_max,
                                       .connections_max = 16,
                                       .bodies_max = 1 << 20,
                                       .h2_upstream = h2_path,
                                       .tunnels_max = 2};
    edge = ct_edge_new(reactor, &settings);
    CHECK(edge != NULL);
    for (uint32_t i = 0; i < CT_EDGE_REFUSALS; i++) {
        char problem[64];
        const int size = snprintf(problem, sizeof problem, "{\"refusal\":%u}", i);
        CHECK_INT(ct_edge_problem(edge, i, 400 + i, (const uint8_t *)problem, (size_t)size, "x-test: 1\r\n"), 0);
    }
    CHECK_INT(ct_edge_listen(edge, door), 0);
}

static inline void close_rig(void) {
    ct_edge_free(edge);
    ct_reactor_free(reactor);
    (void)close(door);
    (void)close(back_door);
    (void)close(h2_door);
    (void)unlink(back_path);
    (void)unlink(h2_path);
    (void)rmdir(directory);
}

static inline int client(void) {
    const struct sockaddr_in front = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    CHECK_INT(connect(fd, (const struct sockaddr *)&front, sizeof front), 0);
    CHECK_INT(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* The edge's next connection to a server. */
static inline int server_at(int listener) {
    for (int i = 0; i < 200; i++) {
        const int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
        if (fd >= 0)
            return fd;
        turn(10);
    }
    CHECK(!"nobody connects to the server");
    return -1;
}

static inline void say(int fd, const char *text) {
    const size_t len = strlen(text);
    CHECK_INT(send(fd, text, len, MSG_NOSIGNAL), len);
}

static inline int server(void) {
    return server_at(back_door);
}

/* Reads until `until` has come, or the end; returns all that came, as text that lives until the next call. */
static inline char *hear(int fd, const char *until) {
    static char got[1 << 16];
    size_t at = 0;
    for (int i = 0; i < 500; i++) {
        const ssize_t n = recv(fd, got + at, sizeof got - 1 - at, 0);
        if (n > 0)
            at += (size_t)n;
        got[at] = '\0';
        if (n == 0 || (n < 0 && errno != EAGAIN) || (n > 0 && until != NULL && strstr(got, until) != NULL))
            return got;
        turn(10);
    }
    (void)fprintf(stderr, "heard only: %s\n", got);
    CHECK(!"it did not come");
    return got;
}

static inline bool has(const char *text, const char *part) {
    if (strstr(text, part) != NULL)
        return true;
    (void)fprintf(stderr, "\"%s\" is not in:\n%s\n", part, text);
    return false;
}

static inline ct_edge_counts counts(void) {
    ct_edge_counts now;
    ct_edge_counts_get(edge, &now);
    return now;
}

#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        for (int i_ = 0; !(condition) && i_ < 500; i_++)                                                               \
            turn(10);                                                                                                  \
        CHECK(condition);                                                                                              \
    } while (0)

#endif
