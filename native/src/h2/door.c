/* The server as Python sees it: a port that only passes on. */
#include "h2/stream.h"

static const uint64_t MILLISECOND_NS = 1000000;

void ct__h2_server_tell_stopped(const ct__h2_server *server) {
    (void)ct__emit(server->reactor, &(ct_event){.kind = CT_EVENT_H2_STOPPED, .target = server->target});
}

static void stopped(void *ctx) {
    ct__h2_server_tell_stopped(ctx);
}

static const ct__h2_server_calls CALLS = {.stopped = stopped};

ct_h2_server *ct_h2_server_open(ct_reactor *reactor, int fd, const char *upstream, uint64_t target) {
    ct_h2_server *server = ct__h2_server_new(reactor, fd, upstream, &(ct__h2_limits){0}, &CALLS, NULL);
    if (server != NULL) {
        server->ctx = server;
        server->target = target;
    }
    return server;
}

int ct_h2_server_listen(ct_h2_server *server, int fd) {
    return ct__h2_server_listen(server, fd);
}

void ct__h2_server_attach(ct__h2_server *server, const ct__h2_server_calls *calls, void *ctx) {
    server->calls = calls;
    server->ctx = ctx;
}

void ct_h2_server_stop(ct_h2_server *server, uint32_t within_ms) {
    ct__h2_server_stop(server, ct__reactor_now_ns(server->reactor) + within_ms * MILLISECOND_NS);
}

void ct_h2_server_close(ct_h2_server *server) {
    ct__h2_server_free(server);
}

void ct_h2_server_count(const ct_h2_server *server, ct_h2_counts *out) {
    *out = server->counts;
}
