/* Streams that pass through to the gRPC server on a unix socket. Each side's window is given back as the other side takes the
 * bytes, so that no more waits here than a window a stream. */
#include "base/scope.h"
#include "h2/stream.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    UNAVAILABLE = 14,
    KEPT_UPS_MAX = 256,
    STREAMS_AN_UPSTREAM = 1000 /* chosen, should it not say */
};

static ct__h2_up *up_of(ct__h2_leg *leg) {
    return (ct__h2_up *)((char *)leg - offsetof(ct__h2_up, leg));
}

static ct__h2_link *link_of(ct__h2_wire *wire) {
    return (ct__h2_link *)((char *)wire - offsetof(ct__h2_link, wire));
}

static void free_up(ct__h2_up *up) {
    ct__bytes_free(&up->leg.out);
    ct__bytes_free(&up->block);
    free(up);
}

/* A connection's window is given back at once, so that one slow stream does not stop its neighbours; only while the server holds all
 * that it may, it is given back with the stream's. */
static void take_in(ct__h2_server *server, ct__h2_leg *leg, size_t len, size_t *debt) {
    if (server->counts.held_bytes <= server->limits.held_bytes)
        ct__h2_wire_consume(leg->wire, len);
    else
        *debt += len;
}

static void give_back(ct__h2_leg *leg, size_t len, size_t *debt) {
    if (leg->wire == NULL)
        return;
    ct__h2_leg_consume(leg, len);
    const size_t owed = *debt < len ? *debt : len;
    *debt -= owed;
    if (owed > 0)
        ct__h2_wire_consume(leg->wire, owed);
}

/* The stream ends with bytes that nobody will take: nghttp2 gives back their share of the connection's window only when it
 * is told. */
static void settle(ct__h2_wire *wire, size_t *debt) {
    if (*debt > 0)
        ct__h2_wire_consume(wire, *debt);
    *debt = 0;
}

static void part(ct__h2_up *up) {
    ct__h2_served *down = up->down;
    up->down = NULL;
    down->up = NULL;
    ct__h2_unhold(down, up->leg.out.len);
    if (up->leg.wire != NULL) {
        settle(up->leg.wire, &up->debt);
        ct__h2_leg_drop(&up->leg);
    }
    ct__h2_server *server = down->server;
    if (server->kept_up_count >= KEPT_UPS_MAX) {
        free_up(up);
        return;
    }
    ct__bytes_skip(&up->leg.out, up->leg.out.len);
    ct__bytes_skip(&up->block, up->block.len);
    *up = (ct__h2_up){.leg = {.out = up->leg.out}, .block = up->block, .next = server->kept_ups};
    server->kept_ups = up;
    server->kept_up_count++;
}

static ct__h2_up *new_up(ct__h2_server *server) {
    ct__h2_up *up = server->kept_ups;
    if (up == NULL)
        return calloc(1, sizeof *up);
    server->kept_ups = up->next;
    server->kept_up_count--;
    up->next = NULL;
    return up;
}

/* ---- the way down ---- */

static void up_field(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
    ct__h2_up *up = up_of(leg);
    const nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    if (n.len == 7 && memcmp(n.base, ":status", 7) == 0) {
        up->has_status = true;
        up->is_interim = v.len == 3 && v.base[0] == '1';
    }
    if (++up->field_count > CT__H2_FIELDS_MAX || up->block.len + n.len + v.len > CT__H2_HEAD_BYTES_MAX ||
        ct__h2_pack(&up->block, n.base, n.len, v.base, v.len) < 0)
        up->is_bad = true;
}

static void up_headed(ct__h2_leg *leg) {
    ct__h2_up *up = up_of(leg);
    ct__h2_served *down = up->down;
    if (up->is_bad) {
        ct__h2_leg_reset(leg, NGHTTP2_CANCEL);
        ct__h2_leg_reset(&down->leg, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    if (up->has_status && !up->is_interim) {
        nghttp2_nv pairs[CT__H2_FIELDS_MAX];
        const size_t count = ct__h2_unpack(&up->block, pairs);
        up->has_head = true;
        if (ct__h2_leg_respond(&down->leg, pairs, count, !leg->has_ended) < 0)
            ct__h2_leg_reset(&down->leg, NGHTTP2_INTERNAL_ERROR);
        ct__bytes_skip(&up->block, up->block.len);
    } else if (up->has_status) {
        ct__bytes_skip(&up->block, up->block.len); /* an interim answer; gRPC has no use for it */
    } else {
        const ct__bytes trailer = down->leg.trailer;
        down->leg.trailer = up->block;
        up->block = trailer;
    }
    up->has_status = up->is_interim = false;
    up->field_count = 0;
}

static void up_data(ct__h2_leg *leg, const uint8_t *data, size_t len) {
    ct__h2_up *up = up_of(leg);
    ct__h2_served *down = up->down;
    if (!up->has_head || ct__bytes_add(&down->leg.out, data, len) < 0) {
        ct__h2_leg_consume(leg, len);
        ct__h2_wire_consume(leg->wire, len);
        ct__h2_leg_reset(leg, NGHTTP2_CANCEL);
        ct__h2_leg_reset(&down->leg, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    ct__h2_hold(down, len);
    take_in(down->server, leg, len, &up->debt);
    ct__h2_leg_go(&down->leg);
}

static void up_ended(ct__h2_leg *leg) {
    ct__h2_served *down = up_of(leg)->down;
    down->leg.is_last = true;
    ct__h2_leg_go(&down->leg);
}

void ct__h2_pass_sent(ct__h2_served *down, size_t len) {
    if (down->up != NULL)
        give_back(&down->up->leg, len, &down->up->debt);
}

/* ---- the way up ---- */

static void up_sent(ct__h2_leg *leg, size_t len) {
    ct__h2_served *down = up_of(leg)->down;
    ct__h2_unhold(down, len);
    const size_t paid = down->prepaid < len ? down->prepaid : len;
    down->prepaid -= paid;
    if (len > paid)
        give_back(&down->leg, len - paid, &down->debt);
}

void ct__h2_pass_data(ct__h2_served *down, const uint8_t *data, size_t len) {
    ct__h2_up *up = down->up;
    if (ct__bytes_add(&up->leg.out, data, len) < 0) {
        ct__h2_leg_consume(&down->leg, len);
        ct__h2_wire_consume(down->leg.wire, len);
        ct__h2_leg_reset(&down->leg, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    ct__h2_hold(down, len);
    take_in(down->server, &down->leg, len, &down->debt);
    ct__h2_leg_go(&up->leg);
}

void ct__h2_pass_end(ct__h2_served *down) {
    down->up->leg.is_last = true;
    ct__h2_leg_go(&down->up->leg);
}

void ct__h2_pass_closed(ct__h2_served *down, ct__h2_wire *wire) {
    settle(wire, &down->debt);
    ct__h2_leg_reset(&down->up->leg, NGHTTP2_CANCEL);
    part(down->up);
}

/* ---- the end of the upper side ---- */

static void up_closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code) {
    ct__h2_up *up = up_of(leg);
    ct__h2_served *down = up->down;
    const bool is_complete = leg->has_ended, has_head = up->has_head;
    settle(wire, &up->debt);
    settle(down->leg.wire, &down->debt);
    part(up);
    down->state = CT__H2_ENDING;
    if (is_complete)
        return;
    if (code != CT__H2_LOST && code != NGHTTP2_REFUSED_STREAM) {
        ct__h2_leg_reset(&down->leg, code);
        return;
    }
    down->server->counts.unserved++;
    if (!has_head) {
        ct__h2_turn_away(down, UNAVAILABLE, "the server behind this port went away");
        return;
    }
    ct__bytes_skip(&down->leg.trailer, down->leg.trailer.len);
    static const char status[] = "14", message[] = "the server behind this port went away";
    if (ct__h2_pack(&down->leg.trailer, (const uint8_t *)"grpc-status", 11, (const uint8_t *)status, 2) < 0 ||
        ct__h2_pack(&down->leg.trailer, (const uint8_t *)"grpc-message", 12, (const uint8_t *)message, sizeof message - 1) < 0) {
        ct__h2_leg_reset(&down->leg, NGHTTP2_INTERNAL_ERROR);
        return;
    }
    down->leg.is_last = true;
    ct__h2_leg_go(&down->leg);
}

static void up_gone(ct__h2_wire *wire, int error) {
    (void)wire, (void)error;
}

static void up_freed(ct__h2_wire *wire) {
    ct__h2_link *link = link_of(wire);
    link->server->counts.upstreams--;
    ct__h2_link_remove(link);
    free(link);
}

static const ct__h2_wire_calls UP_CALLS = {.field = up_field,
                                           .headed = up_headed,
                                           .data = up_data,
                                           .ended = up_ended,
                                           .sent = up_sent,
                                           .closed = up_closed,
                                           .gone = up_gone,
                                           .freed = up_freed};

/* ---- which connection ---- */

static ct__h2_wire *open_upstream(ct__h2_server *server) {
    if (server->counts.upstreams >= server->limits.upstreams)
        return NULL;
    bool is_connecting;
    const int fd = ct__connect_unix(server->upstream, &is_connecting);
    if (fd < 0)
        return NULL;
    ct__h2_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        ct_drop_fd(&(int){fd});
        return NULL;
    }
    link->server = server;
    if (ct__h2_wire_open(&link->wire, server->reactor, &server->pool, fd, is_connecting, false, &server->up_limits,
                         &UP_CALLS, NULL) < 0) {
        free(link);
        return NULL;
    }
    ct__h2_link_add(&server->ups, link);
    server->counts.upstreams++;
    return &link->wire;
}

static ct__h2_wire *choose(ct__h2_server *server) {
    for (ct__h2_link *link = server->ups; link != NULL; link = link->next) {
        const ct__h2_wire *w = &link->wire;
        const uint32_t most = w->peer_streams < STREAMS_AN_UPSTREAM ? w->peer_streams : STREAMS_AN_UPSTREAM;
        if (!w->is_leaving && !w->is_over && w->leg_count < most)
            return &link->wire;
    }
    return open_upstream(server);
}

void ct__h2_pass(ct__h2_served *down) {
    ct__h2_server *server = down->server;
    ct__h2_wire *wire = choose(server);
    ct__h2_up *up = wire != NULL ? new_up(server) : NULL;
    if (up == NULL) {
        server->counts.unserved++;
        ct__h2_turn_away(down, UNAVAILABLE, "the server behind this port can not be reached");
        return;
    }
    nghttp2_nv pairs[CT__H2_FIELDS_MAX];
    for (size_t i = 0; i < down->field_count; i++) {
        const nghttp2_vec n = nghttp2_rcbuf_get_buf(down->fields[i].name), v = nghttp2_rcbuf_get_buf(down->fields[i].value);
        pairs[i] = (nghttp2_nv){.name = n.base, .value = v.base, .namelen = n.len, .valuelen = v.len};
    }
    const ct__bytes rested = up->leg.out;
    up->leg.out = down->body;
    down->body = rested;
    down->prepaid = up->leg.out.len;
    up->leg.is_last = down->leg.has_ended;
    up->down = down;
    down->up = up;
    down->state = CT__H2_PASSING;
    if (ct__h2_leg_request(&up->leg, wire, pairs, down->field_count) < 0) {
        part(up);
        server->counts.unserved++;
        ct__h2_turn_away(down, UNAVAILABLE, "the server behind this port can not be reached");
        return;
    }
    server->counts.forwarded++;
}

void ct__h2_forget_ups(ct__h2_server *server) {
    while (server->ups != NULL)
        ct__h2_wire_free(&server->ups->wire);
    while (server->kept_ups != NULL) {
        ct__h2_up *up = server->kept_ups;
        server->kept_ups = up->next;
        free_up(up);
    }
}
