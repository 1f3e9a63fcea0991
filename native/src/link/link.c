#include "link/state.h"

#include "base/err.h"

#include <string.h>

enum { EXEC_STREAM = 1 /* a flag of the exec head */ };

void ct__link_close(ct_link *l) {
    ct__conn_close(&l->conn);
    if (l->mail != NULL) {
        ct__watch_drop(l->reactor, &l->bell);
        ct__mail_farewell(l->mail);
    }
}

void ct__link_hang_up(ct_link *l, uint32_t cause, uint64_t about, int status) {
    if (l->has_hung_up)
        return;
    l->has_hung_up = true;
    ct__link_close(l);
    const ct_event event = {
        .kind = CT_LINK_HUNG_UP, .target = l->handle, .subject = about, .number = cause, .status = status};
    ct__emit_reserved(l->reactor, &event);
}

/* ---- frames out ---- */

static uint8_t *frame_room(ct_link *l, size_t body_len) {
    return ct__conn_room(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
}

/* What is in its room goes out; on the page at once, and the room is as free as before. */
static void frame_wrote(ct_link *l, const uint8_t *room, size_t body_len) {
    if (l->mail != NULL && ct__mail_put(l->mail, room, CT_FRAME_HEADER_BYTES + body_len))
        return;
    if (ct__reactor_is_turning(l->reactor))
        ct__conn_wrote(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
    else
        ct__conn_wrote_now(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
}

int ct__link_send(ct_link *l, uint8_t kind, uint32_t call_id, const uint8_t *body, size_t len) {
    if (l->has_hung_up)
        return 0; /* its end is on its way */
    uint8_t *room = frame_room(l, len);
    if (room == NULL)
        return -ENOMEM;
    const int result = ct_frame_put(room, kind, 0, call_id, len);
    if (result < 0)
        return result;
    if (len > 0)
        memcpy(room + CT_FRAME_HEADER_BYTES, body, len);
    frame_wrote(l, room, len);
    return 0;
}

/* ---- how a call ends ---- */

void ct__link_deliver(ct_link *l, ct__link_call *call, uint32_t kind, const uint8_t *body, size_t len) {
    ct__alarm_clear(l->reactor, &call->overdue);
    ct__log log = call->log;
    call->log = (ct__log){0};
    call->link = NULL;
    const ct__link_end end = {.kind = kind,
                              .is_log_cut = log.is_cut,
                              .body = body,
                              .len = len,
                              .log = log.base,
                              .log_len = log.len,
                              .duration_ns = ct__reactor_now_ns(l->reactor) - call->started_ns};
    call->done(call, &end, l);
    ct__log_free(&log);
}

/* The worker has the call still: its seat is kept until the frame arrives that ends it. */
static void vacate(ct_link *l, ct__seat *seat, bool tells) {
    seat->call = NULL;
    if (l->settings.is_alone == 0)
        (void)ct__link_send(l, CT_FRAME_CANCEL, seat->id, NULL, 0); /* without memory for it the worker works in vain */
    if (!tells) {
        ct__emit_give_back(l->reactor, 1);
        return;
    }
    const ct_event event = {.kind = CT_LINK_GIVEN_UP, .target = l->handle, .subject = seat->id};
    ct__emit_reserved(l->reactor, &event);
}

static void overdue(ct__alarm *alarm) {
    ct__link_call *call = (ct__link_call *)((char *)alarm - offsetof(ct__link_call, overdue));
    ct_link *l = call->link;
    ct__stdio_finish(&l->stdio);
    vacate(l, ct__calls_find(&l->calls, call->id), true);
    ct__link_deliver(l, call, CT_END_TIMEOUT, NULL, 0);
}

/* ---- calls ---- */

static int put_exec(ct_link *l, const ct__link_call *call, const ct__exec *exec) {
    if (l->has_hung_up)
        return 0;
    const size_t body_len = CT_EXEC_HEAD_BYTES + exec->len;
    uint8_t *room = frame_room(l, body_len);
    if (room == NULL)
        return -ENOMEM;
    const uint64_t remaining_ms = exec->timeout_ns / 1000000;
    ct_exec_head head = {.remaining_ms = remaining_ms < UINT32_MAX ? (uint32_t)remaining_ms : UINT32_MAX,
                         .flags = call->piece != NULL ? EXEC_STREAM : 0};
    memcpy(head.request_id, exec->request_id, sizeof head.request_id);
    if (exec->trace_id != NULL)
        memcpy(head.trace_id, exec->trace_id, sizeof head.trace_id);
    if (exec->span_id != NULL)
        memcpy(head.span_id, exec->span_id, sizeof head.span_id);
    (void)ct_frame_put(room, CT_FRAME_EXEC, 0, call->id, body_len); /* the payload's bound is below its own */
    ct_exec_head_put(room + CT_FRAME_HEADER_BYTES, &head);
    if (exec->len > 0)
        memcpy(room + CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES, exec->payload, exec->len);
    frame_wrote(l, room, body_len);
    return 0;
}

/* The worker gives what no call prints as much anew as each call's own log. */
static void allow_chatter(ct_link *l) {
    const int64_t share = 2 * (int64_t)l->settings.log_limit;
    const int64_t most = CT__CHATTER_BYTES + share * (CT__CHATTER_CALLS + (int64_t)l->calls.count);
    l->chatter_bytes = l->chatter_bytes + share < most ? l->chatter_bytes + share : most;
}

int ct__link_begin(ct_link *l, ct__link_call *call, const ct__exec *exec) {
    if (l->has_ended)
        return -ENOTCONN;
    if (exec->len > CT_LINK_PAYLOAD_MAX)
        return -EMSGSIZE;
    uint32_t id = l->last_id;
    do
        id = id == UINT32_MAX ? 1 : id + 1;
    while (ct__calls_find(&l->calls, id) != NULL);
    const uint64_t now_ns = ct__reactor_now_ns(l->reactor);
    const uint64_t most_ns = UINT64_MAX - now_ns;
    *call = (ct__link_call){.done = call->done,
                       .piece = call->piece,
                       .id = id,
                       .origin = exec->origin,
                       .started_ns = now_ns,
                       .overdue = {.due = overdue},
                       .log = {.limit = l->settings.log_limit}};
    int result = ct__emit_reserve(l->reactor, 1);
    if (result < 0)
        return result;
    result = ct__calls_put(&l->calls, id, call->piece != NULL, call);
    if (result == 0) {
        result = ct__alarm_set(l->reactor, &call->overdue,
                               now_ns + (exec->timeout_ns < most_ns ? exec->timeout_ns : most_ns));
        if (result == 0)
            result = put_exec(l, call, exec);
        if (result < 0) {
            ct__alarm_clear(l->reactor, &call->overdue);
            ct__calls_remove(&l->calls, ct__calls_find(&l->calls, id));
        }
    }
    if (result < 0) {
        ct__emit_give_back(l->reactor, 1);
        return result;
    }
    l->last_id = id;
    call->link = l;
    allow_chatter(l);
    if (!ct__log_is_empty(&l->ambient)) {
        call->log = l->ambient;
        l->ambient = (ct__log){.limit = l->settings.log_limit};
    }
    return 0;
}

void ct__link_give_up(ct__link_call *call, bool tells) {
    ct_link *l = call->link;
    if (l == NULL)
        return;
    ct__alarm_clear(l->reactor, &call->overdue);
    ct__log_free(&call->log);
    call->link = NULL;
    vacate(l, ct__calls_find(&l->calls, call->id), tells);
}

ct__link_call *ct__link_find(const ct_link *l, uint32_t call_id) {
    const ct__seat *seat = ct__calls_find(&l->calls, call_id);
    return seat != NULL ? seat->call : NULL;
}

ct_reactor *ct__link_reactor(const ct_link *l) {
    return l->reactor;
}

uint64_t ct_link_handle(const ct_link *l) {
    return l->handle;
}

uint32_t ct_link_in_hand(const ct_link *l) {
    return l->calls.count;
}

int ct_link_init(ct_link *l, const uint8_t *message, size_t len) {
    const int result = ct__link_send(l, CT_FRAME_INIT, 0, message, len);
    if (result == 0)
        l->awaits_ready = true;
    return result;
}

size_t ct_link_last_words(ct_link *l, uint8_t *out, size_t cap, int *is_cut) {
    ct__stdio_finish(&l->stdio);
    const ct__link_call *call = ct__link_only_call(l);
    const ct__log *log = call != NULL ? &call->log : &l->ambient;
    size_t len = 0;
    const uint8_t *tail = ct__log_tail(log, cap, &len);
    if (len > 0)
        memcpy(out, tail, len);
    if (is_cut != NULL)
        *is_cut = log->is_cut;
    return len;
}

