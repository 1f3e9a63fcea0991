#include "h2/wire.h"

#include "h2/leg.h"
#include "reactor/tls.h"

#include <errno.h>
#include <string.h>

enum {
    STREAM_WINDOW_BYTES = 1 << 20, /* chosen: a megabyte a round trip */
    ANSWER_WINDOW_BYTES = 256 << 10, /* chosen: as much of an answer waits at a client whose owner takes none of it */
    WINDOW_BYTES = 16 << 20,
    TABLE_BYTES = 64 << 10, /* chosen: room for the identities of a few hundred principals */
    ACKS_MAX = 1000, /* PING and SETTINGS answers that the peer does not take */
    SETTINGS_MAX = 32,
    RESETS_BURST = 10000, /* chosen: a burst of hang-ups at the gateway is no attack ... */
    RESETS_A_SECOND = 2000, /* ... and each costs us a microsecond */
    CONTINUATIONS_MAX = 8,
    KEEP_BYTES = 1 << 20, /* chosen: a few connections carry what thousands of callers say */
};

/* Chosen: between the end of the last stream and our GOAWAY. Some clients (grpclib) forget the answers that they have received
 * and not looked at yet when they hear it. */
static const uint64_t FAREWELL_NS = 200000000;
static const uint64_t LINGER_NS = 1000000000, TICK_MAX_NS = 2000000000, TICK_MIN_NS = 5000000;

static ct__h2_wire *wire_of(void *part, size_t offset) {
    return (ct__h2_wire *)((char *)part - offset);
}

static uint64_t now_of(const ct__h2_wire *w) {
    return ct__reactor_now_ns(w->conn.reactor);
}

/* ---- the end of a connection ---- */

static void bury(ct__task *task) {
    ct__h2_wire_free(wire_of(task, offsetof(ct__h2_wire, bury)));
}

static void be_over(ct__h2_wire *w, int error) {
    w->is_over = w->is_leaving = true;
    ct__task_drop(w->conn.reactor, &w->pull);
    while (w->legs != NULL)
        ct__h2_leg_close(w->legs, CT__H2_LOST);
    ct__task_drop(w->conn.reactor, &w->pull);
    w->calls->gone(w, error);
}

void ct__h2_wire_cut(ct__h2_wire *w, int error) {
    if (!w->is_over)
        be_over(w, error);
    ct__alarm_clear(w->conn.reactor, &w->tick);
    ct__task_defer(w->conn.reactor, &w->bury);
}

void ct__h2_wire_free(ct__h2_wire *w) {
    while (w->legs != NULL) {
        w->is_over = true;
        ct__h2_leg_detach(w->legs);
    }
    if (w->session != NULL)
        nghttp2_session_del(w->session);
    w->session = NULL;
    ct__task_drop(w->conn.reactor, &w->pull);
    ct__task_drop(w->conn.reactor, &w->bury);
    ct__alarm_clear(w->conn.reactor, &w->tick);
    ct__conn_close(&w->conn);
    w->calls->freed(w);
}

/* What was said last goes out; then the peer has a moment to read it, since closing with unread input would take it back. */
static void part(ct__h2_wire *w) {
    if (w->is_over)
        return;
    be_over(w, w->is_faulty ? -EPROTO : 0);
    if (w->conn.is_broken || w->conn.is_connecting) {
        ct__h2_wire_cut(w, 0);
        return;
    }
    ct__conn_resume(&w->conn);
    ct__conn_finish(&w->conn);
    if (ct__alarm_set(w->conn.reactor, &w->tick, now_of(w) + LINGER_NS) < 0)
        ct__h2_wire_cut(w, 0);
}

void ct__h2_wire_end(ct__h2_wire *w) {
    if (w->is_over)
        return;
    ct__h2_said(w, nghttp2_session_terminate_session(w->session, NGHTTP2_NO_ERROR));
}

void ct__h2_wire_leave(ct__h2_wire *w) {
    if (w->is_over)
        return;
    w->is_leaving = true;
    if (w->leg_count > 0)
        return; /* `pull` comes back here */
    const uint64_t farewell_ns = w->rested_ns + FAREWELL_NS;
    if (w->last_id == 0 || now_of(w) >= farewell_ns)
        ct__h2_wire_end(w);
    else if (ct__alarm_set(w->conn.reactor, &w->tick, farewell_ns) < 0)
        ct__h2_wire_cut(w, -ENOMEM);
}

/* ---- out ---- */

static void pull(ct__task *task) {
    ct__h2_wire *w = wire_of(task, offsetof(ct__h2_wire, pull));
    if (w->is_doomed) {
        ct__h2_wire_cut(w, -ENOMEM);
        return;
    }
    while (!w->conn.is_full) {
        const uint8_t *data;
        const ssize_t len = nghttp2_session_mem_send(w->session, &data);
        if (len == 0)
            break;
        if (len < 0 || ct__conn_write(&w->conn, data, (size_t)len) < 0) {
            ct__h2_wire_cut(w, len < 0 ? ct__h2_error_of(len) : -ENOMEM);
            return;
        }
        w->pulled_bytes += (size_t)len;
    }
    if (w->conn.is_full && w->is_server)
        ct__conn_pause(&w->conn); /* who does not read is not read; a client always reads, so that two ends never wait for each other */
    if (nghttp2_session_want_read(w->session) == 0 && nghttp2_session_want_write(w->session) == 0) {
        part(w);
        return;
    }
    if (w->leg_count > 0)
        return;
    if (w->is_leaving)
        ct__h2_wire_leave(w);
    else if (w->calls->rested != NULL)
        w->calls->rested(w);
}

static void drained(ct__conn *conn) {
    ct__h2_wire *w = wire_of(conn, offsetof(ct__h2_wire, conn));
    if (w->is_over)
        return;
    ct__conn_resume(conn);
    ct__task_defer(conn->reactor, &w->pull);
}

/* ---- in ---- */

static void received(ct__conn *conn) {
    ct__h2_wire *w = wire_of(conn, offsetof(ct__h2_wire, conn));
    w->heard_ns = now_of(w);
    if (!w->is_over) {
        const ssize_t used = nghttp2_session_mem_recv(w->session, ct__bytes_front(&conn->in), conn->in.len);
        if (used < 0) {
            w->is_faulty = used != NGHTTP2_ERR_NOMEM;
            (void)nghttp2_session_terminate_session(w->session, used == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR
                                                                : used == NGHTTP2_ERR_FLOODED
                                                                    ? NGHTTP2_ENHANCE_YOUR_CALM
                                                                    : NGHTTP2_PROTOCOL_ERROR);
            pull(&w->pull);
            part(w);
        } else {
            ct__task_defer(conn->reactor, &w->pull);
        }
    }
    ct__bytes_skip(&conn->in, conn->in.len);
}

static void conn_ended(ct__conn *conn, int error) {
    ct__h2_wire_cut(wire_of(conn, offsetof(ct__h2_wire, conn)), error == 0 ? -ECONNRESET : error);
}

static const ct__conn_calls CONN_CALLS = {.received = received, .drained = drained, .ended = conn_ended};

/* ---- time ---- */

static uint64_t lesser(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static void set_tick(ct__h2_wire *w) {
    const ct__h2_limits *l = w->limits;
    uint64_t step = lesser(lesser(l->greeting_ns, l->stall_ns), lesser(l->idle_ns, lesser(l->ping_after_ns, l->ping_ns))) / 4;
    step = step > TICK_MAX_NS ? TICK_MAX_NS : step < TICK_MIN_NS ? TICK_MIN_NS : step;
    if (ct__alarm_set(w->conn.reactor, &w->tick, now_of(w) + step) < 0)
        ct__h2_wire_cut(w, -ENOMEM);
}

/* Returns what is wrong with the peer, by the time it takes, or 0. */
static int lateness(ct__h2_wire *w, uint64_t now) {
    const ct__h2_limits *l = w->limits;
    if ((w->conn.is_connecting || !w->is_greeted) && now - w->opened_ns > l->greeting_ns)
        return -ETIMEDOUT;
    if (w->heading_ns != 0 && now - w->heading_ns > l->greeting_ns)
        return -ETIMEDOUT;
    const uint64_t moved = w->pulled_bytes - w->conn.out.len;
    if (moved != w->moved_bytes || w->conn.out.len == 0) {
        w->moved_bytes = moved;
        w->moved_ns = now;
    } else if (now - w->moved_ns > l->stall_ns) {
        return -ETIMEDOUT;
    }
    if (w->heard_ns >= w->pinged_ns || w->conn.is_paused) /* who is not read can not be heard; `stall_ns` is for him */
        w->pinged_ns = 0;
    if (w->pinged_ns != 0)
        return now - w->pinged_ns > l->ping_ns ? -ETIMEDOUT : 0;
    if (w->leg_count > 0 && w->is_greeted && !w->conn.is_paused && now - w->heard_ns > l->ping_after_ns) {
        w->pinged_ns = now;
        ct__h2_said(w, nghttp2_submit_ping(w->session, NGHTTP2_FLAG_NONE, NULL));
    }
    return 0;
}

static void tick(ct__alarm *alarm) {
    ct__h2_wire *w = wire_of(alarm, offsetof(ct__h2_wire, tick));
    if (w->is_over) {
        ct__h2_wire_cut(w, 0); /* it has lingered enough */
        return;
    }
    const uint64_t now = now_of(w);
    const int error = lateness(w, now);
    if (error < 0) {
        w->is_faulty = true;
        ct__h2_wire_cut(w, error);
        return;
    }
    if (w->is_leaving && w->leg_count == 0) {
        ct__h2_wire_leave(w);
        if (w->is_over || w->tick.place != 0)
            return;
    }
    if (w->leg_count == 0 && now - w->rested_ns > w->limits->idle_ns)
        ct__h2_wire_leave(w);
    set_tick(w);
}

/* ---- nghttp2's calls ---- */

/* A stream that was left out is closed (RFC 9113, section 5.1.1); nghttp2 would ignore what is sent on it. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *head, void *user) {
    const ct__h2_wire *w = user;
    if (head->type == NGHTTP2_HEADERS && head->stream_id >= w->gap_first && head->stream_id <= w->gap_last)
        (void)nghttp2_session_terminate_session(session, NGHTTP2_PROTOCOL_ERROR);
    return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    ct__h2_wire *w = user;
    const int32_t id = frame->hd.stream_id;
    ct__h2_leg *leg = ct__h2_leg_at(w, id);
    if (w->is_server && frame->hd.type == NGHTTP2_HEADERS && frame->headers.cat == NGHTTP2_HCAT_REQUEST) {
        if (id > w->last_id + 2 || w->last_id == 0) {
            w->gap_first = w->last_id + 1;
            w->gap_last = id - 1;
        }
        w->last_id = id;
        leg = w->calls->opened(w, id);
        if (leg == NULL)
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
        ct__h2_leg_attach(leg, w, id);
        (void)nghttp2_session_set_stream_user_data(session, id, leg);
    }
    w->heading = leg;
    if ((frame->hd.flags & NGHTTP2_FLAG_END_HEADERS) == 0)
        w->heading_ns = now_of(w);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name, nghttp2_rcbuf *value,
                     uint8_t flags, void *user) {
    (void)session, (void)frame, (void)flags;
    ct__h2_wire *w = user;
    if (w->heading != NULL)
        w->calls->field(w->heading, name, value);
    return 0;
}

static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, nghttp2_rcbuf *name,
                             nghttp2_rcbuf *value, uint8_t flags, void *user) {
    (void)session, (void)frame, (void)name, (void)value, (void)flags, (void)user;
    return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE; /* a stream error; nghttp2 alone would leave the field out */
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t len, void *user) {
    (void)flags;
    ct__h2_wire *w = user;
    ct__h2_leg *leg = ct__h2_leg_at(w, id);
    if (leg != NULL)
        w->calls->data(leg, data, len);
    else
        ct__h2_said(w, nghttp2_session_consume(session, id, len));
    return 0;
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    ct__h2_wire *w = user;
    switch (frame->hd.type) {
    case NGHTTP2_SETTINGS:
        w->is_greeted = true;
        w->peer_streams = nghttp2_session_get_remote_settings(session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
        return 0;
    case NGHTTP2_GOAWAY:
        w->is_leaving = true;
        return 0;
    case NGHTTP2_HEADERS:
        w->heading_ns = 0;
        break;
    case NGHTTP2_DATA:
        break;
    default:
        return 0;
    }
    ct__h2_leg *leg = ct__h2_leg_at(w, frame->hd.stream_id);
    const bool is_end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (leg != NULL && is_end)
        leg->has_ended = true;
    if (leg != NULL && frame->hd.type == NGHTTP2_HEADERS)
        w->calls->headed(leg);
    leg = ct__h2_leg_at(w, frame->hd.stream_id); /* the call may have dropped it */
    if (leg != NULL && is_end)
        w->calls->ended(leg);
    return 0;
}

static int on_frame_send(nghttp2_session *session, const nghttp2_frame *frame, void *user) {
    ct__h2_wire *w = user;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        w->is_leaving = true;
        w->is_faulty |= frame->goaway.error_code != NGHTTP2_NO_ERROR;
    }
    if ((frame->hd.type != NGHTTP2_DATA && frame->hd.type != NGHTTP2_HEADERS) ||
        (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0)
        return 0;
    ct__h2_leg *leg = ct__h2_leg_at(w, frame->hd.stream_id);
    if (leg != NULL)
        leg->has_sent = true;
    if (w->is_server && leg != NULL && !leg->has_ended) /* the answer is complete; the rest of the request is of no use */
        ct__h2_said(w, nghttp2_submit_rst_stream(session, NGHTTP2_FLAG_NONE, frame->hd.stream_id, NGHTTP2_NO_ERROR));
    return 0;
}

/* A request that nghttp2 could not even begin may have no stream, and is not told as closed then. */
static int on_frame_not_send(nghttp2_session *session, const nghttp2_frame *frame, int error, void *user) {
    (void)error;
    ct__h2_wire *w = user;
    if (frame->hd.type != NGHTTP2_HEADERS || frame->headers.cat != NGHTTP2_HCAT_REQUEST)
        return 0;
    for (ct__h2_leg *leg = w->legs; leg != NULL; leg = leg->next) {
        if (leg->id == frame->hd.stream_id) {
            (void)nghttp2_session_set_stream_user_data(session, leg->id, NULL);
            ct__h2_leg_close(leg, NGHTTP2_REFUSED_STREAM);
            break;
        }
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t code, void *user) {
    (void)session;
    ct__h2_leg *leg = ct__h2_leg_at(user, id);
    if (leg != NULL)
        ct__h2_leg_close(leg, code);
    return 0;
}

/* ---- beginning ---- */

static int make_session(ct__h2_wire *w) {
    nghttp2_session_callbacks *calls = NULL;
    nghttp2_option *option = NULL;
    int result = nghttp2_session_callbacks_new(&calls);
    if (result == 0)
        result = nghttp2_option_new(&option);
    if (result == 0) {
        if (w->is_server)
            nghttp2_session_callbacks_set_on_begin_frame_callback(calls, on_begin_frame);
        nghttp2_session_callbacks_set_on_begin_headers_callback(calls, on_begin_headers);
        nghttp2_session_callbacks_set_on_header_callback2(calls, on_header);
        nghttp2_session_callbacks_set_on_invalid_header_callback2(calls, on_invalid_header);
        nghttp2_session_callbacks_set_on_data_chunk_recv_callback(calls, on_data);
        nghttp2_session_callbacks_set_on_frame_recv_callback(calls, on_frame_recv);
        nghttp2_session_callbacks_set_on_frame_send_callback(calls, on_frame_send);
        nghttp2_session_callbacks_set_on_frame_not_send_callback(calls, on_frame_not_send);
        nghttp2_session_callbacks_set_on_stream_close_callback(calls, on_stream_close);
        nghttp2_session_callbacks_set_send_data_callback(calls, ct__h2_leg_send_data);
        nghttp2_option_set_no_auto_window_update(option, 1);
        nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
        nghttp2_option_set_max_settings(option, SETTINGS_MAX);
        nghttp2_option_set_max_deflate_dynamic_table_size(option, TABLE_BYTES);
        nghttp2_option_set_stream_reset_rate_limit(option, RESETS_BURST, RESETS_A_SECOND);
        nghttp2_option_set_max_continuations(option, CONTINUATIONS_MAX);
        nghttp2_mem memory = ct__h2_memory(&w->budget);
        result = w->is_server ? nghttp2_session_server_new3(&w->session, calls, w, option, &memory)
                              : nghttp2_session_client_new3(&w->session, calls, w, option, &memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(calls);
    return result;
}

static int greet(ct__h2_wire *w) {
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, w->is_server ? w->limits->streams : 0},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, w->is_server ? STREAM_WINDOW_BYTES : ANSWER_WINDOW_BYTES},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, CT__H2_HEAD_BYTES_MAX},
        {NGHTTP2_SETTINGS_HEADER_TABLE_SIZE, TABLE_BYTES},
        {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    const size_t count = sizeof settings / sizeof settings[0] - (w->is_server ? 1 : 0); /* push is a client's to forbid */
    const int result = nghttp2_submit_settings(w->session, NGHTTP2_FLAG_NONE, settings, count);
    return result != 0 ? result : nghttp2_session_set_local_window_size(w->session, NGHTTP2_FLAG_NONE, 0, WINDOW_BYTES);
}

int ct__h2_wire_open(ct__h2_wire *w, ct_reactor *reactor, ct__h2_pool *pool, int fd, bool is_connecting, bool is_server,
                     const ct__h2_limits *limits, const ct__h2_wire_calls *calls, ct_tls *tls) {
    w->calls = calls;
    w->limits = limits;
    w->is_server = is_server;
    w->budget = (ct__h2_budget){.pool = pool, .limit_bytes = limits->session_bytes};
    w->pull.run = pull;
    w->bury.run = bury;
    w->tick.due = tick;
    w->peer_streams = 100; /* until its settings are here: every server should take as many (RFC 9113, 6.5.2) */
    w->opened_ns = w->heard_ns = w->rested_ns = w->moved_ns = ct__reactor_now_ns(reactor);
    w->conn.in.keep_bytes = w->conn.out.keep_bytes = KEEP_BYTES;
    int result = ct__conn_open(&w->conn, reactor, fd, is_connecting, &CONN_CALLS);
    if (result < 0)
        return result;
    if (tls != NULL && ct__conn_secure(&w->conn, tls) != 0) {
        ct__conn_close(&w->conn);
        return -ENOMEM;
    }
    result = make_session(w);
    if (result == 0)
        result = greet(w);
    if (result == 0)
        result = ct__alarm_set(reactor, &w->tick, w->opened_ns + TICK_MIN_NS) < 0 ? NGHTTP2_ERR_NOMEM : 0;
    if (result != 0) {
        if (w->session != NULL)
            nghttp2_session_del(w->session);
        w->session = NULL;
        ct__conn_close(&w->conn);
        return ct__h2_error_of(result);
    }
    ct__task_defer(reactor, &w->pull);
    return 0;
}
