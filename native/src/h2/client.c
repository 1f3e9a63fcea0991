#include "h2/client.h"

#include "base/cursor.h"
#include "base/scope.h"
#include "h2/text.h"
#include "h2/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNKNOWN = 2,
    DEADLINE_EXCEEDED = 4,
    PERMISSION_DENIED = 7,
    RESOURCE_EXHAUSTED = 8,
    UNIMPLEMENTED = 12,
    INTERNAL = 13,
    UNAVAILABLE = 14,
    UNAUTHENTICATED = 16,
    CONNECTIONS = 4,  /* chosen: one carries all until it is full */
    KEPT_MAX = 512,   /* calls at rest */
    KEPT_BYTES = 4096,
    FIXED_PAIRS = 7,
    HTTP_OK = 200
};

typedef struct ct__h2_exchange {
    ct__h2_leg leg;
    ct__h2_client *client;
    ct__h2_call *call;
    ct__alarm deadline;
    ct__bytes body, message, problem; /* of the reply; the last two as they came */
    uint32_t http_status, status;
    size_t head_bytes;
    bool has_status, is_broken;
    struct ct__h2_exchange *next; /* of the kept */
} exchange;

typedef struct route {
    ct__h2_wire wire;
    ct__h2_client *client;
    struct route *next, **link;
} route;

struct ct__h2_client {
    ct_reactor *reactor;
    ct_tls *tls;
    ct__h2_limits limits;
    ct__h2_pool pool;
    route *routes;
    uint32_t route_count, calls;
    exchange *kept;
    uint32_t kept_count;
    size_t held_bytes;
    uint64_t backoff_ns, next_ns; /* the next attempt to connect */
    int last_error;
    bool is_closing;
    bool is_unix;
    uint16_t port;
    char address[108];
    char authority[128];
};

static exchange *exchange_of(ct__h2_leg *leg) {
    return (exchange *)((char *)leg - offsetof(exchange, leg));
}

static ct__h2_client *client_of(ct__h2_wire *wire) {
    return ((route *)((char *)wire - offsetof(route, wire)))->client;
}

/* ---- exchanges ---- */

static void free_exchange(exchange *x) {
    ct__bytes_free(&x->leg.out);
    ct__bytes_free(&x->body);
    ct__bytes_free(&x->message);
    ct__bytes_free(&x->problem);
    free(x);
}

static void rest(ct__bytes *bytes) {
    ct__bytes_skip(bytes, bytes->len);
    if (bytes->cap > KEPT_BYTES)
        ct__bytes_free(bytes);
}

static void rest_exchange(exchange *x) {
    ct__h2_client *client = x->client;
    client->held_bytes -= x->body.len;
    client->calls--;
    if (client->kept_count >= KEPT_MAX) {
        free_exchange(x);
        return;
    }
    rest(&x->leg.out);
    rest(&x->body);
    rest(&x->message);
    rest(&x->problem);
    *x = (exchange){.leg = {.out = x->leg.out}, .body = x->body, .message = x->message, .problem = x->problem,
                    .client = client, .next = client->kept};
    client->kept = x;
    client->kept_count++;
}

static void overdue(ct__alarm *alarm);

static exchange *take_exchange(ct__h2_client *client) {
    exchange *x = client->kept;
    if (x != NULL) {
        client->kept = x->next;
        client->kept_count--;
        x->next = NULL;
    } else {
        x = calloc(1, sizeof *x);
        if (x == NULL)
            return NULL;
        x->client = client;
    }
    x->deadline.due = overdue;
    client->calls++;
    return x;
}

static ct__h2_call *part(exchange *x) {
    ct__h2_call *call = x->call;
    ct__alarm_clear(x->client->reactor, &x->deadline);
    ct__h2_leg_drop(&x->leg);
    call->exchange = NULL;
    return call;
}

static void finish(exchange *x, const ct__h2_reply *reply) {
    ct__h2_call *call = part(x);
    call->done(call, reply);
    rest_exchange(x);
}

static void fail(exchange *x, uint32_t status, bool may_have_begun, const char *why) {
    finish(x, &(ct__h2_reply){.status = status, .may_have_begun = may_have_begun,
                              .message = {(const uint8_t *)why, strlen(why)}});
}

static void overdue(ct__alarm *alarm) {
    exchange *x = (exchange *)((char *)alarm - offsetof(exchange, deadline));
    const bool may_have_begun = x->leg.has_sent && !x->leg.wire->conn.is_connecting;
    ct__h2_leg_reset(&x->leg, NGHTTP2_CANCEL);
    fail(x, DEADLINE_EXCEEDED, may_have_begun, "no answer in time");
}

/* ---- what comes back ---- */

static void field(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
    exchange *x = exchange_of(leg);
    const nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    const ct__h2_span key = {n.base, n.len}, text = {v.base, v.len};
    x->head_bytes += n.len + v.len + 32;
    if (x->head_bytes > CT__H2_HEAD_BYTES_MAX) {
        x->is_broken = true;
        return;
    }
    const enum ct__h2_key known = ct__h2_key_of(key);
    if (known == CT__H2_KEY_STATUS) {
        x->http_status = ct__h2_status_get(text);
    } else if (known == CT__H2_KEY_GRPC_STATUS) {
        x->status = ct__h2_status_get(text);
        x->has_status = true;
    } else if (known == CT__H2_KEY_GRPC_MESSAGE && x->message.len == 0) {
        x->is_broken |= ct__bytes_add(&x->message, v.base, v.len) < 0;
    } else if (known == CT__H2_KEY_PROBLEM && x->problem.len == 0) {
        x->is_broken |= ct__bytes_add(&x->problem, v.base, v.len) < 0;
    } else if (known == CT__H2_KEY_ENCODING && !ct__h2_is(text, "identity", 8)) {
        x->is_broken = true;
    }
}

static void headed(ct__h2_leg *leg) {
    exchange *x = exchange_of(leg);
    if (!x->is_broken)
        return;
    ct__h2_leg_reset(leg, NGHTTP2_CANCEL);
    fail(x, INTERNAL, true, "the answer's metadata is too large, or encoded");
}

static void data(ct__h2_leg *leg, const uint8_t *bytes, size_t len) {
    exchange *x = exchange_of(leg);
    ct__h2_client *client = x->client;
    ct__h2_leg_consume(leg, len);
    ct__h2_wire_consume(leg->wire, len);
    if (x->body.len + len > client->limits.message_bytes + CT__H2_PREFIX_BYTES ||
        client->held_bytes + len > client->limits.held_bytes || ct__bytes_add(&x->body, bytes, len) < 0) {
        ct__h2_leg_reset(leg, NGHTTP2_CANCEL);
        fail(x, RESOURCE_EXHAUSTED, true, "the answer is too large");
        return;
    }
    client->held_bytes += len;
}

static uint32_t status_of_http(uint32_t http) {
    switch (http) {
    case 400:
        return INTERNAL;
    case 401:
        return UNAUTHENTICATED;
    case 403:
        return PERMISSION_DENIED;
    case 404:
        return UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return UNAVAILABLE;
    default:
        return UNKNOWN;
    }
}

static ct__h2_span decoded(ct__bytes *bytes, size_t (*decode)(uint8_t *, ct__h2_span)) {
    uint8_t *text = bytes->len > 0 ? ct__bytes_front(bytes) : NULL;
    const size_t len = text != NULL ? decode(text, (ct__h2_span){text, bytes->len}) : 0; /* never longer, so in place */
    return len == SIZE_MAX ? (ct__h2_span){0} : (ct__h2_span){text, len};
}

static void ended(ct__h2_leg *leg) {
    exchange *x = exchange_of(leg);
    if (!leg->has_sent)
        ct__h2_leg_reset(leg, NGHTTP2_NO_ERROR);
    if (x->http_status != HTTP_OK || !x->has_status || x->status == UINT32_MAX) {
        fail(x, x->http_status != HTTP_OK ? status_of_http(x->http_status) : UNKNOWN, true, "an answer without a gRPC status");
        return;
    }
    ct__h2_reply reply = {.status = x->status,
                          .is_answered = true,
                          .may_have_begun = true,
                          .message = decoded(&x->message, ct__h2_percent_get),
                          .problem = decoded(&x->problem, ct__h2_base64_get)};
    if (x->status == 0) {
        const ptrdiff_t len = ct__h2_message_len(ct__bytes_front(&x->body), x->body.len);
        if (len < 0) {
            fail(x, INTERNAL, true, "the answer is not one gRPC message");
            return;
        }
        reply.body = (ct__h2_span){ct__bytes_front(&x->body) + CT__H2_PREFIX_BYTES, (size_t)len};
    }
    finish(x, &reply);
}

static void closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code) {
    exchange *x = exchange_of(leg);
    const bool may_have_begun = leg->has_sent && !wire->conn.is_connecting && code != NGHTTP2_REFUSED_STREAM;
    if (code == NGHTTP2_ENHANCE_YOUR_CALM)
        fail(x, RESOURCE_EXHAUSTED, may_have_begun, "the server asks to go slower");
    else if (code == NGHTTP2_REFUSED_STREAM)
        fail(x, UNAVAILABLE, may_have_begun, "the server refused the call");
    else if (code == CT__H2_LOST)
        fail(x, UNAVAILABLE, may_have_begun, wire->conn.is_connecting ? "can not connect" : "the connection was lost");
    else
        fail(x, UNAVAILABLE, may_have_begun, "the server ended the call without an answer");
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
    route *r = (route *)((char *)wire - offsetof(route, wire));
    r->client->route_count--;
    *r->link = r->next;
    if (r->next != NULL)
        r->next->link = r->link;
    free(r);
}

static const ct__h2_wire_calls CALLS = {.field = field,
                                        .headed = headed,
                                        .data = data,
                                        .ended = ended,
                                        .closed = closed,
                                        .gone = gone,
                                        .freed = freed};

static int connect_route(ct__h2_client *client, ct__h2_wire **out) {
    if (client->backoff_ns != 0 && ct__reactor_now_ns(client->reactor) < client->next_ns)
        return client->last_error;
    bool is_connecting;
    int fd = client->is_unix ? ct__connect_unix(client->address, &is_connecting)
                             : ct__connect_tcp(client->address, client->port, &is_connecting);
    if (fd < 0)
        return refused(client, fd);
    route *r = calloc(1, sizeof *r);
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
 * all that come meanwhile. */
static int choose(ct__h2_client *client, ct__h2_wire **out) {
    for (route *r = client->routes; r != NULL; r = r->next) {
        const ct__h2_wire *w = &r->wire;
        const uint32_t own = client->limits.streams;
        const uint32_t most = w->is_greeted && w->peer_streams < own ? w->peer_streams : own;
        if (!w->is_leaving && !w->is_over && w->leg_count < most) {
            *out = &r->wire;
            return 0;
        }
    }
    return client->route_count < client->limits.connections ? connect_route(client, out) : CT_E_FULL;
}

/* ---- calls ---- */

static nghttp2_nv pair_of(ct__h2_span name, ct__h2_span value, uint8_t flags) {
    return (nghttp2_nv){(uint8_t *)name.data, (uint8_t *)value.data, name.len, value.len, flags};
}

static int submit(exchange *x, ct__h2_wire *wire, const ct__h2_request *request) {
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
    exchange *x = take_exchange(client);
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
        rest_exchange(x);
        return result;
    }
    x->call = call;
    call->exchange = x;
    return 0;
}

void ct__h2_cancel(ct__h2_call *call) {
    exchange *x = call->exchange;
    if (x == NULL)
        return;
    ct__h2_leg_reset(&x->leg, NGHTTP2_CANCEL);
    (void)part(x);
    rest_exchange(x);
}

static ct__h2_client *new_client(ct_reactor *reactor, const char *address, uint16_t port, bool is_unix, const ct__h2_limits *limits) {
    ct__h2_client *client = calloc(1, sizeof *client);
    if (client == NULL)
        return NULL;
    client->reactor = reactor;
    client->limits = ct__h2_limits_filled(limits);
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

void ct__h2_client_secure(ct__h2_client *client, ct_tls *tls) {
    client->tls = tls;
}

void ct__h2_client_free(ct__h2_client *client) {
    if (client == NULL)
        return;
    client->is_closing = true;
    for (route *r = client->routes; r != NULL; r = r->next)
        ct__h2_wire_cut(&r->wire, -ECANCELED);
    while (client->routes != NULL)
        ct__h2_wire_free(&client->routes->wire);
    while (client->kept != NULL) {
        exchange *x = client->kept;
        client->kept = x->next;
        free_exchange(x);
    }
    ct__h2_pool_fini(&client->pool);
    free(client);
}

uint32_t ct__h2_client_calls(const ct__h2_client *client) {
    return client->calls;
}
