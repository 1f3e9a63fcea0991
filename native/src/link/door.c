/* Calls that Python makes on a link: their ends and pieces go up as events. */

#include "base/err.h"
#include "link/link.h"
#include "reactor/bytes.h"

#include <stdlib.h>
#include <string.h>

/* Chosen: a fast guest stays a few socket buffers ahead of a slow reader, no more. */
enum { STREAM_HIGH_BYTES = 256 << 10, STREAM_LOW_BYTES = 64 << 10 };

typedef struct door_call {
    ct__link_call call;
    ct__bytes pieces; /* each with its length (uint32_t) before it */
    size_t lent;      /* of the front: Python has seen it */
    bool is_told;     /* a CT_LINK_PIECE is on its way or was heard */
    bool is_holding;
} door_call;

static void let_go(ct_link *link, door_call *c) {
    if (!c->is_holding)
        return;
    c->is_holding = false;
    ct__link_release(link);
}

static void free_call(door_call *c) {
    ct__bytes_free(&c->pieces);
    free(c);
}



static int piece(ct__link_call *call, const uint8_t *data, size_t len) {
    door_call *c = (door_call *)call;
    const uint32_t size = (uint32_t)len;
    uint8_t *room = ct__bytes_room(&c->pieces, sizeof size + len);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, &size, sizeof size);
    memcpy(room + sizeof size, data, len);
    ct__bytes_grow(&c->pieces, sizeof size + len);
    if (c->pieces.len >= STREAM_HIGH_BYTES && !c->is_holding) {
        c->is_holding = true;
        ct__link_hold(call->link);
    }
    if (c->is_told)
        return 0;
    const ct_event event = {.kind = CT_LINK_PIECE, .target = ct_link_handle(call->link), .subject = call->id};
    const int result = ct__emit(ct__link_reactor(call->link), &event);
    c->is_told = result == 0;
    return result;
}

static void done(ct__link_call *call, const ct__link_end *end, ct_link *link) {
    door_call *c = (door_call *)call;
    ct__bytes_skip(&c->pieces, c->lent);
    const ct_link_answer answer = {
        .duration_ns = end->duration_ns, .log_len = (uint32_t)end->log_len, .body_len = (uint32_t)end->len};
    ct_event event = {.kind = CT_LINK_ENDED,
                      .target = ct_link_handle(link),
                      .subject = call->id,
                      .number = end->kind,
                      .flags = end->is_log_cut ? 1 : 0};
    event.data = malloc(sizeof answer + end->log_len + end->len + c->pieces.len);
    if (event.data != NULL) {
        uint8_t *at = event.data;
        memcpy(at, &answer, sizeof answer);
        at += sizeof answer;
        if (end->log_len > 0)
            memcpy(at, end->log, end->log_len);
        at += end->log_len;
        if (end->len > 0)
            memcpy(at, end->body, end->len);
        at += end->len;
        if (c->pieces.len > 0)
            memcpy(at, ct__bytes_front(&c->pieces), c->pieces.len);
        event.len = (size_t)(at - event.data) + c->pieces.len;
    }
    ct__emit_reserved(ct__link_reactor(link), &event);
    let_go(link, c);
    free_call(c);
}

int64_t ct_link_call(ct_link *link, const uint8_t *request_id, const uint8_t *trace_id, const uint8_t *span_id,
                     const uint8_t *payload, size_t len, uint64_t timeout_ns, int is_stream) {
    ct_reactor *reactor = ct__link_reactor(link);
    int result = ct__emit_reserve(reactor, 1); /* for its end */
    if (result < 0)
        return result;
    door_call *c = calloc(1, sizeof *c);
    const ct__exec exec = {.request_id = request_id,
                           .trace_id = trace_id,
                           .span_id = span_id,
                           .payload = payload,
                           .len = len,
                           .timeout_ns = timeout_ns};
    result = -ENOMEM;
    if (c != NULL) {
        c->call.done = done;
        c->call.piece = is_stream != 0 ? piece : NULL;
        result = ct__link_begin(link, &c->call, &exec);
    }
    if (result < 0) {
        ct__emit_give_back(reactor, 1);
        free(c);
        return result;
    }
    return c->call.id;
}

static door_call *find(const ct_link *link, uint32_t call_id) {
    ct__link_call *call = ct__link_find(link, call_id);
    return call != NULL && call->done == done ? (door_call *)call : NULL;
}

size_t ct_link_take(ct_link *link, uint32_t call_id, const uint8_t **out) {
    door_call *c = find(link, call_id);
    if (c == NULL)
        return 0;
    ct__bytes_skip(&c->pieces, c->lent);
    c->lent = 0;
    if (c->pieces.len <= STREAM_LOW_BYTES) {
        let_go(link, c);
        c = find(link, call_id); /* it may have ended by what was read; the rest came with its end then */
    }
    if (c == NULL)
        return 0;
    if (c->pieces.len == 0) {
        c->is_told = false;
        return 0;
    }
    uint32_t size = 0;
    memcpy(&size, ct__bytes_front(&c->pieces), sizeof size);
    *out = ct__bytes_front(&c->pieces) + sizeof size;
    c->lent = sizeof size + size;
    return size;
}

int ct_link_cancel(ct_link *link, uint32_t call_id) {
    door_call *c = find(link, call_id);
    if (c == NULL)
        return 0;
    ct__link_give_up(&c->call, false);
    ct__emit_give_back(ct__link_reactor(link), 1);
    let_go(link, c);
    free_call(c);
    return 1;
}
