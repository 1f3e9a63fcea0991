#define _GNU_SOURCE
#include "edge/edge.h"
#include "reactor/tls.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const uint64_t LINGER_NS = 1000000000;      /* chosen: a client that is still sending reads our answer in this time */
static const uint64_t RETRY_NS = 2000000;          /* chosen: until our own server has taken its backlog */
static const uint64_t PATIENCE_NS = 5000000000;    /* chosen: it has not moved for that long: it hangs */

static void look(ct__caller *c);

static ct__caller *caller_of(void *part, size_t offset) {
    return (ct__caller *)((char *)part - offset);
}

/* ---- the life of a connection ---- */

void ct__caller_deadline(ct__caller *c, uint64_t at_ns) {
    c->deadline_ns = at_ns;
    if (at_ns < c->alarm.at_ns)
        (void)ct__alarm_set(c->edge->reactor, &c->alarm, at_ns); /* it has its place: this can not fail */
}

static void give_back(ct__caller *c) {
    if (c->stream.has_begun)
        ct__bytes_keep(&c->conn.out, 0);
    c->stream.has_begun = false;
    ct__hold_end(c);
    c->edge->counts.held_bytes -= c->held_bytes;
    c->held_bytes = 0;
    c->gather_seen = c->gather_data = 0;
    c->conn.in_limit = CT__IN_LIMIT_BYTES;
    if (c->is_counted)
        c->edge->counts.inflight--;
    if (c->is_h2)
        c->edge->counts.tunnels--;
    c->is_counted = c->is_h2 = false;
}

static void run_free(ct__task *task) {
    free(caller_of(task, offsetof(ct__caller, task)));
}

void ct__caller_close(ct__caller *c, bool is_cut) {
    if (c->phase == CT__GONE)
        return;
    c->phase = CT__GONE;
    ct_edge *edge = c->edge;
    ct__forward_drop(c);
    ct__call_cancel(c);
    const uint32_t slot = (uint32_t)c->handle;
    edge->slots[slot] = NULL;
    edge->free_slots[edge->free_count++] = slot;
    give_back(c);
    if (is_cut && c->conn.fd >= 0) {
        const struct linger at_once = {.l_onoff = 1};
        (void)setsockopt(c->conn.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    }
    ct__conn_close(&c->conn);
    ct__alarm_clear(edge->reactor, &c->alarm);
    if (c->previous != NULL)
        c->previous->next = c->next;
    else
        edge->callers = c->next;
    if (c->next != NULL)
        c->next->previous = c->previous;
    edge->counts.connections--;
    c->task.run = run_free; /* the caller of our caller may still hold it: it goes at the end of the batch */
    ct__task_defer(edge->reactor, &c->task);
}

void ct__caller_finish(ct__caller *c) {
    if (c->phase == CT__GONE || c->phase == CT__LINGERING)
        return;
    ct__forward_drop(c);
    ct__call_cancel(c);
    give_back(c);
    c->phase = CT__LINGERING;
    c->was_empty = false;
    c->quiet = 0;
    ct__bytes_skip(&c->conn.in, c->conn.in.len);
    ct__conn_finish(&c->conn);
    ct__conn_resume(&c->conn);
    ct__caller_deadline(c, ct__reactor_now_ns(c->edge->reactor) + LINGER_NS);
}

void ct__caller_next(ct__caller *c) {
    give_back(c);
    if (c->edge->is_stopping) {
        ct__caller_finish(c);
        return;
    }
    c->phase = CT__HEADING;
    c->scan = (ct__http1_scan){0};
    c->has_begun = c->is_answered = false;
    ct__caller_deadline(c, ct__reactor_now_ns(c->edge->reactor) + c->edge->idle_ns);
    ct__conn_resume(&c->conn);
    if (c->conn.in.len > 0 && !c->conn.is_full)
        ct__task_defer(c->edge->reactor, &c->task); /* a request that was sent behind the last one */
}

/* ---- requests ---- */

static enum ct_edge_refusal refusal_of(int status) {
    switch (status) {
    case 413:
        return CT_EDGE_LARGE;
    case 414:
        return CT_EDGE_TARGET;
    case 417:
        return CT_EDGE_EXPECTATION;
    case 431:
        return CT_EDGE_FIELDS;
    case 501:
        return CT_EDGE_CODING;
    case 505:
        return CT_EDGE_VERSION;
    default:
        return CT_EDGE_MALFORMED;
    }
}

/* Tries again as long as the server's backlog is full. Returns when it may, 0: not any more. */
static uint64_t patience(ct__caller *c) {
    const uint64_t now_ns = ct__reactor_now_ns(c->edge->reactor);
    if (c->patience_ns == 0)
        c->patience_ns = now_ns + PATIENCE_NS;
    return now_ns < c->patience_ns ? now_ns + RETRY_NS : 0;
}

static void serve(ct__caller *c, const ct__http1_head *head) {
    ct_edge *edge = c->edge;
    if (!c->is_counted) {
        if (edge->counts.inflight >= edge->inflight_max) {
            const bool is_whole = head->framing == CT__HTTP1_NO_BODY || (head->framing == CT__HTTP1_LENGTH && head->length == 0);
            ct__bytes_skip(&c->conn.in, head->used);
            ct__caller_refuse(c, CT_EDGE_OVERLOADED, is_whole && !head->closes);
            return;
        }
        c->is_counted = true;
        edge->counts.inflight++;
        c->began_ns = ct__reactor_now_ns(edge->reactor);
    }
    if (ct__call(c, head))
        return;
    if (ct__forward(c, head) != -EAGAIN)
        return;
    const uint64_t retry_ns = patience(c);
    if (retry_ns == 0) {
        ct__caller_refuse(c, CT_EDGE_UPSTREAM, false);
        return;
    }
    c->phase = CT__WAITING; /* the head stays in `in`, and is read again */
    ct__caller_deadline(c, retry_ns);
}

static bool speaks_h2(const ct__caller *c) {
    return c->edge->h2_path != NULL && strcmp(ct__conn_alpn(&c->conn), "h2") == 0;
}

static void tunnel(ct__caller *c) {
    const int result = ct__tunnel(c);
    const uint64_t retry_ns = result == -EAGAIN ? patience(c) : 0;
    if (retry_ns > 0) {
        c->phase = CT__WAITING;
        ct__caller_deadline(c, retry_ns);
    } else if (result != 0) {
        ct__caller_close(c, true);
    }
}

/* Reads the next head, if it is there. */
static void look(ct__caller *c) {
    if (c->phase == CT__HEADING && c->conn.in.len > 0 && speaks_h2(c)) {
        tunnel(c);
        return;
    }
    while (c->phase == CT__HEADING && c->conn.in.len > 0 && !c->conn.is_full) {
        ct__http1_head head;
        const int result = ct__http1_request(&c->scan, ct__bytes_front(&c->conn.in), c->conn.in.len, &head);
        if (result == CT_E_MORE) {
            if (!c->has_begun)
                ct__caller_deadline(c, ct__reactor_now_ns(c->edge->reactor) + c->edge->idle_ns);
            c->has_begun = true;
            return;
        }
        c->scan = (ct__http1_scan){0};
        if (result != 0)
            ct__caller_refuse(c, refusal_of(result), false);
        else
            serve(c, &head);
    }
}

static void run_look(ct__task *task) {
    look(caller_of(task, offsetof(ct__caller, task)));
}

/* ---- what the socket says ---- */

static void received(ct__conn *conn) {
    ct__caller *c = caller_of(conn, offsetof(ct__caller, conn));
    switch (c->phase) {
    case CT__HEADING:
        look(c);
        break;
    case CT__FORWARDING:
    case CT__TUNNELLING:
        ct__forward_received(c);
        break;
    case CT__LINGERING:
        ct__bytes_skip(&conn->in, conn->in.len);
        break;
    case CT__GATHERING:
        if (conn->in.len >= c->gather_bytes) {
            c->phase = CT__HEADING; /* and now it is whole */
            look(c);
        }
        break;
    case CT__CALLING:
    case CT__STREAMING:
    case CT__WAITING:
    case CT__GONE:
        break;
    }
}

static void drained(ct__conn *conn) {
    ct__caller *c = caller_of(conn, offsetof(ct__caller, conn));
    if (c->phase == CT__HEADING && c->conn.in.len > 0)
        ct__task_defer(c->edge->reactor, &c->task);
    else if (c->phase == CT__FORWARDING || c->phase == CT__TUNNELLING)
        ct__forward_drained(c);
    else if (c->phase == CT__STREAMING)
        ct__call_drained(c);
}

static void ended(ct__conn *conn, int error) {
    ct__caller *c = caller_of(conn, offsetof(ct__caller, conn));
    if (error == 0 && c->phase == CT__TUNNELLING) {
        ct__forward_ended(c);
        return;
    }
    const bool is_cut_short = (c->phase == CT__HEADING && conn->in.len > 0) || c->phase == CT__GATHERING
                           || (c->phase == CT__FORWARDING && !ct__http1_body_done(&c->body) && !c->is_answered);
    if (error == 0 && is_cut_short)
        ct__caller_refuse(c, CT_EDGE_MALFORMED, false); /* it may listen still */
    else if (error != 0 || c->phase != CT__LINGERING || conn->out.len == 0)
        ct__caller_close(c, false);
}

/* Once a second while lingering. */
static void linger(ct__caller *c, uint64_t now_ns) {
    const size_t left = c->conn.is_broken ? 0 : c->conn.out.len;
    c->quiet = left == c->out_seen ? c->quiet + 1 : 0;
    c->out_seen = left;
    if ((left == 0 && (c->was_empty || c->conn.has_ended)) || c->quiet >= CT__STALL_NS / LINGER_NS) {
        ct__caller_close(c, false);
        return;
    }
    c->was_empty = left == 0;
    ct__caller_deadline(c, now_ns + LINGER_NS);
}

/* While an answer is passed on: one that nobody takes any of ends. */
static void watch_stall(ct__caller *c, uint64_t now_ns) {
    if (c->conn.is_full && c->conn.out.len == c->out_seen) {
        ct__caller_close(c, true);
        return;
    }
    c->out_seen = c->conn.out.len;
    ct__caller_deadline(c, now_ns + CT__STALL_NS);
}

static void due(ct__alarm *alarm) {
    ct__caller *c = caller_of(alarm, offsetof(ct__caller, alarm));
    const uint64_t now_ns = ct__reactor_now_ns(c->edge->reactor);
    /* Set again before anything else: the place in the heap that it just left is still free. */
    (void)ct__alarm_set(c->edge->reactor, alarm, c->deadline_ns > now_ns ? c->deadline_ns : now_ns + LINGER_NS);
    if (c->deadline_ns > now_ns)
        return;
    switch (c->phase) {
    case CT__HEADING:
        if (c->has_begun)
            ct__caller_refuse(c, CT_EDGE_SLOW, false);
        else
            ct__caller_close(c, c->conn.out.len > 0);
        break;
    case CT__WAITING:
        ct__hold_leave(c);
        c->phase = CT__HEADING;
        look(c);
        break;
    case CT__FORWARDING:
    case CT__TUNNELLING:
    case CT__STREAMING:
        watch_stall(c, now_ns);
        break;
    case CT__GATHERING:
        ct__caller_refuse(c, CT_EDGE_BODY_SLOW, false);
        break;
    case CT__LINGERING:
        linger(c, now_ns);
        break;
    case CT__CALLING: /* the call has a deadline of its own */
    case CT__GONE:
        break;
    }
}

int ct__caller_start(ct__caller *c, ct_edge *edge, int fd) {
    static const ct__conn_calls CALLS = {.received = received, .drained = drained, .ended = ended};
    c->edge = edge;
    c->task.run = run_look;
    c->alarm.due = due;
    c->deadline_ns = ct__reactor_now_ns(edge->reactor) + edge->idle_ns;
    int result = ct__alarm_set(edge->reactor, &c->alarm, c->deadline_ns);
    if (result != 0) {
        (void)close(fd);
        return result;
    }
    result = ct__conn_open(&c->conn, edge->reactor, fd, false, &CALLS);
    if (result == 0 && edge->tls != NULL) {
        result = ct__conn_secure(&c->conn, edge->tls);
        if (result != 0)
            ct__conn_close(&c->conn);
    }
    if (result != 0)
        ct__alarm_clear(edge->reactor, &c->alarm);
    return result;
}
