/* The two ends of a TLS connection in one reactor. */
#ifndef CT_TLS_RIG_H
#define CT_TLS_RIG_H

#include "reactor/tls.h"

#include "tls_issued.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of one test: what each end has heard. */
typedef struct heard {
    ct__conn conn;
    size_t bytes;
    uint32_t sum;
    int ends, error, drains;
    bool is_echoing, is_hungry;
    size_t most_held;
} heard;

static inline uint32_t sum_of(uint32_t sum, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static inline void on_received(ct__conn *conn) {
    heard *h = (heard *)conn;
    if (conn->in.len > h->most_held)
        h->most_held = conn->in.len;
    if (!h->is_hungry)
        return;
    h->bytes += conn->in.len;
    h->sum = sum_of(h->sum, ct__bytes_front(&conn->in), conn->in.len);
    if (h->is_echoing)
        CHECK_INT(ct__conn_write(conn, ct__bytes_front(&conn->in), conn->in.len), 0);
    ct__bytes_skip(&conn->in, conn->in.len);
}

static inline void on_drained(ct__conn *conn) {
    ((heard *)conn)->drains++;
}

static inline void on_ended(ct__conn *conn, int error) {
    heard *h = (heard *)conn;
    h->ends++;
    h->error = error;
}

static const ct__conn_calls CALLS = {.received = on_received, .drained = on_drained, .ended = on_ended};

static inline void begin(heard *h, ct_reactor *r, int fd, ct_tls *tls) {
    *h = (heard){.is_hungry = true};
    CHECK_INT(ct__conn_open(&h->conn, r, fd, false, &CALLS), 0);
    CHECK_INT(ct__conn_secure(&h->conn, tls), 0);
}

static inline void two_sockets(int pair[2]) {
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

/* One turn; false when nothing happened for that long. */
static inline bool turned(ct_reactor *r, int wait_ms) {
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    const bool is_ready = poll(&door, 1, wait_ms) == 1;
    if (is_ready)
        CHECK(ct_reactor_drain(r) >= 0);
    return is_ready;
}

static issued ca, other_ca, server_identity, api_identity, expired_identity, client_identity, stranger_identity;

typedef struct wish {
    const issued *shows;   /* NULL: the usual one of a server, none of a client */
    const issued *trusts;  /* NULL: a server asks for nothing, a client trusts the usual authority */
    const char *name;
    uint32_t handshake_ms;
    uint32_t protocol;
} wish;

static inline ct_tls *tls_of(uint32_t role, wish w) {
    const bool is_server = role == CT_TLS_SERVER;
    const issued *shows = w.shows != NULL ? w.shows : &server_identity;
    const issued *trusts = w.trusts != NULL ? w.trusts : &ca;
    const ct_tls_identity identities[] = {identity_of(shows, ""), identity_of(&api_identity, "api.example.org"),
                                          identity_of(&api_identity, "*.wild.example.org")};
    const bool has_authorities = !is_server || w.trusts != NULL;
    const ct_tls_settings settings = {
        .role = role,
        .protocol = w.protocol != 0 ? w.protocol : CT_TLS_H2,
        .handshake_ms = w.handshake_ms != 0 ? w.handshake_ms : 10000,
        .ticket_s = is_server && w.trusts == NULL ? 3600 : 0,
        .identities = identities,
        .identity_count = is_server ? 3 : w.shows != NULL ? 1 : 0,
        .authorities = has_authorities ? trusts->chain : NULL,
        .authorities_len = has_authorities ? trusts->chain_len : 0,
        .server_name = w.name != NULL ? w.name : "comet.example.org",
    };
    ct_tls *tls = NULL;
    ct_tls_fault fault;
    CHECK_INT(ct_tls_new(&settings, &tls, &fault), 0);
    return tls;
}

typedef struct rig {
    ct_reactor *r;
    ct_tls *server_tls, *client_tls;
    heard server, client;
} rig;

static inline void open_rig(rig *g, wish server, wish client) {
    int pair[2];
    two_sockets(pair);
    g->r = ct_reactor_new();
    g->server_tls = tls_of(CT_TLS_SERVER, server);
    g->client_tls = tls_of(CT_TLS_CLIENT, client);
    begin(&g->server, g->r, pair[0], g->server_tls);
    begin(&g->client, g->r, pair[1], g->client_tls);
}

static inline void close_rig(rig *g) {
    ct__conn_close(&g->client.conn);
    ct__conn_close(&g->server.conn);
    ct_tls_free(g->client_tls);
    ct_tls_free(g->server_tls);
    ct_reactor_free(g->r);
}

static inline void issue_all(void) {
    issue(&ca, "Test CA", NULL, NULL, 86400);
    issue(&other_ca, "Other CA", NULL, NULL, 86400);
    issue(&server_identity, "comet", "DNS:comet.example.org,IP:127.0.0.1", &ca, 3600);
    issue(&api_identity, "api", "DNS:api.example.org,DNS:*.wild.example.org", &ca, 3600);
    issue(&expired_identity, "comet", "DNS:comet.example.org", &ca, -60);
    issue(&client_identity, "zenith", NULL, &ca, 3600);
    issue(&stranger_identity, "stranger", NULL, &other_ca, 3600);
}

static inline void forget_all(void) {
    issued *all[] = {&ca, &other_ca, &server_identity, &api_identity, &expired_identity, &client_identity, &stranger_identity};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        forget(all[i]);
}

#define UNTIL(r, condition)                                                                                            \
    while (!(condition))                                                                                               \
    CHECK(turned(r, 10000))

#endif
