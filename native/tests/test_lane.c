/* The lane between a client of ours, the table, and workers that the test plays. */
#define _GNU_SOURCE
#include "base/cursor.h"
#include "h2/client.h"
#include "lane/invoke.h"
#include "link/link.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Every allocation of the core goes through these (see the Makefile): the one that is chosen fails. */
static long allocations_left = -1; /* -1: none fails */

static bool fails(void) {
    return allocations_left >= 0 && allocations_left-- == 0;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t count, size_t size);

void *__wrap_malloc(size_t size) {
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return fails() ? NULL : __real_realloc(old, size);
}

void *__wrap_reallocarray(void *old, size_t count, size_t size) {
    return fails() ? NULL : __real_reallocarray(old, count, size);
}

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

static ct__h2_span span(const char *text) {
    return (ct__h2_span){.data = (const uint8_t *)text, .len = strlen(text)};
}

static uint64_t now_ns(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* What Python does with the table's effects. */
static void carry_out(rig *g) {
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

static void turn(rig *g, int ms) {
    carry_out(g);
    struct pollfd door = {.fd = ct_reactor_fd(g->reactor), .events = POLLIN};
    if (poll(&door, 1, ms) == 1)
        CHECK(ct_reactor_drain(g->reactor) >= 0);
    g->count += ct_reactor_take(g->reactor, g->events + g->count, EVENTS_MAX - g->count);
    carry_out(g);
}

static void forget(rig *g) {
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

static ct_function_row row_of(uint32_t replicas) {
    return (ct_function_row){.tenant = (const uint8_t *)"t",
                             .tenant_len = 1,
                             .space = (const uint8_t *)"s",
                             .space_len = 1,
                             .name = (const uint8_t *)"f",
                             .name_len = 1,
                             .flags = CT_FUNCTION_KEPT,
                             .code_version = 7,
                             .max_payload_bytes = 1000,
                             .timeout_ns = 5 * (uint64_t)SECOND,
                             .max_queue_wait_ns = 5 * (uint64_t)SECOND,
                             .breaker_window_ns = SECOND,
                             .breaker_open_ns = SECOND,
                             .max_replicas = replicas,
                             .instance_concurrency = 1,
                             .max_queue_depth = 2,
                             .shed_status = 429,
                             .retry_after_s = 1,
                             .breaker_min_samples = 1,
                             .breaker_probes = 1};
}

static void open_rig(rig *g, uint32_t replicas) {
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

static void close_rig(rig *g) {
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

static void keep(char *out, ct__h2_span text) {
    const size_t len = text.len < 63 ? text.len : 63;
    if (len > 0)
        memcpy(out, text.data, len);
    out[len] = 0;
}

static void done(ct__h2_call *call, const ct__h2_reply *reply) {
    caller *c = (caller *)call;
    c->done++;
    c->status = reply->status;
    keep(c->message, reply->message);
    keep(c->problem, reply->problem);
    c->len = reply->body.len < sizeof c->body ? reply->body.len : sizeof c->body;
    if (c->len > 0)
        memcpy(c->body, reply->body.data, c->len);
}

static int ask(rig *g, caller *c, const char *payload) {
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
    *c = (caller){.call = {.done = done}};
    const ct__h2_request request = {.path = span("/nova.v1.NovaService/Invoke"),
                                    .pairs = pairs,
                                    .pair_count = 3,
                                    .pieces = &piece,
                                    .piece_count = 1,
                                    .deadline_ns = now_ns() + 20 * (uint64_t)SECOND};
    return ct__h2_begin(g->client, &c->call, &request);
}

/* Waits for the exec frame of the member's next call. Returns its id. */
static uint32_t hear(rig *g, size_t place, char *payload) {
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

static void say(const rig *g, size_t place, uint8_t kind, uint32_t id, const char *body) {
    uint8_t frame[256];
    (void)ct_frame_put(frame, kind, 0, id, strlen(body));
    memcpy(frame + CT_FRAME_HEADER_BYTES, body, strlen(body));
    (void)send(g->members[place].peer, frame, CT_FRAME_HEADER_BYTES + strlen(body), MSG_NOSIGNAL);
}

static void until(rig *g, const int *flag) {
    for (int i = 0; i < 200 && *flag == 0; i++)
        turn(g, 50);
    CHECK(*flag == 1);
}

static void until_event(rig *g, uint32_t kind) {
    for (int i = 0; i < 200 && event_of(g, kind) == NULL; i++)
        turn(g, 50);
    CHECK(event_of(g, kind) != NULL);
}

static bool holds(const caller *c, const char *text) {
    return memmem(c->body, c->len, text, strlen(text)) != NULL;
}

static ct_record record_of(rig *g) {
    ct_record found[4];
    CHECK_INT(ct_record_take(g->table, found, 4), 1);
    return found[0];
}

static void a_call_is_answered_and_written_down(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "[1]"), 0);
    const uint32_t id = hear(&g, 0, payload);
    CHECK_TEXT(payload, "[1]");
    say(&g, 0, CT_FRAME_LOG, id, "said");
    say(&g, 0, CT_FRAME_RESULT, id, "{\"a\":1}");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    CHECK(holds(&c, "{\"a\":1}"));
    CHECK(event_of(&g, CT_LANE_RECORDS) != NULL);
    const ct_record record = record_of(&g);
    CHECK_INT(record.status, CT_STATUS_OK);
    CHECK_INT(record.flags, CT_RECORD_COLD);
    CHECK_INT(record.code_version, 7);
    CHECK_INT(record.input_bytes, 3);
    CHECK_INT(record.output_bytes, 7);
    CHECK_INT(memcmp(record.log, "said", 4), 0);
    forget(&g);
    CHECK_INT(ask(&g, &c, ""), 0); /* warm: the instance is on the shelf */
    const uint32_t next = hear(&g, 0, payload);
    CHECK_TEXT(payload, "{}");
    say(&g, 0, CT_FRAME_ERROR, next, "{\"type\":\"E\",\"message\":\"m\"}");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    CHECK(holds(&c, "\"E\""));
    CHECK_INT(g.member_count, 1);
    close_rig(&g);
}

static void calls_in_line_are_served_in_order(void) {
    rig g;
    open_rig(&g, 1);
    caller c[3];
    char payload[64];
    for (size_t i = 0; i < 3; i++)
        CHECK_INT(ask(&g, &c[i], i == 0 ? "0" : i == 1 ? "1" : "2"), 0);
    for (size_t i = 0; i < 3; i++) {
        const uint32_t id = hear(&g, 0, payload);
        CHECK_INT(payload[0], '0' + (int)i);
        say(&g, 0, CT_FRAME_RESULT, id, payload);
        until(&g, &c[i].done);
        CHECK_INT(c[i].status, 0);
    }
    close_rig(&g);
}

static void a_refusal_has_words_of_the_function_or_of_python(void) {
    rig g;
    open_rig(&g, 1);
    caller c[5];
    char payload[64];
    CHECK_INT(ct_function_set_refusal(g.table, g.function, CT_STATUS_QUEUE_FULL, 0, 8, (const uint8_t *)"full", 4,
                                      (const uint8_t *)"{}", 2),
              0);
    for (size_t i = 0; i < 4; i++)
        CHECK_INT(ask(&g, &c[i], "1"), 0); /* one runs, two wait */
    until(&g, &c[3].done);
    CHECK_INT(c[3].status, 8);
    CHECK_TEXT(c[3].message, "full");
    CHECK_TEXT(c[3].problem, "{}");
    forget(&g);
    CHECK_INT(ask(&g, &c[4], "{"), 0);
    until_event(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event_of(&g, CT_LANE_REFUSES)->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_INVALID_REQUEST);
    CHECK(told.function == g.function);
    const uint64_t call = event_of(&g, CT_LANE_REFUSES)->target;
    CHECK_INT(ct_lane_refuse(g.lane, call, 3, (const uint8_t *)"bad", 3, NULL, 0), 0);
    CHECK_INT(ct_lane_refuse(g.lane, call, 3, (const uint8_t *)"bad", 3, NULL, 0), -ESTALE);
    until(&g, &c[4].done);
    CHECK_INT(c[4].status, 3);
    CHECK_TEXT(c[4].message, "bad");
    (void)hear(&g, 0, payload);
    close_rig(&g); /* with one that runs and two in line */
    CHECK_INT(c[0].done, 1);
}

static void a_caller_that_hangs_up_ends_its_call_wherever_it_is(void) {
    rig g;
    open_rig(&g, 1);
    caller c[2];
    char payload[64];
    CHECK_INT(ask(&g, &c[0], "1"), 0);
    CHECK_INT(ask(&g, &c[1], "2"), 0);
    (void)hear(&g, 0, payload);
    ct__h2_cancel(&c[1].call);
    for (int i = 0; i < 200 && ct_lane_in_hand(g.lane) != 1; i++)
        turn(&g, 50);
    CHECK_INT(record_of(&g).status, CT_STATUS_CANCELLED);
    ct__h2_cancel(&c[0].call);
    until_event(&g, CT_LINK_GIVEN_UP);
    CHECK_INT(ct_lane_in_hand(g.lane), 0);
    CHECK_INT(record_of(&g).status, CT_STATUS_CANCELLED);
    CHECK_INT(ask(&g, &c[0], "3"), 0); /* it gets another instance: the first one has its call still */
    const uint32_t id = hear(&g, 1, payload);
    CHECK_TEXT(payload, "3");
    say(&g, 1, CT_FRAME_RESULT, id, "3");
    until(&g, &c[0].done);
    close_rig(&g);
}

static void an_instance_that_dies_tells_why(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "1"), 0);
    const uint32_t id = hear(&g, 0, payload);
    say(&g, 0, CT_FRAME_LOG, id, "last words");
    turn(&g, 50);
    ct_link_free(g.members[0].link, (const uint8_t *)"out of memory", 13);
    g.members[0].link = NULL;
    until_event(&g, CT_LANE_REFUSES);
    const ct_event *event = event_of(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_INSTANCE_DIED);
    CHECK_INT(told.text_len, 13);
    CHECK_INT(memcmp(event->data + sizeof told, "out of memory", 13), 0);
    CHECK_INT(ct_lane_refuse(g.lane, event->target, 10, NULL, 0, (const uint8_t *)"{}", 2), 0);
    until(&g, &c.done);
    const ct_record record = record_of(&g);
    CHECK_INT(record.log_len, 10);
    CHECK_INT(record.error_len, 2);
    close_rig(&g);
}

static void a_dead_instance_on_the_shelf_costs_no_call(void) {
    rig g;
    open_rig(&g, 1);
    caller c;
    char payload[64];
    CHECK_INT(ask(&g, &c, "1"), 0);
    say(&g, 0, CT_FRAME_RESULT, hear(&g, 0, payload), "1");
    until(&g, &c.done);
    ct_link_free(g.members[0].link, NULL, 0); /* and nobody has told the table */
    g.members[0].link = NULL;
    CHECK_INT(ask(&g, &c, "2"), 0);
    say(&g, 1, CT_FRAME_RESULT, hear(&g, 1, payload), "2");
    until(&g, &c.done);
    CHECK_INT(c.status, 0);
    close_rig(&g);
}

static void a_call_past_its_time_in_line_is_refused(void) {
    rig g;
    open_rig(&g, 1);
    ct_function_row row = row_of(1);
    row.max_queue_wait_ns = SECOND / 50;
    CHECK_INT(ct_function_update(g.table, g.function, &row, 1, now_ns()), 0);
    caller c[2];
    char payload[64];
    CHECK_INT(ask(&g, &c[0], "1"), 0);
    (void)hear(&g, 0, payload);
    CHECK_INT(ask(&g, &c[1], "2"), 0);
    until_event(&g, CT_LANE_REFUSES);
    ct_lane_case told;
    memcpy(&told, event_of(&g, CT_LANE_REFUSES)->data, sizeof told);
    CHECK_INT(told.verdict.code, CT_STATUS_QUEUE_WAIT_TIMEOUT);
    CHECK_INT(ct_lane_in_hand(g.lane), 2);
    close_rig(&g);
}

/* A cold and a warm call with the nth allocation failing: each caller hears of its call once, and nothing is left of it. */
static bool live(long nth) {
    rig g;
    open_rig(&g, 2);
    caller c = {0};
    allocations_left = nth;
    for (int round = 0; round < 2; round++) {
        if (ask(&g, &c, "1") != 0)
            continue;
        for (int i = 0; i < 400 && c.done == 0; i++) {
            turn(&g, 20);
            uint8_t frame[256];
            for (size_t place = 0; place < g.member_count; place++)
                if (g.members[place].link != NULL && read(g.members[place].peer, frame, sizeof frame) > CT_FRAME_HEADER_BYTES)
                    say(&g, place, CT_FRAME_RESULT, ct__be32(frame + 8), "1");
            for (size_t j = 0; j < g.count; j++)
                if (g.events[j].kind == CT_LANE_REFUSES)
                    (void)ct_lane_refuse(g.lane, g.events[j].target, 14, NULL, 0, NULL, 0);
            forget(&g);
        }
        CHECK_INT(c.done, 1);
    }
    const bool was_used_up = allocations_left >= 0;
    allocations_left = -1;
    close_rig(&g);
    return was_used_up;
}

static void no_allocation_that_fails_loses_a_call(void) {
    long nth = 0;
    while (!live(nth))
        nth++;
    CHECK(nth > 15);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_call_is_answered_and_written_down),
                                    CASE(calls_in_line_are_served_in_order),
                                    CASE(a_refusal_has_words_of_the_function_or_of_python),
                                    CASE(a_caller_that_hangs_up_ends_its_call_wherever_it_is),
                                    CASE(an_instance_that_dies_tells_why),
                                    CASE(a_dead_instance_on_the_shelf_costs_no_call),
                                    CASE(a_call_past_its_time_in_line_is_refused),
                                    CASE(no_allocation_that_fails_loses_a_call)};
    return RUN("lane", cases);
}
