/* One link, its worker played by the test. */
#ifndef CT_LINK_RIG_H
#define CT_LINK_RIG_H

#include "link/link.h"

#include "base/cursor.h"
#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_MAX = 64, LOG_LIMIT = 100 };

typedef struct rig {
    ct_reactor *reactor;
    ct_links *links;
    ct_link *link;
    int peer, stdio;
    ct_event events[EVENTS_MAX];
    size_t count;
} rig;

static const uint8_t ZEROS[16];

static inline int try_open(rig *g, bool is_alone) {
    *g = (rig){.peer = -1, .stdio = -1};
    int pair[2], pipes[2];
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
    CHECK_INT(pipe2(pipes, O_NONBLOCK), 0);
    g->peer = pair[1];
    g->stdio = pipes[1];
    g->reactor = ct_reactor_new();
    if (g->reactor == NULL) {
        (void)close(pair[0]);
        (void)close(pipes[0]);
        return -ENOMEM;
    }
    const ct_link_settings settings = {.log_limit = LOG_LIMIT, .is_alone = is_alone};
    g->links = ct_links_new(g->reactor);
    if (g->links == NULL) {
        (void)close(pair[0]);
        (void)close(pipes[0]);
        return -ENOMEM;
    }
    return ct_link_open(g->links, pair[0], pipes[0], &settings, &g->link);
}

static inline void forget(rig *g) {
    for (size_t i = 0; i < g->count; i++)
        ct_event_done(&g->events[i]);
    g->count = 0;
}

static inline void turn(rig *g) {
    (void)ct_reactor_drain(g->reactor);
    g->count += ct_reactor_take(g->reactor, g->events + g->count, EVENTS_MAX - g->count);
}

static inline void close_rig(rig *g) {
    ct_link_free(g->link, NULL, 0);
    if (g->reactor != NULL)
        turn(g);
    forget(g);
    ct_links_free(g->links);
    ct_reactor_free(g->reactor);
    (void)close(g->peer);
    (void)close(g->stdio);
}

static inline const ct_event *event_of(const rig *g, uint32_t kind) {
    for (size_t i = 0; i < g->count; i++)
        if (g->events[i].kind == kind)
            return &g->events[i];
    return NULL;
}

/* Until it has come; what waits for output takes more than one turn. */
static inline const ct_event *turn_until(rig *g, uint32_t kind) {
    for (int i = 0; i < 1000 && event_of(g, kind) == NULL; i++) {
        struct pollfd door = {.fd = ct_reactor_fd(g->reactor), .events = POLLIN};
        (void)poll(&door, 1, 10);
        turn(g);
    }
    return event_of(g, kind);
}

static inline void say(const rig *g, uint8_t kind, uint32_t id, const char *body) {
    uint8_t frame[512];
    const size_t len = strlen(body);
    CHECK_INT(ct_frame_put(frame, kind, 0, id, len), 0);
    memcpy(frame + CT_FRAME_HEADER_BYTES, body, len);
    const ssize_t sent = send(g->peer, frame, CT_FRAME_HEADER_BYTES + len, MSG_NOSIGNAL);
    CHECK(sent == (ssize_t)(CT_FRAME_HEADER_BYTES + len) || (sent < 0 && errno == EPIPE)); /* it may have hung up */
}

static inline int64_t ask(rig *g, bool is_stream) {
    return ct_link_call(g->link, ZEROS, ZEROS, ZEROS, (const uint8_t *)"1", 1, UINT64_MAX, is_stream);
}

static inline size_t heard(const rig *g, uint8_t *out, size_t cap) {
    const ssize_t got = recv(g->peer, out, cap, MSG_DONTWAIT);
    return got > 0 ? (size_t)got : 0;
}

#endif
