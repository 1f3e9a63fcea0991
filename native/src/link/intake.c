/* What a worker says: frames in, and what they do to the calls in hand. */

#include "base/err.h"
#include "link/state.h"

#include <stdlib.h>
#include <string.h>

enum {
    EMPTY_COST_BYTES = 64, /* chosen: a frame without a body costs us as much as one with some */
    LOG_CUT = 2            /* a flag of a log frame */
};

static ct_link *of_conn(ct__conn *conn) {
    return (ct_link *)((char *)conn - offsetof(ct_link, conn));
}

static ct_link *of_stdio(ct__stdio *stdio) {
    return (ct_link *)((char *)stdio - offsetof(ct_link, stdio));
}

static uint32_t verdict(const ct__link_call *call, const ct_frame *frame) {
    if (frame->kind == CT_FRAME_ERROR)
        return ct_handler_error_check(frame->body, frame->len, CT_LINK_JSON_DEPTH) == 0 ? CT_END_ERROR : CT_END_INVALID;
    const bool is_valid =
        call->piece != NULL ? frame->len == 0 : ct_json_check(frame->body, frame->len, CT_LINK_JSON_DEPTH) == 0;
    return is_valid ? CT_END_RESULT : CT_END_INVALID;
}

/* ---- logs ---- */

ct__link_call *ct__link_only_call(const ct_link *l) {
    return l->calls.count == 1 ? ct__calls_next(&l->calls, 0)->call : NULL;
}

/* Gives bytes without a call to the only call in hand, else keeps them for the next; false when over the bound. */
static bool spoken_by_nobody(ct_link *l, const uint8_t *data, size_t len, bool is_cut) {
    if (l->calls.count == 1 && ct__link_only_call(l) == NULL)
        return false; /* of a call that was given up: nobody reads it */
    ct__link_call *call = ct__link_only_call(l);
    ct__log *log = call != NULL ? &call->log : &l->ambient;
    ct__log_add(log, data, len, is_cut);
    return !log->is_cut;
}

bool ct__link_take_stdio(ct__stdio *stdio, const uint8_t *data, size_t len) {
    return spoken_by_nobody(of_stdio(stdio), data, len, false);
}

void ct__link_stdio_settled(ct__stdio *stdio) {
    ct_link *l = of_stdio(stdio);
    if (!l->awaits_stdio)
        return;
    l->awaits_stdio = false;
    l->has_settled = true;
    ct__link_release(l);
}

void ct__link_stdio_stuck(ct__stdio *stdio) {
    ct__link_hang_up(of_stdio(stdio), CT_CAUSE_STDIO, 0, 0);
}

/* Counts what may come without bound. Our workers keep their limits and say so with the frame that is cut; one that goes
 * on would cost the loop a core. */
static bool charge(ct_link *l, size_t len) {
    l->chatter_bytes -= len > 0 ? (int64_t)len : EMPTY_COST_BYTES;
    if (l->chatter_bytes < 0)
        ct__link_hang_up(l, CT_CAUSE_CHATTER, 0, 0);
    return l->chatter_bytes >= 0;
}

/* ---- frames in ---- */

static void take_answer(ct_link *l, const ct_frame *frame) {
    ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    if (seat == NULL || (frame->kind == CT_FRAME_ERROR && frame->len > CT_LINK_ERROR_MAX)) {
        ct__link_hang_up(l, CT_CAUSE_ANSWER, frame->call_id, 0);
        return;
    }
    l->has_settled = false;
    ct__link_call *call = seat->call;
    if (seat->is_stream)
        l->conn.in.keep_bytes = 0;
    ct__calls_remove(&l->calls, seat);
    if (call == NULL)
        return;
    ct__emit_give_back(l->reactor, 1);
    ct__link_deliver(l, call, verdict(call, frame), frame->body, frame->len);
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
        ct__link_hang_up(l, CT_CAUSE_LOG, frame->call_id, 0);
    }
}

static void take_piece(ct_link *l, const ct_frame *frame) {
    const ct__seat *seat = ct__calls_find(&l->calls, frame->call_id);
    l->conn.in.keep_bytes = CT__BUSY_BYTES;
    if (seat == NULL || !seat->is_stream)
        ct__link_hang_up(l, CT_CAUSE_PIECE, frame->call_id, 0);
    else if (frame->len == 0)
        (void)charge(l, 0);
    else if (seat->call != NULL && seat->call->piece(seat->call, frame->body, frame->len) < 0)
        ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
}

static void take_greeting(ct_link *l, const ct_frame *frame, uint32_t kind) {
    ct_event event = {.kind = kind, .target = l->handle, .len = frame->len};
    if (frame->len > 0) {
        event.data = malloc(frame->len);
        if (event.data == NULL) {
            ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
            return;
        }
        memcpy(event.data, frame->body, frame->len);
    }
    if (ct__emit(l->reactor, &event) < 0)
        ct__link_hang_up(l, CT_CAUSE_MEMORY, 0, 0);
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
    case CT_FRAME_ASK:
        ct__link_take_ask(l, frame);
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
        ct__link_hang_up(l, CT_CAUSE_KIND, frame->kind, 0);
    }
}

/* A frame of the page, its bytes in `block`; CT_E_MORE when there is none. */
static int of_page(ct_link *l, ct_frame *frame, uint8_t block[CT__PAGE_FRAME_BYTES]) {
    const int len = l->parked != NULL ? (int)l->parked_len : ct__mail_take(l->mail, block);
    if (l->parked != NULL) {
        memcpy(block, l->parked, l->parked_len);
        free(l->parked);
        l->parked = NULL;
    }
    return ct__page_split(block, len, frame);
}

/* The next frame; CT_E_MORE when there is none. *used: of what came by the socket. */
static int next(ct_link *l, ct_frame *frame, size_t *used, uint8_t block[CT__PAGE_FRAME_BYTES]) {
    *used = 0;
    int result = l->mail != NULL ? of_page(l, frame, block) : CT_E_MORE;
    if (result != CT_E_MORE)
        return result;
    const ct__bytes *in = &l->conn.in;
    result = ct_frame_split(ct__bytes_front(in), in->len, CT_LINK_FRAME_MAX, frame);
    if (result == 0)
        *used = frame->used;
    return result;
}

static void was_heard(ct_link *l, size_t used) {
    ct__bytes_skip(&l->conn.in, used);
    if (used > 0 && l->mail != NULL)
        l->mail->heard++;
}

static bool park(ct_link *l, const uint8_t *frame, size_t len) {
    l->parked = malloc(len);
    if (l->parked == NULL)
        return false;
    memcpy(l->parked, frame, len);
    l->parked_len = len;
    return true;
}

/* Whether an answer is ahead of what its call printed. It is next again once that has come, or does not come in time. */
static bool is_ahead(ct_link *l, const ct_frame *frame, const uint8_t *block, bool is_of_page) {
    if ((frame->kind != CT_FRAME_RESULT && frame->kind != CT_FRAME_ERROR) || l->calls.count != 1 || l->has_settled)
        return false;
    if (ct__stdio_settle(&l->stdio) || (is_of_page && !park(l, block, frame->used)))
        return false;
    l->awaits_stdio = true;
    ct__link_hold(l);
    return true;
}

/* Takes the frames that are there. A call that ends may begin another one meanwhile, or let go of a hold. */
static void read_on(ct_link *l) {
    if (l->is_reading)
        return;
    l->is_reading = true;
    while (!l->has_hung_up && l->holds == 0) {
        uint8_t block[CT__PAGE_FRAME_BYTES];
        ct_frame frame;
        size_t used;
        const int result = next(l, &frame, &used, block);
        if (result == CT_E_MORE)
            break;
        if (result < 0) {
            ct__link_hang_up(l, CT_CAUSE_FRAME, 0, result);
            break;
        }
        if (is_ahead(l, &frame, block, used == 0))
            break;
        take(l, &frame);
        if (!l->has_hung_up)
            was_heard(l, used);
    }
    l->is_reading = false;
    if (l->has_hung_up || l->holds > 0)
        return;
    if (l->is_at_end)
        ct__link_hang_up(l, CT_CAUSE_CLOSED, 0, 0);
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

/* A frame of the page may have been taken with others before its ring is heard. A ring without any costs the worker what an
 * empty frame does, or it could keep the loop busy for nothing. */
void ct__link_rang(ct__watch *bell, uint32_t events) {
    (void)events;
    ct_link *l = (ct_link *)((char *)bell - offsetof(ct_link, bell));
    read_on(l);
    if (l->has_hung_up)
        return;
    if (l->mail->rings > 0)
        l->mail->rings--;
    else
        (void)charge(l, 0);
}

const ct__conn_calls ct__link_conn_calls = {.received = received, .ended = ended};

void ct__link_hold(ct_link *l) {
    if (l->holds++ == 0 && !l->has_hung_up)
        ct__conn_pause(&l->conn);
}

void ct__link_release(ct_link *l) {
    if (--l->holds == 0)
        read_on(l);
}

