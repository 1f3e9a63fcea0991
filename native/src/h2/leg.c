#include "h2/leg.h"

#include <errno.h>
#include <string.h>

enum {
    FRAME_HEAD_BYTES = 9,
    LAST_ID = INT32_MAX - 4096 /* a connection is left before it runs out of ids */
};

/* What nghttp2 could not even queue would be waited for in vain. */
void ct__h2_said(ct__h2_wire *w, int result) {
    if (result == NGHTTP2_ERR_NOMEM)
        w->is_doomed = true;
    ct__task_defer(w->conn.reactor, &w->pull);
}

void ct__h2_leg_attach(ct__h2_leg *leg, ct__h2_wire *w, int32_t id) {
    leg->wire = w;
    leg->id = id;
    leg->next = w->legs;
    leg->link = &w->legs;
    if (w->legs != NULL)
        w->legs->link = &leg->next;
    w->legs = leg;
    w->leg_count++;
}

void ct__h2_leg_detach(ct__h2_leg *leg) {
    ct__h2_wire *w = leg->wire;
    if (leg->link == NULL)
        return;
    *leg->link = leg->next;
    if (leg->next != NULL)
        leg->next->link = leg->link;
    leg->link = NULL;
    leg->wire = NULL;
    w->leg_count--;
    if (w->heading == leg)
        w->heading = NULL;
    if (w->leg_count == 0) {
        w->rested_ns = ct__reactor_now_ns(w->conn.reactor);
        ct__task_defer(w->conn.reactor, &w->pull); /* where `rested` is called */
    }
}

void ct__h2_leg_close(ct__h2_leg *leg, uint32_t code) {
    ct__h2_wire *w = leg->wire;
    ct__h2_leg_detach(leg);
    w->calls->closed(w, leg, code);
}

ct__h2_leg *ct__h2_leg_at(ct__h2_wire *w, int32_t id) {
    return id == 0 ? NULL : nghttp2_session_get_stream_user_data(w->session, id);
}

void ct__h2_leg_drop(ct__h2_leg *leg) {
    if (leg->wire == NULL)
        return;
    if (!leg->wire->is_over)
        (void)nghttp2_session_set_stream_user_data(leg->wire->session, leg->id, NULL);
    ct__h2_leg_detach(leg);
}

int ct__h2_pack(ct__bytes *block, const uint8_t *name, size_t name_len, const uint8_t *value, size_t value_len) {
    const uint32_t lens[2] = {(uint32_t)name_len, (uint32_t)value_len};
    uint8_t *room = ct__bytes_room(block, sizeof lens + name_len + value_len);
    if (room == NULL)
        return -ENOMEM;
    memcpy(room, lens, sizeof lens);
    memcpy(room + sizeof lens, name, name_len);
    if (value_len > 0)
        memcpy(room + sizeof lens + name_len, value, value_len);
    ct__bytes_grow(block, sizeof lens + name_len + value_len);
    return 0;
}

size_t ct__h2_unpack(const ct__bytes *block, nghttp2_nv out[CT__H2_FIELDS_MAX]) {
    size_t count = 0;
    uint8_t *at = ct__bytes_front(block);
    for (size_t left = block->len; left > 0 && count < CT__H2_FIELDS_MAX; count++) {
        uint32_t lens[2];
        memcpy(lens, at, sizeof lens);
        const size_t all = sizeof lens + lens[0] + lens[1];
        out[count] = (nghttp2_nv){
            .name = at + sizeof lens, .value = at + sizeof lens + lens[0], .namelen = lens[0], .valuelen = lens[1]};
        at += all;
        left -= all;
    }
    return count;
}

static ssize_t read_data(nghttp2_session *session, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
                         nghttp2_data_source *source, void *user) {
    (void)buf, (void)user;
    ct__h2_leg *leg = source->ptr;
    if (leg == NULL || ct__h2_leg_at(user, id) != leg)
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* dropped: its stream is being reset */
    if (leg->out.len == 0 && !leg->is_last) {
        leg->is_waiting = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (leg->out.len > length)
        return (ssize_t)length;
    if (leg->is_last) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (leg->is_fine || leg->trailer.len > 0) {
            nghttp2_nv pairs[CT__H2_FIELDS_MAX] = {CT__H2_NV("grpc-status", "0")};
            const size_t count = leg->is_fine ? 1 : ct__h2_unpack(&leg->trailer, pairs);
            const int result = nghttp2_submit_trailer(session, id, pairs, count);
            if (result == NGHTTP2_ERR_NOMEM)
                return NGHTTP2_ERR_CALLBACK_FAILURE;
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
        }
    }
    return (ssize_t)leg->out.len;
}

int ct__h2_leg_send_data(nghttp2_session *session, nghttp2_frame *frame, const uint8_t *head, size_t length,
                     nghttp2_data_source *source, void *user) {
    (void)session, (void)frame;
    ct__h2_wire *w = user;
    ct__h2_leg *leg = source->ptr;
    uint8_t *room = ct__conn_room(&w->conn, FRAME_HEAD_BYTES + length);
    if (room == NULL)
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    memcpy(room, head, FRAME_HEAD_BYTES);
    if (length > 0)
        memcpy(room + FRAME_HEAD_BYTES, ct__bytes_front(&leg->out), length);
    ct__conn_wrote(&w->conn, FRAME_HEAD_BYTES + length);
    w->pulled_bytes += FRAME_HEAD_BYTES + length;
    if (length > 0) {
        ct__bytes_skip(&leg->out, length);
        if (w->calls->sent != NULL)
            w->calls->sent(leg, length);
    }
    return 0;
}

int ct__h2_error_of(ssize_t result) {
    return result == NGHTTP2_ERR_NOMEM ? -ENOMEM : -EPROTO;
}

int ct__h2_leg_request(ct__h2_leg *leg, ct__h2_wire *w, const nghttp2_nv *pairs, size_t count) {
    if (w->is_over || w->is_leaving)
        return -EPIPE;
    const nghttp2_data_provider body = {.source = {.ptr = leg}, .read_callback = read_data};
    const bool has_body = !leg->is_last || leg->out.len > 0;
    const int32_t id = nghttp2_submit_request(w->session, NULL, pairs, count, has_body ? &body : NULL, leg);
    if (id < 0)
        return ct__h2_error_of(id);
    if (id > LAST_ID)
        w->is_leaving = true; /* its last stream */
    ct__h2_leg_attach(leg, w, id);
    ct__task_defer(w->conn.reactor, &w->pull);
    return 0;
}

int ct__h2_leg_respond(ct__h2_leg *leg, const nghttp2_nv *pairs, size_t count, bool has_body) {
    ct__h2_wire *w = leg->wire;
    if (w == NULL || w->is_over)
        return -EPIPE;
    const nghttp2_data_provider body = {.source = {.ptr = leg}, .read_callback = read_data};
    const int result = nghttp2_submit_response(w->session, leg->id, pairs, count, has_body ? &body : NULL);
    ct__task_defer(w->conn.reactor, &w->pull);
    return result < 0 ? ct__h2_error_of(result) : 0;
}

void ct__h2_leg_go(ct__h2_leg *leg) {
    if (leg->wire == NULL || leg->wire->is_over || !leg->is_waiting || (leg->out.len == 0 && !leg->is_last))
        return;
    leg->is_waiting = false;
    ct__h2_said(leg->wire, nghttp2_session_resume_data(leg->wire->session, leg->id));
}

void ct__h2_leg_reset(ct__h2_leg *leg, uint32_t code) {
    if (leg->wire == NULL || leg->wire->is_over)
        return;
    ct__h2_said(leg->wire, nghttp2_submit_rst_stream(leg->wire->session, NGHTTP2_FLAG_NONE, leg->id, code));
}

void ct__h2_leg_consume(ct__h2_leg *leg, size_t len) {
    if (leg->wire == NULL || leg->wire->is_over)
        return;
    ct__h2_said(leg->wire, nghttp2_session_consume_stream(leg->wire->session, leg->id, len));
}

void ct__h2_leg_widen(ct__h2_leg *leg, int32_t bytes) {
    if (leg->wire == NULL || leg->wire->is_over)
        return;
    ct__h2_said(leg->wire, nghttp2_session_set_local_window_size(leg->wire->session, NGHTTP2_FLAG_NONE, leg->id, bytes));
}

void ct__h2_wire_consume(ct__h2_wire *w, size_t len) {
    if (w->is_over)
        return;
    ct__h2_said(w, nghttp2_session_consume_connection(w->session, len));
}
