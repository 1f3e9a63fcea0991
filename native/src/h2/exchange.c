#include "h2/exchange.h"

#include "base/cursor.h"
#include "h2/text.h"

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
    KEPT_MAX = 512, /* calls at rest */
    /* Chosen: an answer whose owner takes it as it comes may have so much under way, that it does not wait for our word; but not more answers
     * at a time than these, as who takes all at first may well stop. */
    WIDE_BYTES = 2 << 20,
    WIDE_AFTER_BYTES = 8 << 20,
    WIDE_MAX = 128,
    HTTP_OK = 200
};

typedef ct__h2_exchange exchange;

static exchange *exchange_of(ct__h2_leg *leg) {
    return (exchange *)((char *)leg - offsetof(exchange, leg));
}

void ct__h2_exchange_free(exchange *x) {
    ct__bytes_free(&x->leg.out);
    ct__bytes_free(&x->body);
    ct__bytes_free(&x->message);
    ct__bytes_free(&x->problem);
    free(x);
}

static void leave_waiting(exchange *x) {
    *x->link = x->next;
    if (x->next != NULL)
        x->next->link = x->link;
    x->link = NULL;
    x->next = NULL;
}

static void join_waiting(exchange *x) {
    ct__h2_client *client = x->client;
    x->next = client->waiting;
    x->link = &client->waiting;
    if (x->next != NULL)
        x->next->link = &x->next;
    client->waiting = x;
}

void ct__h2_exchange_rest(exchange *x) {
    if (x->is_giving)
        return; /* whoever gives its pieces does this */
    ct__h2_client *client = x->client;
    client->held_bytes -= x->is_in_pieces ? 0 : x->body.len;
    client->calls--;
    client->wide_count -= x->is_wide ? 1 : 0;
    if (x->link != NULL)
        leave_waiting(x);
    if (client->kept_count >= KEPT_MAX) {
        ct__h2_exchange_free(x);
        return;
    }
    ct__bytes *const parts[] = {&x->leg.out, &x->body, &x->message, &x->problem};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        ct__bytes_skip(parts[i], parts[i]->len);
    ct__bytes_keep(&x->body, 0);
    *x = (exchange){.leg = {.out = x->leg.out}, .body = x->body, .message = x->message, .problem = x->problem,
                    .client = client, .next = client->kept};
    client->kept = x;
    client->kept_count++;
}

static void overdue(ct__alarm *alarm);

ct__h2_exchange *ct__h2_exchange_new(ct__h2_client *client) {
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

void ct__h2_exchange_part(exchange *x) {
    ct__alarm_clear(x->client->reactor, &x->deadline);
    ct__h2_leg_drop(&x->leg);
    x->call->exchange = NULL;
    x->call = NULL;
}

static void finish(exchange *x, const ct__h2_reply *reply) {
    ct__h2_call *call = x->call;
    ct__h2_exchange_part(x);
    call->done(call, reply);
    ct__h2_exchange_rest(x);
}

static void fail(exchange *x, uint32_t status, bool may_have_begun, const char *why) {
    finish(x, &(ct__h2_reply){.status = status, .may_have_begun = may_have_begun,
                              .message = {(const uint8_t *)why, strlen(why)}});
}

static void overdue(ct__alarm *alarm) {
    exchange *x = (exchange *)((char *)alarm - offsetof(exchange, deadline));
    const bool may_have_begun = x->is_over || (x->leg.has_sent && !x->leg.wire->conn.is_connecting);
    ct__h2_leg_reset(&x->leg, NGHTTP2_CANCEL);
    fail(x, DEADLINE_EXCEEDED, may_have_begun, "no answer in time");
}

/* ---- what comes back ---- */

void ct__h2_reply_field(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
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

void ct__h2_reply_headed(ct__h2_leg *leg) {
    exchange *x = exchange_of(leg);
    if (!x->is_broken)
        return;
    ct__h2_leg_reset(leg, NGHTTP2_CANCEL);
    fail(x, INTERNAL, true, "the answer's metadata is too large, or encoded");
}

static void fail_by(exchange *x, uint32_t status, const char *why) {
    ct__h2_leg_reset(&x->leg, NGHTTP2_CANCEL);
    fail(x, status, true, why);
}

static void give_back(exchange *x, size_t len) {
    x->debt -= len;
    if (len > 0)
        ct__h2_leg_consume(&x->leg, len);
}

enum given { GIVEN, NONE, GONE };

/* Gives the owner the next whole message, if there is one. GONE: the exchange is at rest. */
static enum given give_piece(exchange *x) {
    const uint8_t *at = ct__bytes_front(&x->body);
    if (x->body.len < CT__H2_PREFIX_BYTES)
        return NONE;
    const size_t len = ct__be32(at + 1);
    if (at[0] != 0 || len > x->client->limits.message_bytes) {
        fail_by(x, at[0] != 0 ? INTERNAL : RESOURCE_EXHAUSTED, at[0] != 0 ? "the answer is encoded" : "a message is too large");
        return GONE;
    }
    if (x->body.len - CT__H2_PREFIX_BYTES < len)
        return NONE;
    x->is_giving = true;
    x->call->piece(x->call, (ct__h2_span){at + CT__H2_PREFIX_BYTES, len});
    x->is_giving = false;
    if (x->call == NULL) { /* given up meanwhile */
        ct__h2_exchange_rest(x);
        return GONE;
    }
    ct__bytes_skip(&x->body, CT__H2_PREFIX_BYTES + len);
    return GIVEN;
}

/* The owner keeps up. */
static void widen(exchange *x) {
    ct__h2_client *client = x->client;
    x->passed += x->debt;
    if (x->is_wide || x->passed < WIDE_AFTER_BYTES || client->wide_count >= WIDE_MAX || x->leg.wire == NULL)
        return;
    x->is_wide = true;
    client->wide_count++;
    ct__h2_leg_widen(&x->leg, WIDE_BYTES);
}

static void conclude(exchange *x);

void ct__h2_exchange_go_on(exchange *x) {
    enum given given = GIVEN;
    while (!x->is_held && (given = give_piece(x)) == GIVEN)
        ;
    if (given == GONE)
        return;
    if (x->is_held) { /* what waits is owed still */
        give_back(x, x->debt > x->body.len ? x->debt - x->body.len : 0);
        if (x->is_over && x->link == NULL)
            join_waiting(x);
        return;
    }
    widen(x);
    give_back(x, x->debt); /* of a message that is not whole too: one larger than the window would never be */
    if (x->is_over)
        conclude(x);
}

void ct__h2_exchange_lose(exchange *x) {
    fail(x, UNAVAILABLE, true, "the client is closed");
}

void ct__h2_reply_data(ct__h2_leg *leg, const uint8_t *bytes, size_t len) {
    exchange *x = exchange_of(leg);
    ct__h2_client *client = x->client;
    ct__h2_wire_consume(leg->wire, len); /* at once, so that one slow call does not stop its neighbours */
    if (x->is_in_pieces) {
        x->debt += len; /* the window is the bound of what waits here */
        if (ct__bytes_add(&x->body, bytes, len) < 0)
            fail_by(x, RESOURCE_EXHAUSTED, "no memory for the answer");
        else if (!x->is_held)
            ct__h2_exchange_go_on(x);
        return;
    }
    ct__h2_leg_consume(leg, len);
    if (x->body.len + len > client->limits.message_bytes + CT__H2_PREFIX_BYTES ||
        client->held_bytes + len > client->limits.held_bytes || ct__bytes_add(&x->body, bytes, len) < 0) {
        fail_by(x, RESOURCE_EXHAUSTED, "the answer is too large");
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

void ct__h2_reply_ended(ct__h2_leg *leg) {
    exchange *x = exchange_of(leg);
    if (!leg->has_sent)
        ct__h2_leg_reset(leg, NGHTTP2_NO_ERROR);
    x->is_over = true;
    if (x->is_in_pieces)
        ct__h2_exchange_go_on(x);
    else
        conclude(x);
}

static void conclude(exchange *x) {
    if (x->http_status != HTTP_OK || !x->has_status || x->status == UINT32_MAX) {
        fail(x, x->http_status != HTTP_OK ? status_of_http(x->http_status) : UNKNOWN, true, "an answer without a gRPC status");
        return;
    }
    ct__h2_reply reply = {.status = x->status,
                          .is_answered = true,
                          .may_have_begun = true,
                          .message = decoded(&x->message, ct__h2_percent_get),
                          .problem = decoded(&x->problem, ct__h2_base64_get)};
    if (x->status == 0 && x->is_in_pieces && x->body.len > 0) {
        fail(x, INTERNAL, true, "the answer ends within a message");
        return;
    }
    if (x->status == 0 && !x->is_in_pieces) {
        const ptrdiff_t len = ct__h2_message_len(ct__bytes_front(&x->body), x->body.len);
        if (len < 0) {
            fail(x, INTERNAL, true, "the answer is not one gRPC message");
            return;
        }
        reply.body = (ct__h2_span){ct__bytes_front(&x->body) + CT__H2_PREFIX_BYTES, (size_t)len};
    }
    finish(x, &reply);
}

void ct__h2_reply_closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code) {
    exchange *x = exchange_of(leg);
    if (x->is_over)
        return; /* it waits for its owner */
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
