#include "h2/client.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "h2/exchange.h"
#include "h2/text.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    CONNECTIONS = 4, /* chosen: one carries all until it is full */
    FIXED_PAIRS = 7
};

static ct__h2_client *client_of(ct__h2_wire *wire) {
    return ((ct__h2_route *)((char *)wire - offsetof(ct__h2_route, wire)))->client;
}

/* ---- connections ---- */

static int refused(ct__h2_client *client, int error) {
    const ct__h2_limits *l = &client->limits;
    client->backoff_ns = client->backoff_ns == 0 ? l->backoff_ns : 2 * client->backoff_ns;
    if (client->backoff_ns > l->backoff_max_ns)
        client->backoff_ns = l->backoff_max_ns;
    client->next_ns = ct__reactor_now_ns(client->reactor) + client->backoff_ns;
    client->last_error = error;
    return error;
}

static void gone(ct__h2_wire *wire, int error) {
    ct__h2_client *client = client_of(wire);
    if (wire->is_greeted)
        client->backoff_ns = 0;
    else
        (void)refused(client, error != 0 ? error : -ECONNRESET);
}

static void freed(ct__h2_wire *wire) {
    ct__h2_route *r = (ct__h2_route *)((char *)wire - offsetof(ct__h2_route, wire));
    r->client->route_count--;
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    free(r);
}

static const ct__h2_wire_calls CALLS = {.field = ct__h2_reply_field,
                                        .headed = ct__h2_reply_headed,
                                        .data = ct__h2_reply_data,
                                        .ended = ct__h2_reply_ended,
                                        .closed = ct__h2_reply_closed,
                                        .gone = gone,
                                        .freed = freed};

static int connect_peer(const ct__h2_client *client, bool *is_connecting) {
    if (client->is_unix)
        return ct__connect_unix(client->address, is_connecting);
    if (client->near[0] != 0) {
        const int fd = ct__connect_unix(client->near, is_connecting);
        if (fd >= 0)
            return fd;
    }
    return ct__connect_tcp(client->address, client->port, is_connecting);
}

static int connect_route(ct__h2_client *client, ct__h2_wire **out) {
    if (client->backoff_ns != 0 && ct__reactor_now_ns(client->reactor) < client->next_ns)
        return client->last_error;
    bool is_connecting;
    int fd = connect_peer(client, &is_connecting);
    if (fd < 0)
        return refused(client, fd);
    ct__h2_route *r = calloc(1, sizeof *r);
    if (r == NULL) {
        ct_drop_fd(&fd);
        return -ENOMEM;
    }
    r->client = client;
    const int result = ct__h2_wire_open(&r->wire, client->reactor, &client->pool, fd, is_connecting, false, &client->limits, &CALLS, client->tls);
    if (result < 0) {
        free(r);
        return result;
    }
    r->next = client->routes;
    r->link = &client->routes;
    if (r->next != NULL)
        r->next->link = &r->next;
    client->routes = r;
    client->route_count++;
    *out = &r->wire;
    return 0;
}

/* The first with room, so that one connection carries all until it is full: what is sent together is cheaper. One that is being made takes
 * what comes meanwhile, but more than it surely can only when no other may be made: the rest would wait there for others to end. */
static int choose(ct__h2_client *client, ct__h2_wire **out) {
    ct__h2_wire *untold = NULL;
    for (ct__h2_route *r = client->routes; r != NULL; r = r->next) {
        ct__h2_wire *w = &r->wire;
        const uint32_t own = client->limits.streams;
        const uint32_t most = w->peer_streams < own ? w->peer_streams : own;
        if (w->is_leaving || w->is_over)
            continue;
        if (w->leg_count < most) {
            *out = w;
            return 0;
        }
        if (!w->is_greeted && w->leg_count < own && (untold == NULL || w->leg_count < untold->leg_count))
            untold = w;
    }
    if (client->route_count < client->limits.connections)
        return connect_route(client, out);
    *out = untold;
    return untold != NULL ? 0 : CT_E_FULL;
}

/* ---- calls ---- */

static nghttp2_nv pair_of(ct__h2_span name, ct__h2_span value, uint8_t flags) {
    return (nghttp2_nv){(uint8_t *)name.data, (uint8_t *)value.data, name.len, value.len, flags};
}

static int submit(ct__h2_exchange *x, ct__h2_wire *wire, const ct__h2_request *request) {
    const ct__h2_client *client = x->client;
    uint8_t timeout[CT__H2_TIMEOUT_BYTES];
    nghttp2_nv pairs[FIXED_PAIRS + CT__H2_PAIRS_MAX] = {
        CT__H2_NV(":method", "POST"),
        CT__H2_NV(":scheme", "http"),
        CT__H2_NV(":path", ""),
        CT__H2_NV(":authority", ""),
        CT__H2_NV("te", "trailers"),
        CT__H2_NV("content-type", "application/grpc"),
        CT__H2_NV("grpc-timeout", ""),
    };
    const uint64_t now = ct__reactor_now_ns(client->reactor);
    pairs[2].value = (uint8_t *)request->path.data;
    pairs[2].valuelen = request->path.len;
    pairs[3].value = (uint8_t *)client->authority;
    pairs[3].valuelen = strlen(client->authority);
    pairs[6].value = timeout;
    pairs[6].valuelen = ct__h2_timeout_put(timeout, request->deadline_ns > now ? request->deadline_ns - now : 0);
    pairs[2].flags = pairs[3].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME;
    pairs[6].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_INDEX;
    for (size_t i = 0; i < request->pair_count; i++) {
        const ct__h2_pair *pair = &request->pairs[i];
        pairs[FIXED_PAIRS + i] = pair_of(pair->name, pair->value, pair->is_lasting ? 0 : NGHTTP2_NV_FLAG_NO_INDEX);
    }
    return ct__h2_leg_request(&x->leg, wire, pairs, FIXED_PAIRS + request->pair_count);
}

int ct__h2_begin(ct__h2_client *client, ct__h2_call *call, const ct__h2_request *request) {
    size_t len = 0;
    for (size_t i = 0; i < request->piece_count; i++)
        len += request->pieces[i].len;
    if (len > client->limits.message_bytes || request->pair_count > CT__H2_PAIRS_MAX)
        return CT_E_TOOBIG;
    ct__h2_wire *wire = NULL;
    int result = client->is_closing ? -EPIPE : choose(client, &wire);
    if (result < 0)
        return result;
    ct__h2_exchange *x = ct__h2_exchange_new(client);
    if (x == NULL)
        return -ENOMEM;
    uint8_t *room = ct__bytes_room(&x->leg.out, CT__H2_PREFIX_BYTES + len);
    result = room == NULL ? -ENOMEM : ct__alarm_set(client->reactor, &x->deadline, request->deadline_ns);
    if (result == 0) {
        room[0] = 0;
        ct__be32_put(room + 1, (uint32_t)len);
        size_t at = CT__H2_PREFIX_BYTES;
        for (size_t i = 0; i < request->piece_count; at += request->pieces[i].len, i++)
            if (request->pieces[i].len > 0)
                memcpy(room + at, request->pieces[i].data, request->pieces[i].len);
        ct__bytes_grow(&x->leg.out, at);
        x->leg.is_last = true;
        result = submit(x, wire, request);
    }
    if (result < 0) {
        ct__alarm_clear(client->reactor, &x->deadline);
        ct__h2_exchange_rest(x);
        return result;
    }
    x->call = call;
    x->is_in_pieces = call->piece != NULL;
    if (x->is_in_pieces)
        ct__bytes_keep(&x->body, CT__BUSY_BYTES);
    call->exchange = x;
    return 0;
}

void ct__h2_cancel(ct__h2_call *call) {
    ct__h2_exchange *x = call->exchange;
    if (x == NULL)
        return;
    ct__h2_leg_reset(&x->leg, NGHTTP2_CANCEL);
    ct__h2_exchange_part(x);
    ct__h2_exchange_rest(x);
}

void ct__h2_hold(ct__h2_call *call) {
    if (call->exchange != NULL)
        call->exchange->is_held = true;
}

void ct__h2_release(ct__h2_call *call) {
    ct__h2_exchange *x = call->exchange;
    if (x == NULL || !x->is_held)
        return;
    x->is_held = false;
    if (!x->is_giving)
        ct__h2_exchange_go_on(x);
}

static ct__h2_client *new_client(ct_reactor *reactor, const char *address, uint16_t port, bool is_unix, const ct__h2_limits *limits) {
    ct__h2_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->reactor = reactor;
    client->limits = ct__h2_limits_filled(limits);
    client->pool.limit_bytes = client->limits.sessions_bytes;
    if (limits->idle_ns == 0)
        client->limits.idle_ns /= 2; /* a connection is left by us, not by the server as a call goes out */
    if (limits->connections == 0)
        client->limits.connections = CONNECTIONS;
    client->is_unix = is_unix;
    client->port = port;
    const int len = snprintf(client->address, sizeof client->address, "%s", address);
    if (len >= (int)sizeof client->address) {
        free(client);
        return NULL;
    }
    const bool is_v6 = strchr(address, ':') != NULL;
    if (is_unix)
        (void)snprintf(client->authority, sizeof client->authority, "localhost");
    else
        (void)snprintf(client->authority, sizeof client->authority, is_v6 ? "[%s]:%u" : "%s:%u", address, port);
    return client;
}

ct__h2_client *ct__h2_client_new(ct_reactor *reactor, const char *address, uint16_t port, const ct__h2_limits *limits) {
    return new_client(reactor, address, port, false, limits);
}

ct__h2_client *ct__h2_client_new_unix(ct_reactor *reactor, const char *path, const ct__h2_limits *limits) {
    return new_client(reactor, path, 0, true, limits);
}

int ct__h2_client_near(ct__h2_client *client, const char *path) {
    const size_t len = strlen(path);
    if (len >= sizeof client->near)
        return -ENAMETOOLONG;
    memcpy(client->near, path, len + 1);
    return 0;
}

void ct__h2_client_secure(ct__h2_client *client, ct_tls *tls) {
    client->tls = tls;
}

void ct__h2_client_free(ct__h2_client *client) {
    if (client == NULL)
        return;
    client->is_closing = true;
    for (ct__h2_route *r = client->routes; r != NULL; r = r->next)
        ct__h2_wire_cut(&r->wire, -ECANCELED);
    while (client->waiting != NULL)
        ct__h2_exchange_lose(client->waiting);
    while (client->routes != NULL)
        ct__h2_wire_free(&client->routes->wire);
    while (client->kept != NULL) {
        ct__h2_exchange *x = client->kept;
        client->kept = x->next;
        ct__h2_exchange_free(x);
    }
    ct__h2_pool_fini(&client->pool);
    free(client);
}

uint32_t ct__h2_client_calls(const ct__h2_client *client) {
    return client->calls;
}
