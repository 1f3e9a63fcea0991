#define _GNU_SOURCE
#include "edge/edge.h"

#include "base/err.h"
#include "base/scope.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- new connections ---- */

static void name_end(const struct sockaddr_storage *address, char *name, size_t cap, unsigned *port) {
    name[0] = '-';
    name[1] = '\0';
    *port = 0;
    if (address->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, address, sizeof v4);
        (void)inet_ntop(AF_INET, &v4.sin_addr, name, (socklen_t)cap);
        *port = ntohs(v4.sin_port);
    } else if (address->ss_family == AF_INET6) {
        struct sockaddr_in6 v6;
        memcpy(&v6, address, sizeof v6);
        (void)inet_ntop(AF_INET6, &v6.sin6_addr, name, (socklen_t)cap);
        *port = ntohs(v6.sin6_port);
    }
}

static void name_peer(ct__caller *c) {
    struct sockaddr_storage client = {0}, server = {0};
    socklen_t len = sizeof client;
    (void)getpeername(c->conn.fd, (struct sockaddr *)&client, &len);
    len = sizeof server;
    (void)getsockname(c->conn.fd, (struct sockaddr *)&server, &len);
    char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
    unsigned from_port, to_port;
    name_end(&client, from, sizeof from, &from_port);
    (void)ct__address_read((ct__span){(const uint8_t *)from, strlen(from)}, &c->address);
    c->is_proxy = ct__address_in(&c->address, c->edge->proxies, c->edge->proxy_count);
    name_end(&server, to, sizeof to, &to_port);
    c->peer_len = (size_t)snprintf(c->peer, sizeof c->peer, "%s %u %s %u %llu %s ", from, from_port, to, to_port,
                                   (unsigned long long)c->handle, c->conn.tls != NULL ? "tls" : "plain");
}

static void accepted(ct__listener *listener, int fd) {
    ct_edge *edge = ((ct__door *)((char *)listener - offsetof(ct__door, listener)))->edge;
    ct__caller *c = edge->free_count > 0 ? calloc(1, sizeof *c) : NULL;
    if (c == NULL) {
        (void)close(fd);
        return;
    }
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    const uint32_t slot = edge->free_slots[edge->free_count - 1];
    c->handle = ++edge->handles << 32 | slot;
    if (ct__caller_start(c, edge, fd) != 0) {
        free(c);
        return;
    }
    edge->free_count--;
    edge->slots[slot] = c;
    name_peer(c);
    c->next = edge->callers;
    if (c->next != NULL)
        c->next->previous = c;
    edge->callers = c;
    edge->counts.connections++;
}

/* ---- from outside ---- */

ct_edge *ct_edge_new(ct_reactor *reactor, const ct_edge_settings *settings) {
    struct sockaddr_un address;
    if (strlen(settings->upstream) >= sizeof address.sun_path
        || (settings->h2_upstream != NULL && strlen(settings->h2_upstream) >= sizeof address.sun_path))
        return NULL;
    ct_edge *edge = calloc(1, sizeof *edge);
    if (edge == NULL)
        return NULL;
    edge->reactor = reactor;
    edge->local.netlink = -1;
    edge->idle_ns = settings->idle_ns;
    edge->inflight_max = settings->inflight_max;
    edge->bodies_max = settings->bodies_max;
    edge->slot_count = settings->connections_max;
    edge->upstream_path = strdup(settings->upstream);
    edge->h2_path = settings->h2_upstream != NULL ? strdup(settings->h2_upstream) : NULL;
    edge->tunnels_max = settings->tunnels_max;
    edge->slots = calloc(edge->slot_count, sizeof(ct__caller *));
    edge->free_slots = calloc(edge->slot_count, sizeof *edge->free_slots);
    if (edge->upstream_path == NULL || (edge->h2_path == NULL && settings->h2_upstream != NULL) || edge->slots == NULL
        || edge->free_slots == NULL) {
        ct_edge_free(edge);
        return NULL;
    }
    for (uint32_t i = 0; i < edge->slot_count; i++)
        edge->free_slots[edge->free_count++] = edge->slot_count - 1 - i;
    return edge;
}

int ct_edge_problem(ct_edge *edge, uint32_t refusal, uint32_t status, const uint8_t *problem, size_t problem_len,
                    const char *fields) {
    if (refusal >= CT_EDGE_REFUSALS || problem_len < 2 || problem[problem_len - 1] != '}')
        return CT_E_RANGE;
    uint8_t *body = malloc(problem_len);
    char *lines = strdup(fields);
    if (body == NULL || lines == NULL) {
        free(body);
        free(lines);
        return -ENOMEM;
    }
    memcpy(body, problem, problem_len);
    ct__problem *kept = &edge->problems[refusal];
    free(kept->body);
    free(kept->fields);
    *kept = (ct__problem){.status = status, .body = body, .body_len = problem_len - 1, .fields = lines};
    return 0;
}

int ct_edge_proxies(ct_edge *edge, const ct_edge_net *nets, size_t count, uint32_t is_other_header) {
    if (count > CT_EDGE_PROXIES_MAX)
        return CT_E_RANGE;
    for (size_t i = 0; i < count; i++)
        if (nets[i].bits > 8 * CT_ADDRESS_BYTES)
            return CT_E_RANGE;
    memcpy(edge->proxies, nets, count * sizeof *nets);
    edge->proxy_count = count;
    edge->is_other_header = is_other_header != 0;
    return 0;
}

void ct_edge_secure(ct_edge *edge, ct_tls *tls) {
    edge->tls = tls;
}

int ct_edge_listen(ct_edge *edge, int fd) {
    if (edge->listener_count == CT__LISTENERS)
        return CT_E_FULL;
    ct__door *door = &edge->doors[edge->listener_count];
    *door = (ct__door){.listener = {.accepted = accepted}, .edge = edge};
    const int result = ct__listener_open(&door->listener, edge->reactor, fd);
    if (result == 0)
        edge->listener_count++;
    return result;
}

void ct_edge_stop(ct_edge *edge) {
    edge->is_stopping = true;
    for (uint32_t i = 0; i < edge->listener_count; i++)
        ct__listener_close(&edge->doors[i].listener);
    edge->listener_count = 0;
    for (ct__caller *c = edge->callers, *next; c != NULL; c = next) {
        next = c->next;
        if (c->phase == CT__HEADING && c->conn.in.len == 0)
            ct__caller_finish(c);
    }
}

int ct_edge_enter(ct_edge *edge) {
    if (edge->counts.inflight >= edge->inflight_max)
        return CT_E_FULL;
    edge->counts.inflight++;
    return 0;
}

void ct_edge_leave(ct_edge *edge) {
    edge->counts.inflight--;
}

void ct_edge_counts_get(const ct_edge *edge, ct_edge_counts *out) {
    *out = edge->counts;
}

void ct_edge_free(ct_edge *edge) {
    if (edge == NULL)
        return;
    ct_edge_stop(edge);
    ct__upstreams_close(edge);
    for (ct__caller *c = edge->callers, *next; c != NULL; c = next) {
        next = c->next;
        ct__caller_close(c, true);
        ct__task_drop(edge->reactor, &c->task);
        free(c);
    }
    for (size_t i = 0; i < CT_EDGE_REFUSALS; i++) {
        free(edge->problems[i].body);
        free(edge->problems[i].fields);
    }
    ct__lane_free(edge);
    ct_drop_fd(&edge->local.netlink);
    free((void *)edge->slots);
    free(edge->free_slots);
    free(edge->upstream_path);
    free(edge->h2_path);
    free(edge);
}
