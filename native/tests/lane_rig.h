/* The lane between a client of ours, the table, and workers that the test plays. */
#ifndef CT_LANE_RIG_H
#define CT_LANE_RIG_H

#include "base/cursor.h"
#include "h2/client.h"
#include "lane/invoke.h"
#include "link/link.h"
#include "table/table.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { SECOND = 1000000000, EVENTS_MAX = 64, MEMBERS_MAX = 8, CALLERS_MAX = 8 };

typedef struct caller {
    ct__h2_call call;
    int done;
    uint32_t status;
    char message[64], problem[64];
    uint8_t body[256];
    size_t len;
} caller;

typedef struct member {
    uint64_t handle;
    ct_link *link;
    int peer, stdio;
} member;

typedef struct rig {
    ct_reactor *reactor;
    ct_table *table;
    ct_links *links;
    ct_h2_server *port;
    ct_lane *lane;
    ct__h2_client *client;
    uint64_t function;
    int door;
    char path[64];
    ct_event events[EVENTS_MAX];
    size_t count;
    member members[MEMBERS_MAX];
    size_t member_count;
    bool boots; /* members that are asked for are made at once */
} rig;

static inline ct__h2_span span(const char *text) {
    return (ct__h2_span){.data = (const uint8_t *)text, .len = strlen(text)};
}

static inline uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* What Python does with the table's effects. */
static inline void carry_out(rig *g) {
    ct_effect effect;
    while (ct_effect_next(g->table, CT_TAKER_PYTHON, &effect) == 1) {
        if (effect.kind == CT_EFFECT_BOOT && g->boots && g->member_count < MEMBERS_MAX) {
            member *m = &g->members[g->member_count];
            int pair[2], pipes[2];
            CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
            CHECK_INT(pipe2(pipes, O_NONBLOCK), 0);
            *m = (member){.handle = effect.member, .peer = pair[1], .stdio = pipes[1]};
            const ct_link_settings settings = {.log_limit = 100, .is_alone = 1};
            if (ct_link_open(g->links, pair[0], pipes[0], &settings, &m->link) < 0) {
                (void)close(m->peer);
                (void)close(m->stdio);
                (void)ct_member_boot_failed(g->table, effect.member, CT_STATUS_SANDBOX_START_FAILED, now_ns());
                (void)ct_member_gone(g->table, effect.member, now_ns());
                continue;
            }
            g->member_count++;
            CHECK_INT(ct_member_set_link(g->table, m->handle, ct_link_handle(m->link)), 0);
            (void)ct_member_booted(g->table, m->handle, now_ns());
        } else if (effect.kind == CT_EFFECT_RETIRE) {
            for (size_t i = 0; i < g->member_count; i++) {
                if (g->members[i].handle != effect.member)
                    continue;
                ct_link_free(g->members[i].link, (const uint8_t *)"retired", 7);
                g->members[i].link = NULL;
                (void)ct_member_gone(g->table, effect.member, now_ns());
            }
        }
    }
}

static inline void turn(rig *g, int ms) {
    carry_out(g);
    struct pollfd door = {.fd = ct_reactor_fd(g->reactor), .events = POLLIN};
    if (poll(&door, 1, ms) == 1)
        CHECK(ct_reactor_drain(g->reactor) >= 0);
    g->count += ct_reactor_take(g->reactor, g->events + g->count, EVENTS_MAX - g->count);
    carry_out(g);
}

static inline void forget(rig *g) {
    for (size_t i = 0; i < g->count; i++)
        ct_event_done(&g->events[i]);
    g->count = 0;
}

static const ct_event *event_of(const rig *g, uint32_t kind) {
    for (size_t i = 0; i < g->count; i++)
        if (g->events[i].kind == kind)
            return &g->events[i];
    return NULL;
}

static inline ct_function_row row_of(uint32_t replicas) {
    return (ct_function_row){.tenant = (const uint8_t *)"t",
                             .tenant_len = 1,
                             .space = (const uint8_t *)"s",
                             .space_len = 1,
                             .name = (const uint8_t *)"f",
                             .name_len = 1,
                             .flags = CT_FUNCTION_KEPT,
                             .version = 7,
                             .max_payload_bytes = 1000,
                             .timeout_ns = 5 * (uint64_t)SECOND,
                             .max_queue_wait_ns = 5 * (uint64_t)SECOND,
                             .breaker = {.window_ns = SECOND, .open_ns = SECOND, .min_samples = 1, .probes = 1},
                             .max_replicas = replicas,
                             .instance_concurrency = 1,
                             .max_queue_depth = 2,
                             .shed_status = 429,
                             .retry_after_s = 1};
}

static inline void open_rig(rig *g, uint32_t replicas) {
    *g = (rig){.boots = true};
    (void)snprintf(g->path, sizeof g->path, "/tmp/ct-lane-%d", (int)getpid());
    (void)unlink(g->path);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    memcpy(address.sun_path, g->path, strlen(g->path) + 1);
    g->door = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    CHECK_INT(bind(g->door, (const struct sockaddr *)&address, sizeof address), 0);
    CHECK_INT(listen(g->door, 8), 0);
    g->reactor = ct_reactor_new();
    const uint64_t bucket_ns[] = {SECOND};
    const ct_table_options options = {.idle_ttl_ns = 60 * (uint64_t)SECOND,
                                      .recheck_ns = SECOND,
                                      .max_functions = 4,
                                      .max_instances = MEMBERS_MAX,
                                      .max_boots = MEMBERS_MAX,
                                      .max_calls = 16,
                                      .max_buckets = 4,
                                      .max_identities = 4,
                                      .max_records = 16,
                                      .max_meters = 1,
                                      .bucket_count = 1,
                                      .bucket_ns = bucket_ns};
    g->table = ct_table_new(&options);
    CHECK(g->reactor != NULL && g->table != NULL);
    ct_table_open(g->table, 1, now_ns());
    const ct_function_row row = row_of(replicas);
    CHECK_INT(ct_function_put(g->table, &row, now_ns(), &g->function), 0);
    const ct_identity who = {.tenant = (const uint8_t *)"t",
                             .tenant_len = 1,
                             .space = (const uint8_t *)"s",
                             .space_len = 1,
                             .subject = (const uint8_t *)"me",
                             .subject_len = 2,
                             .may_invoke = 1,
                             .expires_at_s = INT64_MAX};
    CHECK_INT(ct_identity_put(g->table, (const uint8_t *)"who", 3, &who), 0);
    g->links = ct_links_new(g->reactor);
    g->lane = ct_lane_new(g->reactor, g->table, g->links, (const uint8_t *)"Bearer x", 8);
    g->port = ct_h2_server_open(g->reactor, g->door, "/tmp/ct-lane-none", 1);
    CHECK(g->links != NULL && g->lane != NULL && g->port != NULL);
    CHECK_INT(ct_lane_attach(g->lane, g->port), 0);
    CHECK_INT(ct_lane_attach(g->lane, g->port), -EALREADY);
    g->client = ct__h2_client_new_unix(g->reactor, g->path, &(ct__h2_limits){0});
    CHECK(g->client != NULL);
}

static inline void close_rig(rig *g) {
    ct__h2_client_free(g->client);
    ct_lane_free(g->lane);
    ct_h2_server_close(g->port);
    for (size_t i = 0; i < g->member_count; i++) {
        ct_link_free(g->members[i].link, NULL, 0);
        (void)close(g->members[i].peer);
        (void)close(g->members[i].stdio);
    }
    CHECK_INT(ct_table_check(g->table), 0);
    ct_node_stats node;
    ct_node_stats_get(g->table, &node);
    CHECK_INT(node.inflight, 0);
    CHECK_INT(node.waiting, 0);
    CHECK_INT(node.leases, 0);
    forget(g);
    ct_links_free(g->links);
    ct_table_free(g->table);
    ct_reactor_free(g->reactor);
    (void)close(g->door);
    (void)unlink(g->path);
}

static inline void keep(char *out, ct__h2_span text) {
    const size_t len = text.len < 63 ? text.len : 63;
    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = 0;
}

static inline void done(ct__h2_call *call, const ct__h2_reply *reply) {
    caller *c = (caller *)call;
    c->done++;
    c->status = reply->status;
    keep(c->message, reply->message);
    keep(c->problem, reply->problem);
    c->len = reply->body.len < sizeof c->body ? reply->body.len : sizeof c->body;
    if (c->len > 0)
        memcpy(c->body, reply->body.data, c->len);
}

static inline int ask_by(rig *g, caller *c, const char *path, const char *payload) {
    static uint8_t last;
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    const uint64_t ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
    uint8_t raw[16] = {[6] = 0x70, [8] = 0x80, [15] = last++}, id[CT__UUID_TEXT_BYTES];
    for (size_t i = 0; i < 6; i++)
        raw[i] = (uint8_t)(ms >> (40 - 8 * i));
    ct__uuid_put(id, raw);
    uint8_t message[64] = {10, 1, 'f', 18, (uint8_t)strlen(payload)};
    memcpy(message + 5, payload, strlen(payload));
    const ct__h2_pair pairs[] = {{span("authorization"), span("Bearer x"), true},
                                 {span("nova-identity"), span("who"), true},
                                 {span("x-request-id"), {.data = id, .len = sizeof id}, false}};
    const ct__h2_span piece = {.data = message, .len = 5 + strlen(payload)};
    const ct__h2_request request = {.path = span(path),
                                    .pairs = pairs,
                                    .pair_count = 3,
                                    .pieces = &piece,
                                    .piece_count = 1,
                                    .deadline_ns = now_ns() + 20 * (uint64_t)SECOND};
    return ct__h2_begin(g->client, &c->call, &request);
}

static inline int ask(rig *g, caller *c, const char *payload) {
    *c = (caller){.call = {.done = done}};
    return ask_by(g, c, "/nova.v1.NovaService/Invoke", payload);
}

/* Waits for the exec frame of the member's next call. Returns its id. */
static inline uint32_t hear(rig *g, size_t place, char *payload) {
    uint8_t frame[256];
    ssize_t got = -1;
    for (int i = 0; i < 200 && got <= 0; i++) {
        turn(g, 50);
        if (g->member_count > place)
            got = read(g->members[place].peer, frame, sizeof frame);
    }
    CHECK(got > CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES);
    CHECK_INT(frame[4], CT_FRAME_EXEC);
    const size_t len = ct__be32(frame) - CT_EXEC_HEAD_BYTES;
    memcpy(payload, frame + CT_FRAME_HEADER_BYTES + CT_EXEC_HEAD_BYTES, len);
    payload[len] = 0;
    return ct__be32(frame + 8);
}

static inline void say(const rig *g, size_t place, uint8_t kind, uint32_t id, const char *body) {
    uint8_t frame[256];
    (void)ct_frame_put(frame, kind, 0, id, strlen(body));
    memcpy(frame + CT_FRAME_HEADER_BYTES, body, strlen(body));
    (void)send(g->members[place].peer, frame, CT_FRAME_HEADER_BYTES + strlen(body), MSG_NOSIGNAL);
}

static inline void until(rig *g, const int *flag) {
    for (int i = 0; i < 200 && *flag == 0; i++)
        turn(g, 50);
    CHECK(*flag == 1);
}

static inline void until_event(rig *g, uint32_t kind) {
    for (int i = 0; i < 200 && event_of(g, kind) == NULL; i++)
        turn(g, 50);
    CHECK(event_of(g, kind) != NULL);
}

static inline bool holds(const caller *c, const char *text) {
    return memmem(c->body, c->len, text, strlen(text)) != NULL;
}

/* The newest record, which is at that place. */
static inline ct_record record_of(rig *g, uint32_t place) {
    CHECK_INT(ct_record_count(g->table), place + 1);
    return *ct__record_at(g->table, place);
}

#endif
