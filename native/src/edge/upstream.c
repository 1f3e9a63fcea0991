#include "edge/upstream.h"

#include <errno.h>
#include <stdlib.h>

static const uint64_t KEEP_NS = 30000000000; /* chosen: an unused connection costs the server a task */

static void run_free(ct__task *task) {
    free((ct__upstream *)((char *)task - offsetof(ct__upstream, task)));
}

static void unlink_idle(ct__upstream *u) {
    if (u->previous != NULL)
        u->previous->next = u->next;
    else if (u->edge->idle == u)
        u->edge->idle = u->next;
    if (u->next != NULL)
        u->next->previous = u->previous;
    u->next = u->previous = NULL;
}

void ct__upstream_drop(ct__upstream *u) {
    if (u->conn.fd < 0)
        return;
    unlink_idle(u);
    if (u->caller != NULL)
        u->caller->upstream = NULL;
    u->caller = NULL;
    ct__conn_close(&u->conn);
    u->task.run = run_free;
    ct__task_defer(u->edge->reactor, &u->task);
}

static void run_trim(ct__alarm *alarm) {
    ct_edge *edge = (ct_edge *)((char *)alarm - offsetof(ct_edge, trim));
    const uint64_t now_ns = ct__reactor_now_ns(edge->reactor);
    uint64_t next_ns = 0;
    for (ct__upstream *u = edge->idle, *next; u != NULL; u = next) {
        next = u->next;
        if (u->rests_since_ns + KEEP_NS <= now_ns)
            ct__upstream_drop(u);
        else
            next_ns = u->rests_since_ns + KEEP_NS;
    }
    if (next_ns > 0)
        (void)ct__alarm_set(edge->reactor, alarm, next_ns); /* failed: they stay until the next one rests */
}

void ct__upstream_rest(ct__upstream *u) {
    ct_edge *edge = u->edge;
    u->caller = NULL;
    u->scan = (ct__http1_scan){0};
    u->has_head = false;
    u->rests_since_ns = ct__reactor_now_ns(edge->reactor);
    u->next = edge->idle;
    if (u->next != NULL)
        u->next->previous = u;
    edge->idle = u;
    if (edge->trim.place == 0) {
        edge->trim.due = run_trim;
        (void)ct__alarm_set(edge->reactor, &edge->trim, u->rests_since_ns + KEEP_NS);
    }
}

ct__upstream *ct__upstream_rested(ct_edge *edge) {
    ct__upstream *u = edge->idle;
    if (u != NULL)
        unlink_idle(u);
    return u;
}

ct__upstream *ct__upstream_new(ct_edge *edge, const char *path, const ct__conn_calls *calls, int *error) {
    ct__upstream *u = calloc(1, sizeof *u);
    if (u == NULL) {
        *error = -ENOMEM;
        return NULL;
    }
    u->conn.reads_to_end = true;
    bool is_connecting;
    const int fd = ct__connect_unix(path, &is_connecting);
    *error = fd < 0 ? fd : ct__conn_open(&u->conn, edge->reactor, fd, is_connecting, calls);
    if (*error < 0) {
        free(u);
        return NULL;
    }
    u->edge = edge;
    return u;
}

static void free_now(ct__upstream *u) {
    ct__upstream_drop(u);
    ct__task_drop(u->edge->reactor, &u->task);
    free(u);
}

void ct__upstreams_close(ct_edge *edge) {
    for (ct__caller *c = edge->callers; c != NULL; c = c->next)
        if (c->upstream != NULL)
            free_now(c->upstream);
    for (ct__upstream *u = edge->idle, *next; u != NULL; u = next) {
        next = u->next;
        free_now(u);
    }
    ct__alarm_clear(edge->reactor, &edge->trim);
}
