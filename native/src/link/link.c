#include "link/link.h"

#include "base/cursor.h"
#include "base/err.h"
#include "link/calls.h"
#include "link/stdio.h"
#include "reactor/conn.h"

#include <stdlib.h>
#include <unistd.h>

enum {
    /* Chosen: log that a worker may send and calls have not asked for, as before its init; what silent calls leave of
     * their share is kept for this many calls besides those in hand, for tasks that outlive their call. */
    CHATTER_BYTES = 64 << 10,
    CHATTER_CALLS = 8,
    EMPTY_COST_BYTES = 64, /* chosen: a frame without a body costs us as much as one with some */
    EXEC_STREAM = 1,       /* a flag of the exec head */
    LOG_CUT = 2,           /* a flag of a log frame */
    IN_LIMIT_BYTES = CT_LINK_FRAME_MAX + (64 << 10)
};

typedef struct slot {
    ct_link *link; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* from 1; 0: none */
} slot;

struct ct_links {
    ct_reactor *reactor;
    slot *slots;
    uint32_t count, room, first_free;
};

struct ct_link {
    ct_links *links;
    ct_reactor *reactor;
    uint64_t handle;
    ct__conn conn;
    ct__stdio stdio;
    ct_link_settings settings;
    ct__calls calls;
    uint32_t last_id;
    uint32_t holds;
    int64_t chatter_bytes; /* that may still come without a call that asked for it */
    ct__log ambient;       /* printed by no call; goes to the next one */
    bool has_greeted;
    bool awaits_ready;
    bool is_reading;  /* frames are being taken: no second round inside */
    bool is_at_end;   /* nothing more comes than what is in hand */
    bool has_hung_up; /* the worker is not spoken to any more */
    bool has_ended;
};

static ct_link *of_conn(ct__conn *conn) {
    return (ct_link *)((char *)conn - offsetof(ct_link, conn));
}

static ct_link *of_stdio(ct__stdio *stdio) {
    return (ct_link *)((char *)stdio - offsetof(ct_link, stdio));
}

static void hang_up(ct_link *l, uint32_t cause, uint64_t about, int status) {
    if (l->has_hung_up)
        return;
    l->has_hung_up = true;
    ct__conn_close(&l->conn);
    const ct_event event = {
        .kind = CT_LINK_HUNG_UP, .target = l->handle, .subject = about, .number = cause, .status = status};
    ct__emit_reserved(l->reactor, &event);
}

/* ---- frames out ---- */

static uint8_t *frame_room(ct_link *l, size_t body_len) {
    return ct__conn_room(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
}

static void frame_wrote(ct_link *l, size_t body_len) {
    if (ct__reactor_is_turning(l->reactor))
        ct__conn_wrote(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
    else
        ct__conn_wrote_now(&l->conn, CT_FRAME_HEADER_BYTES + body_len);
}

static int send_frame(ct_link *l, uint8_t kind, uint32_t call_id, const uint8_t *body, size_t len) {
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
    frame_wrote(l, len);
    return 0;
}

/* ---- how a call ends ---- */

static void deliver(ct_link *l, ct__link_call *call, uint32_t kind, const uint8_t *body, size_t len) {
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
        (void)send_frame(l, CT_FRAME_CANCEL, seat->id, NULL, 0); /* without memory for it the worker works in vain */
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
    (void)ct__stdio_read(&l->stdio);
    vacate(l, ct__calls_find(&l->calls, call->id), true);
    deliver(l, call, CT_END_TIMEOUT, NULL, 0);
}

static uint32_t verdict(const ct__link_call *call, const ct_frame *frame) {
    if (frame->kind == CT_FRAME_ERROR)
        return ct_handler_error_check(frame->body, frame->len, CT_LINK_JSON_DEPTH) == 0 ? CT_END_ERROR : CT_END_INVALID;
    const bool is_valid =
        call->piece != NULL ? frame->len == 0 : ct_json_check(frame->body, frame->len, CT_LINK_JSON_DEPTH) == 0;
    return is_valid ? CT_END_RESULT : CT_END_INVALID;
}

/* ---- logs ---- */

static ct__link_call *only_call(const ct_link *l) {
    return l->calls.count == 1 ? ct__calls_next(&l->calls, 0)->call : NULL;
}

/* Gives bytes without a call to the only call in hand, else keeps them for the next; false when over the bound. */
static bool spoken_by_nobody(ct_link *l, const uint8_t *data, size_t len, bool is_cut) {
    if (l->calls.count == 1 && only_call(l) == NULL)
        return false; /* of a call that was given up: nobody reads it */
    ct__link_call *call = only_call(l);
    ct__log *log = call != NULL ? &call->log : &l->ambient;
    ct__log_add(log, data, len, is_cut);
    return !log->is_cut;
}

static bool stdio_take(ct__stdio *stdio, const uint8_t *data, size_t len) {
    return spoken_by_nobody(of_stdio(stdio), data, len, false);
}

/* Counts what may come without bound. Our workers keep their limits and say so with the frame that is cut; one that goes
 * on would cost the loop a core. */
static bool charge(ct_link *l, size_t len) {
    l->chatter_bytes -= len > 0 ? (int64_t)len : EMPTY_COST_BYTES;
    if (l->chatter_bytes < 0)
        hang_up(l, CT_CAUSE_CHATTER, 0, 0);
    return l->chatter_bytes >= 0;
}

/* ---- frames in ---- */

static void take_answer(ct_link *l, const ct_frame *frame) {
    ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    if (seat == NULL || (frame->kind == CT_FRAME_ERROR && frame->len > CT_LINK_ERROR_MAX)) {
        hang_up(l, CT_CAUSE_ANSWER, frame->call_id, 0);
        return;
    }
    if (l->calls.count == 1)
        (void)ct__stdio_read(&l->stdio);
    ct__link_call *call = seat->call;
    ct__calls_remove(&l->calls, seat);
    if (call == NULL)
        return;
    ct__emit_give_back(l->reactor, 1);
    deliver(l, call, verdict(call, frame), frame->body, frame->len);
}

static void take_log(ct_link *l, const ct_frame *frame) {
    if (!charge(l, frame->len))
        return;
    const bool is_cut = (frame->flags & LOG_CUT) != 0;
    const ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    if (seat != NULL) {
        if (seat->call != NULL)
            ct__log_add(&seat->call->log, frame->body, frame->len, is_cut);
    } else if (frame->call_id <= l->last_id) { /* 0: no call; else one that has ended, and left something running */
        (void)spoken_by_nobody(l, frame->body, frame->len, is_cut);
    } else {
        hang_up(l, CT_CAUSE_LOG, frame->call_id, 0);
    }
}

static void take_piece(ct_link *l, const ct_frame *frame) {
    const ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    if (seat == NULL || !seat->is_stream)
        hang_up(l, CT_CAUSE_PIECE, frame->call_id, 0);
    else if (frame->len == 0)
        (void)charge(l, 0);
    else if (seat->call != NULL && seat->call->piece(seat->call, frame->body, frame->len) < 0)
        hang_up(l, CT_CAUSE_MEMORY, 0, 0);
}

static void take_greeting(ct_link *l, const ct_frame *frame, uint32_t kind) {
    ct_event event = {.kind = kind, .target = l->handle, .len = frame->len};
    if (frame->len > 0) {
        event.data = malloc(frame->len);
        if (event.data == NULL) {
            hang_up(l, CT_CAUSE_MEMORY, 0, 0);
            return;
        }
        memcpy(event.data, frame->body, frame->len);
    }
    if (ct__emit(l->reactor, &event) < 0)
        hang_up(l, CT_CAUSE_MEMORY, 0, 0);
}

static void take(ct_link *l, const ct_frame *frame) {
    switch (frame->kind) {
    case CT_FRAME_RESULT:
    case CT_FRAME_ERROR:
        take_answer(l, frame);
        return;
    case CT_FRAME_LOG:
        take_log(l, frame);
        return;
    case CT_FRAME_CHUNK:
        take_piece(l, frame);
        return;
    default:
        break;
    }
    if (frame->kind == CT_FRAME_HELLO && !l->has_greeted) {
        l->has_greeted = true;
        take_greeting(l, frame, CT_LINK_HELLO);
    } else if (frame->kind == CT_FRAME_READY && l->awaits_ready) {
        l->awaits_ready = false;
        take_greeting(l, frame, CT_LINK_READY);
    } else {
        hang_up(l, CT_CAUSE_KIND, frame->kind, 0);
    }
}

/* Takes the frames that are there. A call that ends may begin another one meanwhile, or let go of a hold. */
static void read_on(ct_link *l) {
    if (l->is_reading)
        return;
    l->is_reading = true;
    while (!l->has_hung_up && l->holds == 0) {
        const ct__bytes *in = &l->conn.in;
        ct_frame frame;
        const int result = ct_frame_split(ct__bytes_front(in), in->len, CT_LINK_FRAME_MAX, &frame);
        if (result == CT_E_MORE)
            break;
        if (result < 0) {
            hang_up(l, CT_CAUSE_FRAME, 0, result);
            break;
        }
        take(l, &frame);
        if (!l->has_hung_up)
            ct__bytes_skip(&l->conn.in, frame.used);
    }
    l->is_reading = false;
    if (l->has_hung_up || l->holds > 0)
        return;
    if (l->is_at_end)
        hang_up(l, CT_CAUSE_CLOSED, 0, 0);
    else if (l->conn.is_paused)
        ct__conn_resume(&l->conn);
}

static void received(ct__conn *conn) {
    read_on(of_conn(conn));
}

static void ended(ct__conn *conn, int error) {
    ct_link *l = of_conn(conn);
    (void)error; /* however the socket ended: what the worker has to say of it, its process says */
    l->is_at_end = true;
    read_on(l);
}

static const ct__conn_calls CALLS = {.received = received, .ended = ended};

void ct__link_hold(ct_link *l) {
    if (l->holds++ == 0 && !l->has_hung_up)
        ct__conn_pause(&l->conn);
}

void ct__link_release(ct_link *l) {
    if (--l->holds == 0)
        read_on(l);
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
    frame_wrote(l, body_len);
    return 0;
}

/* The worker gives what no call prints as much anew as each call's own log. */
static void allow_chatter(ct_link *l) {
    const int64_t share = 2 * (int64_t)l->settings.log_limit;
    const int64_t most = CHATTER_BYTES + share * (CHATTER_CALLS + (int64_t)l->calls.count);
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

/* ---- links by handle ---- */

ct_links *ct_links_new(ct_reactor *reactor) {
    ct_links *links = calloc(1, sizeof *links);
    if (links != NULL)
        links->reactor = reactor;
    return links;
}

void ct_links_free(ct_links *links) {
    if (links == NULL)
        return;
    free(links->slots);
    free(links);
}

static int take_slot(ct_links *links, ct_link *l) {
    if (links->first_free == 0) {
        if (links->count == links->room) {
            const uint32_t room = links->room == 0 ? 16 : 2 * links->room;
            slot *grown = reallocarray(links->slots, room, sizeof *grown);
            if (grown == NULL)
                return -ENOMEM;
            links->slots = grown;
            links->room = room;
        }
        links->slots[links->count] = (slot){.generation = 1};
        links->first_free = ++links->count;
    }
    slot *s = &links->slots[links->first_free - 1];
    l->handle = (uint64_t)s->generation << 32 | links->first_free;
    links->first_free = s->next_free;
    s->link = l;
    return 0;
}

static void give_slot(ct_link *l) {
    const uint32_t place = (uint32_t)l->handle;
    slot *s = &l->links->slots[place - 1];
    *s = (slot){.generation = s->generation + 1, .next_free = l->links->first_free};
    l->links->first_free = place;
}

ct_link *ct__links_get(const ct_links *links, uint64_t handle) {
    const uint32_t place = (uint32_t)handle;
    if (place == 0 || place > links->count || links->slots[place - 1].generation != handle >> 32)
        return NULL;
    return links->slots[place - 1].link;
}

/* ---- begin and end ---- */

int ct_link_open(ct_links *links, int fd, int stdio_fd, const ct_link_settings *settings, ct_link **out) {
    ct_reactor *reactor = links->reactor;
    ct_link *l = calloc(1, sizeof *l);
    int result = l != NULL ? ct__emit_reserve(reactor, 1) : -ENOMEM;
    if (result == 0) {
        result = take_slot(links, l);
        if (result < 0)
            ct__emit_give_back(reactor, 1);
    }
    if (result < 0) {
        free(l);
        (void)close(fd);
        (void)close(stdio_fd);
        return result;
    }
    l->links = links;
    l->reactor = reactor;
    l->settings = *settings;
    l->ambient.limit = settings->log_limit;
    l->chatter_bytes = CHATTER_BYTES + (int64_t)settings->log_limit;
    l->conn.in_limit = IN_LIMIT_BYTES;
    l->conn.reads_to_end = true;
    l->stdio.take = stdio_take;
    result = ct__conn_open(&l->conn, reactor, fd, false, &CALLS);
    const int stdio_result = ct__stdio_open(&l->stdio, reactor, stdio_fd);
    if (result == 0 && stdio_result < 0)
        ct__conn_close(&l->conn);
    if (result < 0)
        ct__stdio_close(&l->stdio);
    result = result < 0 ? result : stdio_result;
    if (result < 0) {
        ct__emit_give_back(reactor, 1);
        give_slot(l);
        free(l);
        return result;
    }
    *out = l;
    return 0;
}

int ct_link_init(ct_link *l, const uint8_t *message, size_t len) {
    const int result = send_frame(l, CT_FRAME_INIT, 0, message, len);
    if (result == 0)
        l->awaits_ready = true;
    return result;
}

size_t ct_link_last_words(ct_link *l, uint8_t *out, size_t cap, int *is_cut) {
    (void)ct__stdio_read(&l->stdio);
    const ct__link_call *call = only_call(l);
    const ct__log *log = call != NULL ? &call->log : &l->ambient;
    size_t len = 0;
    const uint8_t *tail = ct__log_tail(log, cap, &len);
    if (len > 0)
        memcpy(out, tail, len);
    if (is_cut != NULL)
        *is_cut = log->is_cut;
    return len;
}

void ct_link_free(ct_link *l, const uint8_t *cause, size_t len) {
    if (l == NULL)
        return;
    (void)ct__stdio_read(&l->stdio);
    if (!l->has_hung_up)
        ct__emit_give_back(l->reactor, 1);
    l->has_hung_up = l->has_ended = true;
    ct__conn_close(&l->conn);
    ct__stdio_close(&l->stdio);
    for (ct__seat *seat; (seat = ct__calls_next(&l->calls, 0)) != NULL;) {
        ct__link_call *call = seat->call;
        ct__calls_remove(&l->calls, seat);
        if (call == NULL)
            continue;
        ct__emit_give_back(l->reactor, 1);
        deliver(l, call, CT_END_DIED, cause, len);
    }
    ct__calls_free(&l->calls);
    ct__log_free(&l->ambient);
    give_slot(l);
    free(l);
}
