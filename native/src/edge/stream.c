/* A call whose answer comes in pieces: comet's messages become an HTTP body as they come, the bytes that zenith/stream.py writes. A client that is
 * slower than the function holds the call, and so its worker. */
#include "edge/lane.h"

#include "base/cursor.h"
#include "edge/reply.h"
#include "proto/pbwire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    DATA = 1, END = 2, /* InvokeChunk */
    FRAME_BYTES = 24,  /* a chunk's size line and its end */
    HEAD_BYTES = 512,
    OK = 200
};

static const char LAST_CHUNK[] = "0\r\n\r\n";

/* ---- out ---- */

static void lose(ct__caller *c) {
    ct__caller_close(c, true);
}

/* The head, before the first piece or event. */
static bool begin(ct__caller *c) {
    static const char EVENTS[] = "content-type: text/event-stream; charset=utf-8\r\ncache-control: no-store\r\nx-accel-buffering: no\r\n";
    static const char PLAIN[] = "content-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\n";
    if (c->stream.has_begun)
        return true;
    char head[HEAD_BYTES];
    const int len = snprintf(head, sizeof head, "HTTP/1.1 200 \r\n%sx-request-id: %.36s\r\n%sTransfer-Encoding: chunked\r\n\r\n",
                             c->stream.is_events ? EVENTS : PLAIN, c->request_id, ct__edge_date(c->edge));
    if (len < 0 || len >= HEAD_BYTES || ct__conn_write(&c->conn, head, (size_t)len) != 0) {
        lose(c);
        return false;
    }
    c->stream.has_begun = true;
    ct__bytes_keep(&c->conn.out, CT__BUSY_BYTES);
    c->phase = CT__STREAMING;
    c->out_seen = 0;
    ct__caller_deadline(c, ct__reactor_now_ns(c->edge->reactor) + CT__STALL_NS);
    return true;
}

/* Room for a chunk of `len` bytes, whose size line is written; sent() adds its end. NULL: the connection is lost. */
static uint8_t *chunk(ct__caller *c, size_t len, size_t *head_len) {
    uint8_t *room = ct__conn_room(&c->conn, FRAME_BYTES + len);
    if (room == NULL) {
        lose(c);
        return NULL;
    }
    *head_len = (size_t)sprintf((char *)room, "%zx\r\n", len);
    return room + *head_len;
}

static void sent(ct__caller *c, uint8_t *data, size_t len, size_t head_len) {
    memcpy(data + len, "\r\n", 2);
    ct__conn_wrote(&c->conn, head_len + len + 2);
}

static bool put_event(ct__caller *c, ct__span text, bool is_last) {
    ct__cut after = c->stream.cut;
    const size_t len = ct__event_text(NULL, &after, text, is_last);
    size_t head_len;
    uint8_t *data = len > 0 ? chunk(c, len, &head_len) : NULL;
    if (len > 0 && data == NULL)
        return false;
    if (data != NULL) {
        (void)ct__event_text(data, &c->stream.cut, text, is_last);
        sent(c, data, len, head_len);
    }
    c->stream.cut = after;
    return true;
}

static bool put_named(ct__caller *c, const char *name, ct__span text) {
    if (!begin(c) || !put_event(c, (ct__span){(const uint8_t *)"", 0}, true))
        return false;
    const size_t len = ct__event_named(NULL, name, text);
    size_t head_len;
    uint8_t *data = chunk(c, len, &head_len);
    if (data == NULL)
        return false;
    (void)ct__event_named(data, name, text);
    sent(c, data, len, head_len);
    return true;
}

static bool pass(ct__caller *c, ct__span piece) {
    if (!begin(c))
        return false;
    if (c->stream.is_events)
        return put_event(c, piece, false);
    size_t head_len;
    uint8_t *data = chunk(c, piece.len, &head_len);
    if (data == NULL)
        return false;
    memcpy(data, piece.at, piece.len);
    sent(c, data, piece.len, head_len);
    return true;
}

/* ---- how it ends ---- */

/* As a plain call: the handler raised before it made anything. */
static bool answer_whole(ct__caller *c, const ct__reply *end) {
    uint8_t *room = ct__conn_room(&c->conn, ct__reply_room(end));
    if (room == NULL) {
        lose(c);
        return false;
    }
    ct__conn_wrote(&c->conn, ct__reply_write(room, end, c->request_id, ct__edge_date(c->edge)));
    c->stream.is_whole = true;
    return true;
}

static bool put_end(ct__caller *c, const ct__reply *end) {
    ct__stream *s = &c->stream;
    if (s->is_events && end->error.len > 0)
        return put_named(c, "error", end->error);
    if (s->is_events) {
        uint8_t text[CT__REPLY_END_BYTES];
        return put_named(c, "done", (ct__span){text, ct__reply_end(text, end, c->request_id)});
    }
    if (end->error.len == 0)
        return begin(c);
    if (!s->has_begun)
        return answer_whole(c, end);
    s->is_cut = true; /* all that can be said of it in plain text */
    ct__call_count_code(c->edge->lane, "function_error");
    return true;
}

void ct__stream_piece(ct__h2_call *call, ct__h2_span message) {
    ct__caller *c = (ct__caller *)((char *)call - offsetof(ct__caller, call));
    ct__stream *s = &c->stream;
    ct__reader r = {.at = message.data, .left = message.len};
    ct__span data = {0}, end = {0};
    bool has_end = false;
    ct__pb_field field;
    int result;
    while ((result = ct__pb_next(&r, &field)) == 1) {
        if (field.type != CT__PB_BYTES)
            continue;
        if (field.number == DATA)
            data = (ct__span){field.data, field.len};
        has_end |= field.number == END;
        if (field.number == END)
            end = (ct__span){field.data, field.len};
    }
    ct__reply told;
    if (s->has_ended || result != 0 || (has_end && ct__reply_read_end(end.at, end.len, &told) != 0))
        s->is_cut = true;
    if (s->is_cut || (data.len > 0 && !pass(c, data)))
        return;
    s->has_ended = has_end;
    if (has_end && !put_end(c, &told))
        return;
    if (c->conn.is_full)
        ct__h2_hold(call);
}

/* The platform's problem, where an event can still say it. */
static bool put_problem(ct__caller *c, const ct__h2_reply *reply) {
    const ct__problem *own = &c->edge->problems[ct__call_refusal(reply)];
    const bool is_comets = reply->problem.len > 0 && ct_json_check(reply->problem.data, reply->problem.len, CT__JSON_DEPTH) == 0;
    const uint8_t *problem = is_comets ? reply->problem.data : own->body;
    const size_t len = is_comets ? ct__problem_open(reply->problem.data, reply->problem.len) : own->body_len;
    uint8_t *text = malloc(ct__problem_room(len));
    if (text == NULL) {
        lose(c);
        return false;
    }
    const bool is_put = put_named(c, "error", (ct__span){text, ct__problem_write(text, problem, len, c->request_id)});
    free(text);
    return is_put;
}

static void count_cut(ct__caller *c, const ct__h2_reply *reply) {
    char code[CT_EDGE_CODE_BYTES];
    ct__call_code(reply->problem.data, reply->problem.len, code);
    if (code[0] != '\0')
        ct__call_count_code(c->edge->lane, code);
    else
        c->edge->counts.refused[ct__call_refusal(reply)]++;
}

void ct__stream_done(ct__h2_call *call, const ct__h2_reply *reply) {
    ct__caller *c = (ct__caller *)((char *)call - offsetof(ct__caller, call));
    const ct__stream *s = &c->stream;
    const bool is_fine = reply->status == 0 && s->has_ended && !s->is_cut;
    c->edge->counts.called++;
    if (!s->has_begun && !s->is_whole) {
        if (reply->status == 0)
            ct__call_refuse(c, CT_EDGE_COMET); /* no answer at all */
        else
            ct__call_fail(c, reply);
        return;
    }
    const bool is_told = !is_fine && reply->status != 0 && s->is_events && !s->has_ended && !s->is_cut;
    ct__call_count(c, OK);
    if (is_told && !put_problem(c, reply))
        return;
    if (!is_fine && !is_told) {
        if (reply->status != 0)
            count_cut(c, reply);
        ct__caller_finish(c); /* without the last chunk: nobody takes a part for the whole */
        return;
    }
    if (!s->is_whole && ct__conn_write(&c->conn, LAST_CHUNK, sizeof LAST_CHUNK - 1) != 0)
        lose(c);
    else
        ct__caller_next(c);
}

void ct__call_drained(ct__caller *c) {
    ct__h2_release(&c->call);
}
