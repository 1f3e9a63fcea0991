#include "h2/server.h"

#include "base/cursor.h"
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
    KEPT_MAX = 512,      /* chosen: streams at rest */
    MESSAGE_MAX = 1024,  /* of a status; what is longer is cut */
    PROBLEM_MAX = 16384, /* chosen: half of what a client takes as headers */
    STATUS_DIGITS = 10
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

void ct__h2_rest(ct__bytes *bytes) {
    ct__bytes_skip(bytes, bytes->len);
    if (bytes->cap > CT__H2_KEPT_BYTES)
        ct__bytes_free(bytes);
}

/* ---- streams and their handles ---- */

static ct__h2_stream handle_of(const ct__h2_served *s) {
    return (uint64_t)s->server->slots[s->index].generation << 32 | (s->index + 1);
}

static ct__h2_served *asked(ct__h2_server *server, ct__h2_stream handle) {
    const uint32_t index = (uint32_t)handle - 1;
    if (handle == 0 || index >= server->slot_count || server->slots[index].generation != handle >> 32)
        return NULL;
    ct__h2_served *s = server->slots[index].stream;
    return s != NULL && s->state == CT__H2_ASKED ? s : NULL;
}

static bool take_slot(ct__h2_server *server, ct__h2_served *s) {
    if (server->free_slot == 0) {
        if (server->slot_count == server->slot_room) {
            const uint32_t room = server->slot_room == 0 ? 64 : 2 * server->slot_room;
            ct__h2_slot *grown = reallocarray(server->slots, room, sizeof *grown);
            if (grown == NULL)
                return false;
            server->slots = grown;
            server->slot_room = room;
        }
        server->slots[server->slot_count] = (ct__h2_slot){.generation = 1};
        server->free_slot = ++server->slot_count;
    }
    s->index = server->free_slot - 1;
    server->free_slot = server->slots[s->index].next_free;
    server->slots[s->index].stream = s;
    return true;
}

static void give_slot(ct__h2_server *server, const ct__h2_served *s) {
    ct__h2_slot *slot = &server->slots[s->index];
    slot->stream = NULL;
    slot->generation++;
    slot->next_free = server->free_slot;
    server->free_slot = s->index + 1;
}

static void free_stream(ct__h2_served *s) {
    ct__bytes_free(&s->leg.out);
    ct__bytes_free(&s->leg.trailer);
    ct__bytes_free(&s->body);
    free(s);
}

static void drop_fields(ct__h2_served *s) {
    for (size_t i = 0; i < s->field_count; i++) {
        nghttp2_rcbuf_decref(s->fields[i].name);
        nghttp2_rcbuf_decref(s->fields[i].value);
    }
    s->field_count = 0;
}

static void rest_stream(ct__h2_served *s) {
    ct__h2_server *server = s->server;
    server->counts.streams--;
    drop_fields(s);
    ct__h2_unhold(s, s->held_bytes);
    give_slot(server, s);
    ct__bytes_free(&s->leg.trailer);
    if (server->kept_count >= KEPT_MAX) {
        free_stream(s);
        return;
    }
    ct__h2_rest(&s->leg.out);
    ct__h2_rest(&s->body);
    s->newer = server->kept;
    server->kept = s;
    server->kept_count++;
}

static ct__h2_leg *opened(ct__h2_wire *wire, int32_t id) {
    (void)id;
    ct__h2_server *server = link_of(wire)->server;
    ct__h2_served *s = server->kept;
    if (s != NULL) {
        server->kept = s->newer;
        server->kept_count--;
    } else {
        s = malloc(sizeof *s);
        if (s == NULL)
            return NULL;
        s->leg.out = s->body = (ct__bytes){0};
    }
    const ct__bytes out = s->leg.out, body = s->body;
    memset(s, 0, offsetof(ct__h2_served, fields));
    s->leg.out = out;
    s->body = body;
    s->server = server;
    if (!take_slot(server, s)) {
        free_stream(s);
        return NULL;
    }
    server->counts.streams++;
    return &s->leg;
}

/* ---- lines ---- */

static void watch_line(ct__h2_server *server, ct__h2_line *line) {
    if (line->oldest != NULL && line->alarm.place == 0)
        (void)ct__alarm_set(server->reactor, &line->alarm, line->oldest->began_ns + line->wait_ns);
}

static void stand_in(ct__h2_line *line, ct__h2_served *s) {
    s->line = line;
    s->began_ns = ct__reactor_now_ns(s->server->reactor);
    s->older = line->newest;
    s->newer = NULL;
    if (line->newest != NULL)
        line->newest->newer = s;
    else
        line->oldest = s;
    line->newest = s;
    watch_line(s->server, line);
}

static void leave_line(ct__h2_served *s) {
    ct__h2_line *line = s->line;
    if (line == NULL)
        return;
    s->line = NULL;
    if (s->older != NULL)
        s->older->newer = s->newer;
    else
        line->oldest = s->newer;
    if (s->newer != NULL)
        s->newer->older = s->older;
    else
        line->newest = s->older;
}

static void serve_line(ct__h2_server *server, ct__h2_line *line, void (*serve)(ct__h2_served *s)) {
    const uint64_t now = ct__reactor_now_ns(server->reactor);
    while (line->oldest != NULL && now - line->oldest->began_ns >= line->wait_ns)
        serve(line->oldest);
    watch_line(server, line);
}

static void be_late(ct__h2_served *s) {
    ct__h2_turn_away(s, DEADLINE_EXCEEDED, "the request's message did not arrive in time");
}

static void late(ct__alarm *alarm) {
    ct__h2_server *server = (ct__h2_server *)((char *)alarm - offsetof(ct__h2_server, gathering.alarm));
    serve_line(server, &server->gathering, be_late);
}

/* ---- answers ---- */

static void begin_answering(ct__h2_served *s) {
    leave_line(s);
    s->state = CT__H2_ENDING;
}

/* An answer may be made of what the request held, so that goes last. */
static void drop_body(ct__h2_served *s) {
    ct__h2_unhold(s, s->body.len);
    ct__h2_rest(&s->body);
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
    const int result = ct__h2_leg_respond(&s->leg, pairs, problem.len > 0 ? 5 : 4, false);
    drop_body(s);
    if (result < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
    return result;
}

void ct__h2_turn_away(ct__h2_served *s, uint32_t status, const char *message) {
    (void)refuse(s, status, ct__h2_text(message), (ct__h2_span){0});
}

int ct__h2_own(ct__h2_server *server, ct__h2_stream stream, void *owner) {
    ct__h2_served *s = asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    s->owner = owner;
    return 0;
}

int ct__h2_answer(ct__h2_server *server, ct__h2_stream stream, const ct__h2_span *pieces, size_t count) {
    ct__h2_served *s = asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += pieces[i].len;
    begin_answering(s);
    uint8_t *room = len <= UINT32_MAX && server->counts.held_bytes - s->body.len + len <= server->limits.held_bytes
                        ? ct__bytes_room(&s->leg.out, CT__H2_PREFIX_BYTES + len)
                        : NULL;
    if (room == NULL) {
        ct__h2_turn_away(s, RESOURCE_EXHAUSTED, "too many answers wait for their clients");
        return -ENOMEM;
    }
    room[0] = 0;
    ct__be32_put(room + 1, (uint32_t)len);
    size_t at = CT__H2_PREFIX_BYTES;
    for (size_t i = 0; i < count; at += pieces[i].len, i++)
        if (pieces[i].len > 0)
            memcpy(room + at, pieces[i].data, pieces[i].len);
    ct__bytes_grow(&s->leg.out, at);
    drop_body(s);
    ct__h2_hold(s, at);
    s->leg.is_last = s->leg.is_fine = true;
    static const nghttp2_nv pairs[] = {CT__H2_NV(":status", "200"), CT__H2_NV("content-type", "application/grpc")};
    const int result = ct__h2_leg_respond(&s->leg, pairs, 2, true);
    if (result < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
    return result;
}

int ct__h2_refuse(ct__h2_server *server, ct__h2_stream stream, uint32_t status, ct__h2_span message, ct__h2_span problem) {
    ct__h2_served *s = asked(server, stream);
    return s == NULL ? -ESTALE : refuse(s, status, message, problem);
}

int ct__h2_forward(ct__h2_server *server, ct__h2_stream stream) {
    ct__h2_served *s = asked(server, stream);
    if (s == NULL)
        return -ESTALE;
    ct__h2_pass(s);
    return 0;
}

/* ---- who speaks no gRPC ---- */

static bool is_grpc(const ct__h2_head *head) {
    static const char type[] = "application/grpc";
    return head->content_type.len >= sizeof type - 1 && memcmp(head->content_type.data, type, sizeof type - 1) == 0;
}

static bool has_method(const ct__h2_served *s, const char *method) {
    for (size_t i = 0; i < s->field_count; i++) {
        const nghttp2_vec n = nghttp2_rcbuf_get_buf(s->fields[i].name), v = nghttp2_rcbuf_get_buf(s->fields[i].value);
        if (n.len == 7 && memcmp(n.base, ":method", 7) == 0)
            return v.len == strlen(method) && memcmp(v.base, method, v.len) == 0;
    }
    return false;
}

static void tell_stranger(ct__h2_served *s) {
    static const char text[] = "This port speaks gRPC only.\n";
    static const nghttp2_nv pairs[] = {CT__H2_NV(":status", "415"), CT__H2_NV("content-type", "text/plain")};
    begin_answering(s);
    const bool has_body = !has_method(s, "HEAD") && ct__bytes_add(&s->leg.out, text, sizeof text - 1) == 0;
    ct__h2_hold(s, s->leg.out.len);
    s->leg.is_last = true;
    if (ct__h2_leg_respond(&s->leg, pairs, 2, has_body) < 0)
        ct__h2_leg_reset(&s->leg, NGHTTP2_INTERNAL_ERROR);
}

static void tell_strangers(ct__alarm *alarm) {
    ct__h2_server *server = (ct__h2_server *)((char *)alarm - offsetof(ct__h2_server, strange.alarm));
    serve_line(server, &server->strange, tell_stranger);
}

/* ---- what comes in ---- */

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
        stand_in(&server->strange, s);
    } else if (server->calls != NULL && server->calls->wanted != NULL && server->calls->wanted(server->ctx, &s->head)) {
        s->state = CT__H2_GATHERING;
        stand_in(&server->gathering, s);
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
        leave_line(s);
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
    leave_line(s);
    const ptrdiff_t len = ct__h2_message_len(ct__bytes_front(&s->body), s->body.len);
    if (len < 0) {
        ct__h2_pass(s); /* compressed, several, or none: how that is refused is decided behind */
        return;
    }
    s->state = CT__H2_ASKED;
    server->counts.taken++;
    server->calls->request(server->ctx, handle_of(s), &s->head, ct__bytes_front(&s->body) + CT__H2_PREFIX_BYTES,
                           (size_t)len);
}

static void sent(ct__h2_leg *leg, size_t len) {
    ct__h2_served *s = served_of(leg);
    ct__h2_unhold(s, len);
    ct__h2_pass_sent(s, len);
}

static void closed(ct__h2_wire *wire, ct__h2_leg *leg, uint32_t code) {
    (void)code;
    ct__h2_served *s = served_of(leg);
    ct__h2_server *server = s->server;
    const bool is_cut = !leg->has_sent;
    if (is_cut)
        server->counts.cancelled++;
    leave_line(s);
    if (s->state == CT__H2_ASKED) {
        s->state = CT__H2_ENDING;
        if (server->calls->cancelled != NULL)
            server->calls->cancelled(server->ctx, handle_of(s), s->owner);
    }
    if (s->up != NULL)
        ct__h2_pass_closed(s, wire);
    rest_stream(s);
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

static void accepted(ct__listener *listener, int fd) {
    ct__h2_server *server = (ct__h2_server *)((char *)listener - offsetof(ct__h2_server, listener));
    if (server->counts.connections >= server->limits.connections) {
        server->counts.turned_away++;
        ct_drop_fd(&fd);
        return;
    }
    if (ct__h2_server_adopt(server, fd) < 0)
        server->counts.turned_away++;
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
    server->calls = calls;
    server->ctx = ctx;
    server->gathering.alarm.due = late;
    server->gathering.wait_ns = server->limits.body_ns;
    server->strange.alarm.due = tell_strangers;
    server->strange.wait_ns = STRANGE_NS;
    server->deadline.due = overdue;
    server->finish.run = finish;
    server->listener.accepted = accepted;
    server->listener.watch.fd = -1;
    if (fd >= 0 && ct__listener_open(&server->listener, reactor, fd) < 0) {
        free(server);
        return NULL;
    }
    return server;
}

void ct__h2_server_stop(ct__h2_server *server, uint64_t deadline_ns) {
    if (server->is_stopping)
        return;
    server->is_stopping = true;
    ct__listener_close(&server->listener);
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
    ct__listener_close(&server->listener);
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
        drop_fields(s);
        free_stream(s);
    }
    while (server->downs != NULL)
        ct__h2_wire_free(&server->downs->wire);
    ct__h2_forget_ups(server);
    while (server->kept != NULL) {
        ct__h2_served *s = server->kept;
        server->kept = s->newer;
        free_stream(s);
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
