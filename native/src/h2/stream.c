#include "h2/stream.h"

#include <stdlib.h>
#include <string.h>

enum { KEPT_MAX = 512 /* chosen: streams at rest */ };

/* ---- streams and their handles ---- */

ct__h2_stream ct__h2_handle_of(const ct__h2_served *s) {
    return (uint64_t)s->server->slots[s->index].generation << 32 | (s->index + 1);
}

ct__h2_served *ct__h2_asked(ct__h2_server *server, ct__h2_stream handle) {
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

void ct__h2_stream_free(ct__h2_served *s) {
    ct__bytes_free(&s->leg.out);
    ct__bytes_free(&s->leg.trailer);
    ct__bytes_free(&s->body);
    free(s);
}

void ct__h2_fields_drop(ct__h2_served *s) {
    for (size_t i = 0; i < s->field_count; i++) {
        nghttp2_rcbuf_decref(s->fields[i].name);
        nghttp2_rcbuf_decref(s->fields[i].value);
    }
    s->field_count = 0;
}

void ct__h2_stream_rest(ct__h2_served *s) {
    ct__h2_server *server = s->server;
    server->counts.streams--;
    ct__h2_fields_drop(s);
    ct__h2_unhold(s, s->held_bytes);
    give_slot(server, s);
    ct__bytes_free(&s->leg.trailer);
    if (server->kept_count >= KEPT_MAX) {
        ct__h2_stream_free(s);
        return;
    }
    ct__bytes_skip(&s->leg.out, s->leg.out.len);
    ct__bytes_keep(&s->leg.out, 0);
    ct__bytes_skip(&s->body, s->body.len);
    s->newer = server->kept;
    server->kept = s;
    server->kept_count++;
}

ct__h2_served *ct__h2_stream_new(ct__h2_server *server) {
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
        ct__h2_stream_free(s);
        return NULL;
    }
    server->counts.streams++;
    return s;
}

/* ---- lines ---- */

static void watch_line(ct__h2_server *server, ct__h2_line *line) {
    if (line->oldest != NULL && line->alarm.place == 0)
        (void)ct__alarm_set(server->reactor, &line->alarm, line->oldest->began_ns + line->wait_ns);
}

void ct__h2_line_join(ct__h2_line *line, ct__h2_served *s) {
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

void ct__h2_line_leave(ct__h2_served *s) {
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

void ct__h2_line_serve(ct__h2_server *server, ct__h2_line *line, void (*serve)(ct__h2_served *s)) {
    const uint64_t now = ct__reactor_now_ns(server->reactor);
    while (line->oldest != NULL && now - line->oldest->began_ns >= line->wait_ns)
        serve(line->oldest);
    watch_line(server, line);
}
