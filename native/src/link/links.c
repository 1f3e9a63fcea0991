/* The links of one reactor: by handle, from their opening to their end. */

#include "base/err.h"
#include "link/state.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* of Linux 6.16; no machine that we build for numbers it otherwise */
#endif

enum { IN_LIMIT_BYTES = CT_LINK_FRAME_MAX + (64 << 10) };

typedef struct slot {
    ct_link *link; /* NULL: free */
    uint32_t generation;
    uint32_t next_free; /* from 1; 0: none */
} slot;

struct ct_links {
    ct_reactor *reactor;
    ct__pipes *pipes;
    slot *slots;
    uint32_t count, room, first_free;
};

ct_links *ct_links_new(ct_reactor *reactor) {
    ct_links *links = calloc(1, sizeof *links);
    if (links == NULL)
        return NULL;
    links->reactor = reactor;
    links->pipes = ct__pipes_new(reactor);
    if (links->pipes == NULL) {
        free(links);
        return NULL;
    }
    return links;
}

void ct_links_free(ct_links *links) {
    if (links == NULL)
        return;
    ct__pipes_free(links->pipes);
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

/* Unless the kernel refuses a peer to send us descriptors, which whoever made the socket has asked of it. */
static bool may_be_sent_some(int fd) {
    int may = 1;
    socklen_t len = sizeof may;
    return getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &may, &len) != 0 || may != 0;
}

void ct__link_discard(ct__conn *conn, int fd) {
    ct_link *l = (ct_link *)((char *)conn - offsetof(ct_link, conn));
    ct__pipes_discard(l->links->pipes, fd);
    if (conn->fd >= 0)
        ct__link_hang_up(l, CT_CAUSE_RIGHTS, 0, 0);
}

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
    l->chatter_bytes = CT__CHATTER_BYTES + (int64_t)settings->log_limit;
    l->conn.in_limit = IN_LIMIT_BYTES;
    l->conn.reads_to_end = true;
    if (may_be_sent_some(fd))
        l->conn.discards = ct__link_discard;
    l->stdio.take = ct__link_take_stdio;
    l->stdio.settled = ct__link_stdio_settled;
    l->stdio.stuck = ct__link_stdio_stuck;
    result = ct__conn_open(&l->conn, reactor, fd, false, &ct__link_conn_calls);
    const int stdio_result = ct__stdio_open(&l->stdio, links->pipes, reactor, stdio_fd);
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

int ct_link_share(ct_link *l, ct_mail *mail) {
    l->bell.ready = ct__link_rang;
    const int result = ct__watch_add(l->reactor, &l->bell, ct_mail_bell_fd(mail), EPOLLIN | EPOLLET);
    if (result < 0)
        ct_mail_free(mail);
    else
        l->mail = mail;
    return result;
}

void ct_link_free(ct_link *l, const uint8_t *cause, size_t len) {
    if (l == NULL)
        return;
    ct__stdio_finish(&l->stdio);
    if (l->awaits_stdio)
        ct__link_stdio_settled(&l->stdio);
    if (!l->has_hung_up)
        ct__emit_give_back(l->reactor, 1);
    l->has_hung_up = l->has_ended = true;
    ct__link_close(l);
    ct_mail_free(l->mail);
    ct__stdio_close(&l->stdio);
    for (ct__seat *seat; (seat = ct__calls_next(&l->calls, 0)) != NULL;) {
        ct__link_call *call = seat->call;
        ct__calls_remove(&l->calls, seat);
        if (call == NULL)
            continue;
        ct__emit_give_back(l->reactor, 1);
        ct__link_deliver(l, call, CT_END_DIED, cause, len);
    }
    ct__calls_free(&l->calls);
    ct__log_free(&l->ambient);
    free(l->parked);
    give_slot(l);
    free(l);
}
