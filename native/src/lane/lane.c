/* Comet's lane: what ties the port, the table and the links together. Its interface is Python's (ct_abi.h). */

#include "base/err.h"
#include "base/rule.h"
#include "lane/state.h"
#include "table/table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static const uint64_t MS_NS = 1000000;
static const uint64_t FOREVER_NS = 86400000000000; /* a caller without a deadline; the function's limits still hold */

static ct__lane_call *call_at(const ct_lane *lane, uint64_t handle) {
    const uint32_t place = (uint32_t)handle;
    if (place == 0 || place > lane->count)
        return NULL;
    ct__lane_call *c = lane->calls[place - 1].call;
    return c->state != CT__LANE_FREE && c->generation == handle >> CT__LANE_HANDLE_SHIFT ? c : NULL;
}

static ct__lane_call *take_call(ct_lane *lane) {
    if (lane->first_free == 0) {
        if (lane->count == lane->room) {
            const uint32_t room = lane->room == 0 ? 64 : 2 * lane->room;
            struct ct__lane_place *grown = reallocarray(lane->calls, room, sizeof *grown);
            if (grown == NULL)
                return NULL;
            lane->calls = grown;
            lane->room = room;
        }
        ct__lane_call *made = calloc(1, sizeof *made);
        if (made == NULL)
            return NULL;
        made->lane = lane;
        made->index = lane->count;
        made->generation = 1;
        lane->calls[lane->count].call = made;
        lane->first_free = ++lane->count;
    }
    ct__lane_call *c = lane->calls[lane->first_free - 1].call;
    lane->first_free = c->next_free;
    lane->in_hand++;
    return c;
}

int ct_lane_refuse(ct_lane *lane, uint64_t call, uint32_t grpc_status, const uint8_t *message, uint32_t message_len,
                   const uint8_t *problem, uint32_t problem_len) {
    ct__lane_call *c = call_at(lane, call);
    if (c == NULL || c->state != CT__LANE_WORDED)
        return -ESTALE;
    ct__lane_word(c, grpc_status, (ct__h2_span){.data = message, .len = message_len},
           (ct__h2_span){.data = problem, .len = problem_len});
    return 0;
}

static void take_effects(ct__task *task) {
    ct_lane *lane = (ct_lane *)((char *)task - offsetof(ct_lane, effects));
    ct_effect effect;
    while (ct_effect_next(lane->table, CT_TAKER_LANE, &effect) == 1) {
        ct__lane_call *c = call_at(lane, effect.owner);
        if (c == NULL || c->state != CT__LANE_WAITS || c->call != effect.call)
            continue;
        ct__alarm_clear(lane->reactor, &c->patience);
        if (effect.kind == CT_EFFECT_GRANT) {
            ct__lane_granted(c, &effect.grant);
        } else {
            ct__lane_refuse(c, &effect.verdict, effect.member);
        }
    }
}

static void wake_lane(void *context) {
    ct_lane *lane = context;
    ct__task_defer(lane->reactor, &lane->effects);
}

static void tell_python(ct__task *task) {
    ct_lane *lane = (ct_lane *)((char *)task - offsetof(ct_lane, tell));
    const ct_event event = {.kind = CT_LANE_EFFECTS};
    if (ct_effect_waits(lane->table, CT_TAKER_PYTHON) > 0)
        (void)ct__emit(lane->reactor, &event); /* lost without memory: Python's own sweep finds them */
}

static void wake_python(void *context) {
    ct_lane *lane = context;
    ct__task_defer(lane->reactor, &lane->tell);
}

/* ---- from the port ---- */

static bool is_secret(const ct_lane *lane, ct__h2_span given) {
    if (given.len != lane->secret_len)
        return false;
    uint32_t differs = 0;
    for (size_t i = 0; i < given.len; i++) /* all of them, however early one differs */
        differs |= (uint32_t)(given.data[i] ^ lane->secret[i]);
    return differs == 0;
}

static bool is_stream(const ct__h2_head *head) {
    static const char path[] = "/nova.v1.NovaService/InvokeStream";
    return ct__h2_is(head->path, path, sizeof path - 1);
}

static bool wanted(void *ctx, const ct__h2_head *head) {
    static const char path[] = "/nova.v1.NovaService/Invoke";
    return (ct__h2_is(head->path, path, sizeof path - 1) || is_stream(head)) && !head->is_odd && head->identity.len > 0 &&
           head->identity.len <= CT_TOKEN_BYTES_MAX && is_secret(ctx, head->authorization);
}

/* Each number as likely as any other (splitmix64). */
static uint64_t draw(ct_lane *lane) {
    uint64_t z = lane->drawn += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

static uint64_t function_of(const ct_lane *lane, const ct_identity *who, ct__h2_span name) {
    return ct_function_find(lane->table, who->tenant, who->tenant_len, who->space, who->space_len, name.data, (uint32_t)name.len);
}

/* What a call runs: 0 when Python is to say it. "name:qualifier" says both. */
static uint64_t called(ct_lane *lane, const ct_identity *who, ct__invoke *invoke) {
    uint64_t function = function_of(lane, who, invoke->function);
    if (function == 0 && invoke->qualifier.len == 0) {
        const uint8_t *colon = memchr(invoke->function.data, ':', invoke->function.len);
        if (colon == NULL)
            return 0;
        const size_t name_len = (size_t)(colon - invoke->function.data);
        invoke->qualifier = (ct__h2_span){.data = colon + 1, .len = invoke->function.len - name_len - 1};
        invoke->function.len = name_len;
        if (invoke->qualifier.len == 0)
            return 0;
        function = function_of(lane, who, invoke->function);
    }
    if (function == 0 || invoke->qualifier.len == 0)
        return function;
    if (invoke->qualifier.len > CT_ALIAS_BYTES_MAX || invoke->sticky.len > UINT32_MAX)
        return 0;
    return ct_alias_pick(lane->table, function, invoke->qualifier.data, (uint32_t)invoke->qualifier.len, invoke->sticky.data,
                         (uint32_t)invoke->sticky.len, draw(lane));
}

/* False: for Python. */
static bool let_in(ct_lane *lane, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    const uint64_t wall_ms = (uint64_t)wall.tv_sec * 1000 + (uint64_t)wall.tv_nsec / 1000000;
    ct__invoke invoke;
    ct_identity who;
    if (!ct__invoke_read(head, message, len, wall_ms, &invoke) ||
        ct_identity_find(lane->table, head->identity.data, (uint32_t)head->identity.len, wall.tv_sec, &who) != 1 ||
        who.may_invoke == 0 || invoke.function.len == 0 || invoke.function.len > CT_KEY_BYTES_MAX)
        return false;
    const uint64_t function = called(lane, &who, &invoke);
    ct__function_facts facts;
    if (function == 0 || ct__function_get(lane->table, function, &facts) != 0 || (facts.flags & CT_FUNCTION_GUARDED) != 0 ||
        !ct__rule_allows(who.rule, who.rule_len, facts.name, facts.name_len) || ct__emit_reserve(lane->reactor, 1) < 0)
        return false;
    ct__lane_call *c = take_call(lane);
    if (c == NULL) {
        ct__emit_give_back(lane->reactor, 1);
        return false;
    }
    const uint64_t now_ns = ct__reactor_now_ns(lane->reactor);
    *c = (ct__lane_call){.lane = lane,
                     .state = CT__LANE_WAITS,
                     .index = c->index,
                     .generation = c->generation,
                     .stream = stream,
                     .function = function,
                     .started_ns = now_ns,
                     .started_at_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000,
                     .given_ns = FOREVER_NS,
                     .patience = {.due = ct__lane_impatient},
                     .has_place = true,
                     .is_stream = is_stream(head),
                     .invoke = invoke};
    if (invoke.timeout_ms != 0)
        c->given_ns = invoke.timeout_ms * MS_NS;
    c->until_ns = now_ns + c->given_ns;
    if (head->has_timeout && head->deadline_ns < c->until_ns) {
        c->until_ns = head->deadline_ns;
        c->given_ns = head->timeout_ns;
    }
    c->grant.version = facts.version; /* what would have run, until an instance says what does */
    (void)ct__h2_own(lane->server, stream, c);
    ct__lane_admit(c, &who);
    return true;
}

static void requested(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    ct_lane *lane = ctx;
    if (!let_in(lane, stream, head, message, len))
        (void)ct__h2_forward(lane->server, stream);
}

static void cancelled(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx;
    ct__lane_call *c = owner;
    if (c != NULL && c->stream == stream)
        ct__lane_give_up(c);
}

static void drained(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx;
    ct__lane_call *c = owner;
    if (c != NULL && c->stream == stream)
        ct__lane_drained(c);
}

/* ---- begin and end ---- */

ct_lane *ct_lane_new(ct_reactor *reactor, ct_table *table, ct_links *links, const uint8_t *secret, uint32_t secret_len) {
    ct_lane *lane = calloc(1, sizeof *lane + secret_len);
    if (lane == NULL)
        return NULL;
    lane->reactor = reactor;
    lane->table = table;
    lane->links = links;
    struct timespec wall;
    (void)clock_gettime(CLOCK_REALTIME, &wall);
    lane->drawn = (uint64_t)wall.tv_sec << 32 ^ (uint64_t)wall.tv_nsec ^ (uint64_t)(uintptr_t)lane;
    lane->effects.run = take_effects;
    lane->tell.run = tell_python;
    lane->secret_len = secret_len;
    memcpy(lane->secret, secret, secret_len);
    return lane;
}

static void stopped(void *ctx) {
    const ct_lane *lane = ctx;
    ct__h2_server_tell_stopped(lane->server);
}

int ct_lane_attach(ct_lane *lane, ct_h2_server *port) {
    static const ct__h2_server_calls calls = {
        .wanted = wanted, .request = requested, .cancelled = cancelled, .drained = drained, .stopped = stopped};
    if (lane->server != NULL)
        return -EALREADY;
    lane->server = port;
    ct__h2_server_attach(port, &calls, lane);
    ct__table_on_effect(lane->table, CT_TAKER_LANE, wake_lane, lane);
    ct__table_on_effect(lane->table, CT_TAKER_PYTHON, wake_python, lane);
    return 0;
}

void ct_lane_records_heard(ct_lane *lane) {
    lane->has_told_records = false;
}

uint32_t ct_lane_in_hand(const ct_lane *lane) {
    return lane->in_hand;
}

void ct_lane_free(ct_lane *lane) {
    if (lane == NULL)
        return;
    for (uint32_t i = 0; i < lane->count; i++) {
        ct__lane_call *c = lane->calls[i].call;
        c->stream = 0; /* nobody is answered any more */
        if (c->state == CT__LANE_WORDED)
            ct__lane_word(c, 0, (ct__h2_span){0}, (ct__h2_span){0}); /* without words, to nobody */
        else if (c->state != CT__LANE_FREE)
            ct__lane_give_up(c);
    }
    if (lane->server != NULL) {
        static const ct__h2_server_calls none = {.stopped = NULL};
        ct__h2_server_attach(lane->server, &none, NULL);
        ct__table_on_effect(lane->table, CT_TAKER_LANE, NULL, NULL);
        ct__table_on_effect(lane->table, CT_TAKER_PYTHON, NULL, NULL);
    }
    ct__task_drop(lane->reactor, &lane->effects);
    ct__task_drop(lane->reactor, &lane->tell);
    for (uint32_t i = 0; i < lane->count; i++)
        free(lane->calls[i].call);
    free(lane->calls);
    free(lane);
}
