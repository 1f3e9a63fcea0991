#include "h2/server.h"

#include "base/scope.h"
#include "h2/stream.h"
#include "h2/text.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
    DEADLINE_EXCEEDED = 4,
    RESOURCE_EXHAUSTED = 8,
    NEAR_BYTES = 2 << 20 /* chosen: what eight fast workers have in theirs */
};

/* chosen: whoever speaks no gRPC is in no hurry, and scans no faster than this */
static const uint64_t STRANGE_NS = 100000000;

static ct__h2_served *served_of(ct__h2_leg *leg) {
    return (ct__h2_served *)((char *)leg - offsetof(ct__h2_served, leg));
}

static ct__h2_link *link_of(ct__h2_wire *wire) {
    return (ct__h2_link *)((char *)wire - offsetof(ct__h2_link, wire));
}

void ct__h2_link_add(ct__h2_link **list, ct__h2_link *link) {
    link->next = *list;
    link->link = list;
    if (*list != NULL)
        (*list)->link = &link->next;
    *list = link;
}

void ct__h2_link_remove(ct__h2_link *link) {
    *link->link = link->next;
    if (link->next != NULL)
        link->next->link = link->link;
}

/* ---- what was waited for long enough ---- */

static void be_late(ct__h2_served *s) {
    ct__h2_turn_away(s, DEADLINE_EXCEEDED, "the request's message did not arrive in time");
}

static void late(ct__alarm *alarm) {
    ct__h2_server *server = (ct__h2_server *)((char *)alarm - offsetof(ct__h2_server, gathering.alarm));
    ct__h2_line_serve(server, &server->gathering, be_late);
}

static void tell_strangers(ct__alarm *alarm) {
    ct__h2_server *server = (ct__h2_server *)((char *)alarm - offsetof(ct__h2_server, strange.alarm));
    ct__h2_line_serve(server, &server->strange, ct__h2_tell_stranger);
}

/* ---- what comes in ---- */

static bool is_grpc(const ct__h2_head *head) {
    static const char type[] = "application/grpc";
    return head->content_type.len >= sizeof type - 1 && memcmp(head->content_type.data, type, sizeof type - 1) == 0;
}

static ct__h2_leg *opened(ct__h2_wire *wire, int32_t id) {
    (void)id;
    ct__h2_served *s = ct__h2_stream_new(link_of(wire)->server);
    return s != NULL ? &s->leg : NULL;
}

static void field(ct__h2_leg *leg, nghttp2_rcbuf *name, nghttp2_rcbuf *value) {
    ct__h2_served *s = served_of(leg);
    if (s->state != CT__H2_HEADING)
        return; /* a client's trailers: gRPC has none */
    const nghttp2_vec n = nghttp2_rcbuf_get_buf(name), v = nghttp2_rcbuf_get_buf(value);
    s->head_bytes += n.len + v.len + 32; /* as RFC 9113 counts */
    const ct__h2_span key = {n.base, n.len};
    if (ct__h2_key_of(key) == CT__H2_KEY_STRIPPED)
        return;
    if (s->field_count == CT__H2_FIELDS_MAX || s->head_bytes > CT__H2_HEAD_BYTES_MAX) {
        s->is_too_large = true;
        return;
    }
    nghttp2_rcbuf_incref(name);
    nghttp2_rcbuf_incref(value);
    s->fields[s->field_count++] = (ct__h2_field){name, value};
    ct__h2_head_add(&s->head, key, (ct__h2_span){v.base, v.len});
}

static void headed(ct__h2_leg *leg) {
    ct__h2_served *s = served_of(leg);
    ct__h2_server *server = s->server;
    if (s->state != CT__H2_HEADING)
        return;
    if (s->is_too_large) {
        ct__h2_turn_away(s, RESOURCE_EXHAUSTED, "the call's metadata is too large");
        return;
    }
    ct__h2_head_finish(&s->head, ct__reactor_now_ns(server->reactor));
    if (!is_grpc(&s->head)) {
        s->state = CT__H2_STRANGE;
        ct__h2_line_join(&server->strange, s);
    } else if (server->calls != NULL && server->calls->wanted != NULL && server->calls->wanted(server->ctx, &s->head)) {
        s->state = CT__H2_GATHERING;
        ct__h2_line_join(&server->gathering, s);
    } else {
        ct__h2_pass(s);
    }
}

static void gather(ct__h2_served *s, const uint8_t *data, size_t len) {
    ct__h2_server *server = s->server;
    ct__h2_leg_consume(&s->leg, len);
    ct__h2_wire_consume(s->leg.wire, len);
    if (server->counts.held_bytes + len > server->limits.held_bytes || ct__bytes_add(&s->body, data, len) < 0) {
        ct__h2_turn_away(s, RESOURCE_EXHAUSTED, "too many requests wait here");
        return;
    }
    ct__h2_hold(s, len);
    if (s->body.len > server->limits.message_bytes + CT__H2_PREFIX_BYTES) {
        ct__h2_line_leave(s);
        ct__h2_pass(s); /* what is said to the sender of too much is decided behind */
    }
}

static void data(ct__h2_leg *leg, const uint8_t *bytes, size_t len) {
    ct__h2_served *s = served_of(leg);
    if (s->state == CT__H2_GATHERING) {
        gather(s, bytes, len);
    } else if (s->state == CT__H2_PASSING) {
        ct__h2_pass_data(s, bytes, len);
    } else {
        ct__h2_leg_consume(leg, len);
        ct__h2_wire_consume(leg->wire, len);
    }
}

static void ended(ct__h2_leg *leg) {
    ct__h2_served *s = served_of(leg);
    ct__h2_server *server = s->server;
    if (s->state == CT__H2_PASSING)
        ct__h2_pass_end(s);
    if (s->state != CT__H2_GATHERING)
        return;
    ct__h2_line_leave(s);
    const ptrdiff_t len = ct__h2_message_len(ct__bytes_front(&s->body), s->body.len);
    if (len < 0) {
        ct__h2_pass(s); /* compressed, several, or none: how that is refused is decided behind */
        return;
    }
    s->state = CT__H2_ASKED;
    server->counts.taken++;
    server->calls->request(server->ctx, ct__h2_handle_of(s), &s->head, ct__bytes_front(&s->body) + CT__H2_PREFIX_BYTES,
                           (size_t)len);
}

static void sent(ct__h2_leg *leg, size_t len) {
    ct__h2_served *s = served_of(leg);
    ct__h2_server *server = s->server;
    ct__h2_unhold(s, len);
    ct__h2_pass_sent(s, len);
    if (!s->is_pressed || s->leg.out.len > CT__H2_SAID_LOW_BYTES)
        return;
    s->is_pressed = false;
    if (s->state == CT__H2_ASKED && server->calls->drained != NULL)
        server->calls->drained(server->ctx, ct__h2_handle_of(s), s->owner);
}

static void closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code) {
    (void)code;
    ct__h2_served *s = served_of(leg);
    ct__h2_server *server = s->server;
    const bool is_cut = !leg->has_sent;
    if (is_cut)
        server->counts.cancelled++;
    ct__h2_line_leave(s);
    if (s->state == CT__H2_ASKED) {
        s->state = CT__H2_ENDING;
        if (server->calls->cancelled != NULL)
            server->calls->cancelled(server->ctx, ct__h2_handle_of(s), s->owner);
    }
    if (s->up != NULL)
        ct__h2_pass_closed(s, wire);
    ct__h2_stream_rest(s);
}

/* ---- connections ---- */

static void finish(ct__task *task) {
    ct__h2_server *server = (ct__h2_server *)((char *)task - offsetof(ct__h2_server, finish));
    if (!server->is_stopping || server->has_stopped || server->downs != NULL)
        return;
    server->has_stopped = true;
    ct__alarm_clear(server->reactor, &server->deadline);
    if (server->calls != NULL && server->calls->stopped != NULL)
        server->calls->stopped(server->ctx);
}

static void rested(ct__h2_wire *wire) {
    if (link_of(wire)->server->is_stopping)
        ct__h2_wire_leave(wire);
}

static void gone(ct__h2_wire *wire, int error) {
    (void)error;
    if (wire->is_faulty)
        link_of(wire)->server->counts.faulted++;
}

static void freed(ct__h2_wire *wire) {
    ct__h2_link *link = link_of(wire);
    ct__h2_server *server = link->server;
    server->counts.connections--;
    ct__h2_link_remove(link);
    free(link);
    ct__task_defer(server->reactor, &server->finish);
}

static const ct__h2_wire_calls DOWN_CALLS = {.opened = opened,
                                             .field = field,
                                             .headed = headed,
                                             .data = data,
                                             .ended = ended,
                                             .sent = sent,
                                             .closed = closed,
                                             .rested = rested,
                                             .gone = gone,
                                             .freed = freed};

void ct_h2_server_secure(ct_h2_server *server, ct_tls *tls) {
    server->tls = tls;
}

int ct__h2_server_adopt(ct__h2_server *server, int fd) {
    ct__h2_link *link = calloc(1, sizeof *link);
    if (link == NULL) {
        ct_drop_fd(&fd);
        return -ENOMEM;
    }
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* a unix socket has no use for it */
    link->server = server;
    const int result = ct__h2_wire_open(&link->wire, server->reactor, &server->pool, fd, false, true, &server->limits, &DOWN_CALLS, server->tls);
    if (result < 0) {
        free(link);
        return result;
    }
    ct__h2_link_add(&server->downs, link);
    server->counts.connections++;
    server->counts.accepted++;
    return 0;
}

/* One unix socket carries the streams of many clients, and its queue in the kernel is as small as one client's: TCP's would grow by itself. */
static void enlarge(int fd) {
    const int bytes = NEAR_BYTES;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) != 0) /* above what others may ask for */
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes);
}

static void accepted(ct__listener *listener, int fd) {
    const ct__h2_door *door = (const ct__h2_door *)((const char *)listener - offsetof(ct__h2_door, listener));
    ct__h2_server *server = door->server;
    if (server->counts.connections >= server->limits.connections) {
        server->counts.turned_away++;
        ct_drop_fd(&fd);
        return;
    }
    if (door->is_near)
        enlarge(fd);
    if (ct__h2_server_adopt(server, fd) < 0)
        server->counts.turned_away++;
    else if (door->is_near)
        server->counts.accepted_near++;
}

int ct__h2_server_listen(ct__h2_server *server, int fd) {
    if (server->door_count == CT__H2_DOORS)
        return CT_E_FULL;
    int family = 0;
    socklen_t len = sizeof family;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &len) != 0)
        return -errno;
    ct__h2_door *door = &server->doors[server->door_count];
    *door = (ct__h2_door){.listener = {.accepted = accepted}, .server = server, .is_near = family == AF_UNIX};
    const int result = ct__listener_open(&door->listener, server->reactor, fd);
    if (result == 0)
        server->door_count++;
    return result;
}

static void close_doors(ct__h2_server *server) {
    for (uint32_t i = 0; i < server->door_count; i++)
        ct__listener_close(&server->doors[i].listener);
    server->door_count = 0;
}

static void overdue(ct__alarm *alarm) {
    ct__h2_server *server = (ct__h2_server *)((char *)alarm - offsetof(ct__h2_server, deadline));
    for (ct__h2_link *link = server->downs; link != NULL; link = link->next)
        ct__h2_wire_end(&link->wire);
}

ct__h2_server *ct__h2_server_new(ct_reactor *reactor, int fd, const char *upstream, const ct__h2_limits *limits,
                                 const ct__h2_server_calls *calls, void *ctx) {
    ct__h2_server *server = calloc(1, sizeof *server);
    if (server == NULL)
        return NULL;
    const size_t len = strlen(upstream);
    if (len >= sizeof server->upstream) {
        free(server);
        return NULL;
    }
    memcpy(server->upstream, upstream, len + 1);
    server->reactor = reactor;
    server->limits = server->up_limits = ct__h2_limits_filled(limits);
    server->up_limits.idle_ns = server->limits.idle_ns / 20;
    server->pool.limit_bytes = server->limits.sessions_bytes;
    server->calls = calls;
    server->ctx = ctx;
    server->gathering.alarm.due = late;
    server->gathering.wait_ns = server->limits.body_ns;
    server->strange.alarm.due = tell_strangers;
    server->strange.wait_ns = STRANGE_NS;
    server->deadline.due = overdue;
    server->finish.run = finish;
    if (fd >= 0 && ct__h2_server_listen(server, fd) < 0) {
        free(server);
        return NULL;
    }
    return server;
}

void ct__h2_server_stop(ct__h2_server *server, uint64_t deadline_ns) {
    if (server->is_stopping)
        return;
    server->is_stopping = true;
    close_doors(server);
    for (ct__h2_link *link = server->downs; link != NULL; link = link->next)
        if (link->wire.leg_count == 0)
            ct__h2_wire_leave(&link->wire);
    ct__task_defer(server->reactor, &server->finish);
    if (ct__alarm_set(server->reactor, &server->deadline, deadline_ns) < 0)
        overdue(&server->deadline);
}

void ct__h2_server_free(ct__h2_server *server) {
    if (server == NULL)
        return;
    close_doors(server);
    ct__alarm_clear(server->reactor, &server->gathering.alarm);
    ct__alarm_clear(server->reactor, &server->strange.alarm);
    ct__alarm_clear(server->reactor, &server->deadline);
    for (uint32_t i = 0; i < server->slot_count; i++) {
        ct__h2_served *s = server->slots[i].stream;
        if (s == NULL)
            continue;
        if (s->up != NULL)
            ct__h2_pass_closed(s, s->leg.wire);
        ct__h2_leg_drop(&s->leg);
        ct__h2_fields_drop(s);
        ct__h2_stream_free(s);
    }
    while (server->downs != NULL)
        ct__h2_wire_free(&server->downs->wire);
    ct__h2_forget_ups(server);
    while (server->kept != NULL) {
        ct__h2_served *s = server->kept;
        server->kept = s->newer;
        ct__h2_stream_free(s);
    }
    ct__task_drop(server->reactor, &server->finish);
    ct__h2_pool_fini(&server->pool);
    ct__bytes_free(&server->scratch);
    free(server->slots);
    free(server);
}

ct_h2_counts ct__h2_server_counts(const ct__h2_server *server) {
    return server->counts;
}
