/* What C does not answer: each request goes to our own HTTP server over a kept connection, its answer comes back byte for
 * byte, and neither side is read faster than the other takes it. */
#include "edge/upstream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINE_BYTES = 32 };

static ct__upstream *upstream_of(ct__conn *conn) {
    return (ct__upstream *)((char *)conn - offsetof(ct__upstream, conn));
}

/* ---- from the server to the client ---- */

/* The rest of the answer will not come. One that would have ended with the connection must not look whole, so that is reset;
 * of any other the client knows that something is missing. */
static void give_up(ct__upstream *u, enum ct_edge_refusal refusal) {
    ct__caller *c = u->caller;
    const bool has_no_end = u->has_head && u->answer.framing == CT__HTTP1_UNTIL_CLOSE;
    ct__upstream_drop(u);
    if (c == NULL)
        return;
    if (!c->is_answered)
        ct__caller_refuse(c, refusal, false);
    else if (has_no_end)
        ct__caller_close(c, true);
    else
        ct__caller_finish(c);
}

static void fail(ct__upstream *u) {
    give_up(u, CT_EDGE_UPSTREAM);
}

static void end_answer(ct__upstream *u) {
    ct__caller *c = u->caller;
    const bool is_whole = ct__http1_body_done(&c->body);
    const bool closes = u->closes || u->is_upgrading || !is_whole;
    c->upstream = NULL;
    u->caller = NULL;
    if (closes || u->conn.in.len > 0 || u->conn.has_ended || c->edge->is_stopping) {
        ct__upstream_drop(u);
    } else {
        ct__conn_resume(&u->conn);
        ct__upstream_rest(u);
    }
    if (closes)
        ct__caller_finish(c);
    else
        ct__caller_next(c);
}

static bool tell(ct__upstream *u, const void *bytes, size_t count) {
    ct__caller *c = u->caller;
    c->is_answered = true;
    if (ct__conn_write(&c->conn, bytes, count) != 0) {
        fail(u);
        return false;
    }
    return true;
}

/* Passes `count` bytes on as they are. Returns false when that failed, and everything has ended. */
static bool pass(ct__upstream *u, size_t count) {
    if (!tell(u, ct__bytes_front(&u->conn.in), count))
        return false;
    ct__bytes_skip(&u->conn.in, count);
    return true;
}

/* The same of a head behind which the connection ends though the server would keep it: the client must not send it another
 * request. */
static bool pass_last(ct__upstream *u, size_t count) {
    static const char end[] = "\r\n", last[] = "connection: close\r\n\r\n";
    if (!pass(u, count - (sizeof end - 1)) || !tell(u, last, sizeof last - 1))
        return false;
    ct__bytes_skip(&u->conn.in, sizeof end - 1);
    return true;
}

/* Reads heads until the final one. Returns whether it is there. */
static bool take_head(ct__upstream *u) {
    while (!u->has_head) {
        ct__http1_head head;
        const int result = ct__http1_answer(&u->scan, ct__bytes_front(&u->conn.in), u->conn.in.len, u->of_head, &head);
        if (result == CT_E_MORE)
            return false;
        if (result != 0 || (head.status == 101 && !u->is_upgrading)) {
            fail(u);
            return false;
        }
        u->scan = (ct__http1_scan){0};
        u->has_head = head.status >= 200;
        u->closes = head.closes;
        u->answer = ct__http1_body_of(&head);
        const bool is_last = u->has_head && u->is_upgrading && !u->closes;
        if (!(is_last ? pass_last : pass)(u, head.used))
            return false;
        if (head.status == 101) {
            u->is_tunnel = true;
            u->caller->phase = CT__TUNNELLING;
            return false;
        }
    }
    return true;
}

static void take_answer(ct__upstream *u) {
    if (!take_head(u))
        return;
    size_t count = 0;
    while (!ct__http1_body_done(&u->answer) && count < u->conn.in.len) {
        size_t used;
        ct__span data;
        if (ct__http1_body_next(&u->answer, ct__bytes_front(&u->conn.in) + count, u->conn.in.len - count, &used, &data) != 0) {
            fail(u);
            return;
        }
        count += used;
    }
    if (!pass(u, count))
        return;
    if (ct__http1_body_done(&u->answer))
        end_answer(u);
}

static void move(ct__conn *from, ct__conn *to) {
    if (from->in.len > 0 && ct__conn_write(to, ct__bytes_front(&from->in), from->in.len) == 0)
        ct__bytes_skip(&from->in, from->in.len);
    if (to->is_full || from->in.len > 0)
        ct__conn_pause(from);
}

static void received(ct__conn *conn) {
    ct__upstream *u = upstream_of(conn);
    ct__caller *c = u->caller;
    if (c == NULL) {
        ct__upstream_drop(u); /* it speaks without being asked */
        return;
    }
    if (!u->is_tunnel)
        take_answer(u);
    if (u->is_tunnel && u->caller != NULL) {
        move(conn, &c->conn);
        move(&c->conn, conn); /* what the client sent behind its request */
    } else if (u->caller != NULL && c->conn.is_full) {
        ct__conn_pause(conn);
    }
}

/* HTTP/2 ends as a whole: behind the server's last word nobody hears the client any more. */
static void end_tunnel(ct__caller *c, ct__conn *other) {
    if (c->upstream->conn.has_ended && (c->conn.has_ended || c->is_h2))
        ct__caller_finish(c);
    else
        ct__conn_finish(other);
}

static void ended(ct__conn *conn, int error) {
    ct__upstream *u = upstream_of(conn);
    if (u->caller == NULL) {
        ct__upstream_drop(u);
    } else if (u->is_tunnel && error == 0) {
        end_tunnel(u->caller, &u->caller->conn);
    } else if (error == 0 && u->has_head && u->answer.framing == CT__HTTP1_UNTIL_CLOSE) {
        end_answer(u);
    } else {
        fail(u);
    }
}

static void send_body(ct__caller *c);

static void drained(ct__conn *conn) {
    ct__upstream *u = upstream_of(conn);
    ct__caller *c = u->caller;
    if (c == NULL)
        return;
    ct__conn_resume(&c->conn);
    if (u->is_tunnel)
        move(&c->conn, conn);
    else
        send_body(c);
}

static const ct__conn_calls CALLS = {.received = received, .drained = drained, .ended = ended};

/* ---- from the client to the server ---- */

static bool is_proxys(ct__span name) {
    return ct__span_like(name, "forwarded") || ct__span_begins(name, "x-forwarded-");
}

/* Said anew by us, or nobody's to say. */
static bool is_ours(ct__span name) {
    return ct__span_like(name, "content-length") || ct__span_like(name, "transfer-encoding")
        || ct__span_begins(name, "constellation-");
}

static uint8_t *put(uint8_t *at, const void *data, size_t len) {
    memcpy(at, data, len);
    return at + len;
}

static uint8_t *put_text(uint8_t *at, const char *text) {
    return put(at, text, strlen(text));
}

static uint8_t *put_field(uint8_t *at, ct__span name, ct__span value) {
    at = put(at, name.at, name.len);
    at = put_text(at, ": ");
    at = put(at, value.at, value.len);
    return put_text(at, "\r\n");
}

static int send_head(ct__upstream *u, const ct__caller *c, const ct__http1_head *head) {
    /* A blank may be missing behind each colon of what came; the rest is ours. */
    uint8_t *const room = ct__conn_room(&u->conn, head->used + head->count + CT__PEER_BYTES + 256);
    if (room == NULL)
        return -ENOMEM;
    uint8_t *at = put(room, head->method.at, head->method.len);
    at = put_text(at, " ");
    at = put(at, head->target.at, head->target.len);
    at = put_text(at, head->minor == 0 ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
    bool is_direct = true;
    for (size_t i = 0; i < head->count; i++) {
        const ct__http1_field *field = &head->fields[i];
        is_direct &= !is_proxys(field->name) && !ct__span_like(field->name, "via");
        if (!is_ours(field->name) && (c->is_proxy || !is_proxys(field->name)))
            at = put_field(at, field->name, field->value);
    }
    if (head->framing == CT__HTTP1_CHUNKED) {
        at = put_text(at, "transfer-encoding: chunked\r\n");
    } else if (head->framing == CT__HTTP1_LENGTH) {
        char line[64];
        (void)snprintf(line, sizeof line, "content-length: %llu\r\n", (unsigned long long)head->length);
        at = put_text(at, line);
    }
    at = put_text(at, "constellation-peer: ");
    at = put(at, c->peer, c->peer_len);
    at = put_text(at, is_direct ? "direct\r\n\r\n" : "proxied\r\n\r\n");
    ct__conn_wrote(&u->conn, (size_t)(at - room));
    return 0;
}

static int send_piece(ct__conn *to, bool is_chunked, ct__span data) {
    if (!is_chunked)
        return ct__conn_write(to, data.at, data.len);
    char line[LINE_BYTES];
    const int len = snprintf(line, sizeof line, "%zx\r\n", data.len);
    const int result = ct__conn_write(to, line, (size_t)len);
    if (result != 0)
        return result;
    return ct__conn_write(to, data.at, data.len) != 0 ? -ENOMEM : ct__conn_write(to, "\r\n", 2);
}

/* Sends what is there of the request's body, as far as the server takes it. */
static void send_body(ct__caller *c) {
    ct__upstream *u = c->upstream;
    while (!ct__http1_body_done(&c->body) && c->conn.in.len > 0) {
        if (u->conn.is_full) {
            ct__conn_pause(&c->conn);
            return;
        }
        size_t used;
        ct__span data;
        const bool is_chunked = c->body.framing == CT__HTTP1_CHUNKED;
        int result = ct__http1_body_next(&c->body, ct__bytes_front(&c->conn.in), c->conn.in.len, &used, &data);
        if (result != 0) {
            give_up(u, CT_EDGE_MALFORMED); /* the server sees a body without its end */
            return;
        }
        if (data.len > 0)
            result = send_piece(&u->conn, is_chunked, data);
        if (result == 0 && is_chunked && ct__http1_body_done(&c->body))
            result = ct__conn_write(&u->conn, "0\r\n\r\n", 5);
        if (result != 0) {
            fail(u);
            return;
        }
        ct__bytes_skip(&c->conn.in, used);
    }
}

int ct__forward(ct__caller *c, const ct__http1_head *head) {
    ct_edge *edge = c->edge;
    int result = 0;
    ct__upstream *u = ct__upstream_rested(edge);
    if (u == NULL)
        u = ct__upstream_new(edge, edge->upstream_path, &CALLS, &result);
    if (u == NULL && result == -EAGAIN)
        return result;
    if (u == NULL || send_head(u, c, head) != 0) {
        if (u != NULL)
            ct__upstream_drop(u);
        ct__caller_refuse(c, CT_EDGE_UPSTREAM, false);
        return -EPIPE;
    }
    u->caller = c;
    u->of_head = ct__span_is(head->method, "HEAD");
    u->is_upgrading = head->upgrades;
    c->upstream = u;
    c->phase = CT__FORWARDING;
    c->patience_ns = 0;
    c->conn.in_limit = CT__IN_LIMIT_BYTES;
    c->body = ct__http1_body_of(head);
    c->out_seen = 0;
    edge->counts.forwarded++;
    ct__caller_deadline(c, ct__reactor_now_ns(edge->reactor) + CT__STALL_NS);
    ct__bytes_skip(&c->conn.in, head->used);
    send_body(c);
    return 0;
}

int ct__tunnel(ct__caller *c) {
    ct_edge *edge = c->edge;
    if (edge->counts.tunnels >= edge->tunnels_max)
        return CT_E_FULL;
    int result = 0;
    ct__upstream *u = ct__upstream_new(edge, edge->h2_path, &CALLS, &result);
    if (u == NULL)
        return result;
    uint8_t line[CT__PEER_BYTES];
    memcpy(line, c->peer, c->peer_len);
    line[c->peer_len - 1] = '\n';
    result = ct__conn_write(&u->conn, line, c->peer_len);
    if (result != 0) {
        ct__upstream_drop(u);
        return result;
    }
    u->is_tunnel = true;
    u->caller = c;
    c->upstream = u;
    c->phase = CT__TUNNELLING;
    c->is_h2 = true;
    c->is_answered = true; /* no refusal of ours can be said within it */
    c->patience_ns = 0;
    c->out_seen = 0;
    edge->counts.tunnels++;
    ct__caller_deadline(c, ct__reactor_now_ns(edge->reactor) + CT__STALL_NS);
    move(&c->conn, &u->conn);
    return 0;
}

void ct__forward_received(ct__caller *c) {
    if (c->upstream == NULL)
        return;
    if (c->phase == CT__TUNNELLING)
        move(&c->conn, &c->upstream->conn);
    else
        send_body(c);
}

void ct__forward_drained(ct__caller *c) {
    if (c->upstream == NULL)
        return;
    ct__conn_resume(&c->upstream->conn);
    if (c->phase == CT__TUNNELLING)
        move(&c->upstream->conn, &c->conn);
}

void ct__forward_ended(ct__caller *c) {
    end_tunnel(c, &c->upstream->conn);
}

void ct__forward_drop(ct__caller *c) {
    if (c->upstream != NULL)
        ct__upstream_drop(c->upstream);
}
