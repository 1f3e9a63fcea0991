/* What the server says by itself, and for its owner. */
#include "base/cursor.h"
#include "h2/stream.h"
#include "h2/text.h"

#include <errno.h>
#include <string.h>

enum {
    RESOURCE_EXHAUSTED = 8,
    MESSAGE_MAX = 1024,  /* of a status; what is longer is cut */
    PROBLEM_MAX = 16384, /* chosen: half of what a client takes as headers */
    STATUS_DIGITS = 10,
    SAID_MOST_BYTES = 256 << 10, /* chosen: of one answer that waits for its client; less of each, the more wait ... */
    SAID_LEAST_BYTES = 32 << 10,
    SHARES = 1024                /* ... by this part of what may still be held */
};

static const nghttp2_nv FINE[] = {CT__H2_NV(":status", "200"), CT__H2_NV("content-type", "application/grpc")};

static void begin_answering(ct__h2_served *s) {
    ct__h2_line_leave(s);
    s->state = CT__H2_ENDING;
}

/* An answer may be made of what the request held, so that goes last. */
static void drop_body(ct__h2_served *s) {
    ct__h2_unhold(s, s->body.len);
    ct__bytes_skip(&s->body, s->body.len);
}

/* The trailer of an answer that has begun. */
static int end_with(ct__h2_served *s, const nghttp2_nv *pairs, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (ct__h2_pack(&s->leg.trailer, pairs[i].name, pairs[i].namelen, pairs[i].value, pairs[i].valuelen) < 0)
            return -ENOMEM;
    s->leg.is_last = true;
    ct__h2_leg_go(&s->leg);
    return 0;
}

static int refuse(ct__h2_served *s, uint32_t status, ct__h2_span message, ct__h2_span problem) {
    begin_answering(s);
    ct__bytes *scratch = &s->server->scratch;
    ct__bytes_skip(scratch, scratch->len);
    message.len = message.len < MESSAGE_MAX ? message.len : MESSAGE_MAX;
    problem.len = problem.len < PROBLEM_MAX ? problem.len : 0;
    uint8_t *text = ct__bytes_room(scratch, STATUS_DIGITS + 3 * message.len + 2 * problem.len + 4);
    if (text == NULL) {
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
        return -ENOMEM;
    }
    uint8_t *digits = text, *coded = text + STATUS_DIGITS, *binary = coded + 3 * message.len;
    size_t digit = STATUS_DIGITS;
    for (uint32_t rest = status; digit == STATUS_DIGITS || rest > 0; rest /= 10)
        digits[--digit] = (uint8_t)('0' + rest % 10);
    nghttp2_nv pairs[] = {
        CT__H2_NV(":status", "200"),  CT__H2_NV("content-type", "application/grpc"), CT__H2_NV("grpc-status", ""),
        CT__H2_NV("grpc-message", ""), CT__H2_NV("nova-problem-bin", "")};
    pairs[2].value = digits + digit;
    pairs[2].valuelen = STATUS_DIGITS - digit;
    pairs[3].value = coded;
    pairs[3].valuelen = ct__h2_percent_put(coded, message);
    pairs[4].value = binary;
    pairs[4].valuelen = ct__h2_base64_put(binary, problem);
    for (size_t i = 2; i < 5; i++)
        pairs[i].flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | (i > 2 ? NGHTTP2_NV_FLAG_NO_INDEX : 0);
    const size_t count = problem.len > 0 ? 5 : 4;
    const int result = s->has_begun ? end_with(s, pairs + 2, count - 2) : ct__h2_leg_respond(&s->leg, pairs, count, false);
    drop_body(s);
    if (result < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
    return result;
}

void ct__h2_turn_away(ct__h2_served *s, uint32_t status, const char *message) {
    (void)refuse(s, status, ct__h2_text(message), (ct__h2_span){0});
}

int ct__h2_own(ct__h2_server *server, ct__h2_stream stream, void *owner) {
    ct__h2_served *s = ct__h2_asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    s->owner = owner;
    return 0;
}

/* Adds a message to what waits for the client, if it may be held. */
static bool add_message(ct__h2_served *s, const ct__h2_span *pieces, size_t count) {
    const ct__h2_server *server = s->server;
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += pieces[i].len;
    uint8_t *room = len <= UINT32_MAX && server->counts.held_bytes - s->body.len + len <= server->limits.held_bytes
                        ? ct__bytes_room(&s->leg.out, CT__H2_PREFIX_BYTES + len)
                        : NULL;
    if (room == NULL)
        return false;
    room[0] = 0;
    ct__be32_put(room + 1, (uint32_t)len);
    size_t at = CT__H2_PREFIX_BYTES;
    for (size_t i = 0; i < count; at += pieces[i].len, i++)
        if (pieces[i].len > 0)
            memcpy(room + at, pieces[i].data, pieces[i].len);
    ct__bytes_grow(&s->leg.out, at);
    drop_body(s);
    ct__h2_hold(s, at);
    return true;
}

/* Sends what was added, behind the answer's head. */
static int go(ct__h2_served *s) {
    int result = 0;
    if (s->has_begun)
        ct__h2_leg_go(&s->leg);
    else
        result = ct__h2_leg_respond(&s->leg, FINE, sizeof FINE / sizeof *FINE, true);
    s->has_begun = true;
    if (result < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
    return result;
}

static bool presses(const ct__h2_served *s) {
    const size_t held = s->server->counts.held_bytes, limit = s->server->limits.held_bytes;
    const size_t share = held < limit ? (limit - held) / SHARES : 0;
    const size_t most = share > SAID_MOST_BYTES ? SAID_MOST_BYTES : share;
    return s->leg.out.len >= (most < SAID_LEAST_BYTES ? SAID_LEAST_BYTES : most);
}

int ct__h2_say(ct__h2_server *server, ct__h2_stream stream, const ct__h2_span *pieces, size_t count) {
    ct__h2_served *s = ct__h2_asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    if (!add_message(s, pieces, count)) {
        ct__h2_turn_away(s, RESOURCE_EXHAUSTED, "too many answers wait for their clients");
        return -ENOMEM;
    }
    ct__bytes_keep(&s->leg.out, CT__BUSY_BYTES);
    if (go(s) < 0) {
        s->state = CT__H2_ENDING;
        return -ENOMEM;
    }
    s->is_pressed = presses(s);
    return s->is_pressed ? 1 : 0;
}

int ct__h2_answer(ct__h2_server *server, ct__h2_stream stream, const ct__h2_span *pieces, size_t count) {
    ct__h2_served *s = ct__h2_asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    begin_answering(s);
    if (!add_message(s, pieces, count)) {
        ct__h2_turn_away(s, RESOURCE_EXHAUSTED, "too many answers wait for their clients");
        return -ENOMEM;
    }
    s->leg.is_last = s->leg.is_fine = true;
    return go(s);
}

int ct__h2_refuse(ct__h2_server *server, ct__h2_stream stream, uint32_t status, ct__h2_span message, ct__h2_span problem) {
    ct__h2_served *s = ct__h2_asked(server, stream);
    return s == NULL ? -ESTALE : refuse(s, status, message, problem);
}

int ct__h2_forward(ct__h2_server *server, ct__h2_stream stream) {
    ct__h2_served *s = ct__h2_asked(server, stream);
    if (s == NULL || s->has_begun)
        return -ESTALE;
    ct__h2_pass(s);
    return 0;
}

/* ---- who speaks no gRPC ---- */

static bool has_method(const ct__h2_served *s, const char *method) {
    for (size_t i = 0; i < s->field_count; i++) {
        const nghttp2_vec n = nghttp2_rcbuf_get_buf(s->fields[i].name), v = nghttp2_rcbuf_get_buf(s->fields[i].value);
        if (n.len == 7 && memcmp(n.base, ":method", 7) == 0)
            return v.len == strlen(method) && memcmp(v.base, method, v.len) == 0;
    }
    return false;
}

void ct__h2_tell_stranger(ct__h2_served *s) {
    static const char text[] = "This port speaks gRPC only.\n";
    static const nghttp2_nv pairs[] = {CT__H2_NV(":status", "415"), CT__H2_NV("content-type", "text/plain")};
    begin_answering(s);
    const bool has_body = !has_method(s, "HEAD") && ct__bytes_add(&s->leg.out, text, sizeof text - 1) == 0;
    ct__h2_hold(s, s->leg.out.len);
    s->leg.is_last = true;
    if (ct__h2_leg_respond(&s->leg, pairs, 2, has_body) < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
}
