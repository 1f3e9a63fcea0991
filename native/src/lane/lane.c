/* One invocation after another: let in, given an instance, sent to it, answered, written down. Every decision is the table's, every word
 * of a refusal Python's. */

#include "lane/lane.h"

#include "base/err.h"
#include "lane/answer.h"
#include "lane/invoke.h"
#include "table/table.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    JSON_DEPTH = 512,    /* as Python's check of a payload */
    KEPT_MAX = 1024,     /* chosen: calls at rest */
    OWNER_SHIFT = 32
};

static const uint64_t MS_NS = 1000000;
static const uint64_t FOREVER_NS = 86400000000000; /* a caller without a deadline; the function's limits still hold */

enum state { FREE, WAITS, RUNS, WORDED /* Python looks for the words of its refusal */ };

typedef struct lane_call {
    ct__link_call link_call;
    ct_lane *lane;
    enum state state;
    uint32_t index, generation, next_free;
    ct__h2_stream stream;
    uint64_t call, function, started_ns, until_ns, given_ns, timeout_ns;
    int64_t started_at_us;
    uint64_t handler_timeout_ns; /* of the function's row when the call was let in */
    ct_grant grant;
    bool has_place;   /* an event is reserved for it: Python can be asked for words */
    bool is_entered;  /* counted in by the node */
    bool is_recorded; /* let in: its end stands in the log */
    ct__alarm patience;
    ct__invoke invoke;
    uint32_t status; /* of one that is to be refused */
    uint64_t ended_ns;
    ct__log log; /* of one that is to be refused */
} lane_call;

struct ct_lane {
    ct_reactor *reactor;
    ct_table *table;
    ct_links *links;
    ct__h2_server *server;
    ct__task effects;   /* of the table, to be taken by us */
    ct__task tell;      /* Python: the table has effects for you */
    bool has_told_records;
    lane_call **calls; /* by index */
    uint32_t count, room, first_free, in_hand;
    uint32_t secret_len;
    uint8_t secret[];
};

static lane_call *of_alarm(ct__alarm *alarm) {
    return (lane_call *)((char *)alarm - offsetof(lane_call, patience));
}

static uint64_t handle_of(const lane_call *c) {
    return (uint64_t)c->generation << OWNER_SHIFT | (c->index + 1);
}

static lane_call *call_at(const ct_lane *lane, uint64_t handle) {
    const uint32_t place = (uint32_t)handle;
    if (place == 0 || place > lane->count)
        return NULL;
    lane_call *c = lane->calls[place - 1];
    return c->state != FREE && c->generation == handle >> OWNER_SHIFT ? c : NULL;
}

/* ---- calls at rest and in hand ---- */

static lane_call *take_call(ct_lane *lane) {
    if (lane->first_free == 0) {
        if (lane->count == lane->room) {
            const uint32_t room = lane->room == 0 ? 64 : 2 * lane->room;
            lane_call **grown = reallocarray((void *)lane->calls, room, sizeof *grown);
            if (grown == NULL)
                return NULL;
            lane->calls = grown;
            lane->room = room;
        }
        lane_call *made = calloc(1, sizeof *made);
        if (made == NULL)
            return NULL;
        made->lane = lane;
        made->index = lane->count;
        made->generation = 1;
        lane->calls[lane->count] = made;
        lane->first_free = ++lane->count;
    }
    lane_call *c = lane->calls[lane->first_free - 1];
    lane->first_free = c->next_free;
    lane->in_hand++;
    return c;
}

static void rest(lane_call *c) {
    ct_lane *lane = c->lane;
    ct__alarm_clear(lane->reactor, &c->patience);
    ct__log_free(&c->log);
    if (c->has_place)
        ct__emit_give_back(lane->reactor, 1);
    if (c->is_entered)
        ct_node_leave(lane->table);
    c->state = FREE;
    c->generation++;
    c->next_free = lane->first_free;
    lane->first_free = c->index + 1;
    lane->in_hand--;
}

/* ---- how a call ends ---- */

static void end_in_table(lane_call *c, uint32_t status, uint32_t flags) {
    if (c->call == 0)
        return;
    (void)ct_call_end(c->lane->table, c->call, status, flags, ct__reactor_now_ns(c->lane->reactor));
    c->call = 0;
}

static void write_down(lane_call *c, uint32_t status, const uint8_t *log, size_t log_len, bool is_log_cut,
                       const uint8_t *error, size_t error_len, uint64_t output_bytes) {
    ct_lane *lane = c->lane;
    const uint64_t ended_ns = c->ended_ns != 0 ? c->ended_ns : ct__reactor_now_ns(lane->reactor);
    ct_record record = {.function = c->function,
                        .code_version = c->grant.code_version,
                        .started_at_us = c->started_at_us,
                        .duration_ns = ended_ns - c->started_ns,
                        .queued_ns = c->grant.waited_ns,
                        .input_bytes = c->invoke.payload_bytes,
                        .output_bytes = output_bytes,
                        .status = status,
                        .flags = (c->grant.is_cold != 0 ? CT_RECORD_COLD : 0U) | (is_log_cut ? CT_RECORD_LOG_TRUNCATED : 0U),
                        .log_len = (uint32_t)log_len,
                        .error_len = (uint32_t)error_len,
                        .log = log,
                        .error = error};
    memcpy(record.request_id, c->invoke.request_id, sizeof record.request_id);
    memcpy(record.source, c->invoke.source, sizeof record.source);
    if (ct_record_append(lane->table, &record) < 0 || lane->has_told_records)
        return;
    const ct_event event = {.kind = CT_LANE_RECORDS};
    lane->has_told_records = ct__emit(lane->reactor, &event) == 0; /* else the next record tells */
}

static bool is_shed(uint32_t status) {
    return status == CT_STATUS_QUEUE_FULL || status == CT_STATUS_QUEUE_WAIT_TIMEOUT;
}

static void refuse(lane_call *c, uint32_t grpc_status, ct__h2_span message, ct__h2_span problem) {
    if (c->is_recorded && !is_shed(c->status))
        write_down(c, c->status, c->log.base, c->log.len, c->log.is_cut, problem.data, problem.len, 0);
    if (c->stream != 0)
        (void)ct__h2_refuse(c->lane->server, c->stream, grpc_status, message, problem);
    rest(c);
}

/* Ends a call that gets no answer: the function's entry has the words, or Python is asked for them. The case holds what
 * they depend on beside the call itself. */
static void refuse_by(lane_call *c, const ct_verdict *verdict, ct_lane_case rest_of_case, ct__h2_span text) {
    ct_lane *lane = c->lane;
    c->status = verdict->code;
    if (c->ended_ns == 0)
        c->ended_ns = ct__reactor_now_ns(lane->reactor);
    ct__refusal words;
    if (rest_of_case.member == 0 && c->function != 0 &&
        ct__function_refusal(lane->table, c->function, verdict->code, verdict->detail, &words) == 1) {
        refuse(c, words.grpc_status, (ct__h2_span){.data = words.message, .len = words.message_len},
               (ct__h2_span){.data = words.problem, .len = words.problem_len});
        return;
    }
    c->state = WORDED;
    ct_lane_case told = rest_of_case;
    told.verdict = *verdict;
    told.function = c->function;
    told.given_ns = c->given_ns;
    told.timeout_ns = c->timeout_ns;
    told.text_len = (uint32_t)text.len;
    ct_event event = {.kind = CT_LANE_REFUSES, .target = handle_of(c), .data = malloc(sizeof told + text.len)};
    if (event.data != NULL) {
        memcpy(event.data, &told, sizeof told);
        if (text.len > 0)
            memcpy(event.data + sizeof told, text.data, text.len);
        event.len = sizeof told + text.len;
    }
    c->has_place = false;
    ct__emit_reserved(lane->reactor, &event);
}

static void refuse_plainly(lane_call *c, const ct_verdict *verdict) {
    end_in_table(c, verdict->code, 0);
    refuse_by(c, verdict, (ct_lane_case){0}, (ct__h2_span){0});
}

int ct_lane_refuse(ct_lane *lane, uint64_t call, uint32_t grpc_status, const uint8_t *message, uint32_t message_len,
                   const uint8_t *problem, uint32_t problem_len) {
    lane_call *c = call_at(lane, call);
    if (c == NULL || c->state != WORDED)
        return -ESTALE;
    refuse(c, grpc_status, (ct__h2_span){.data = message, .len = message_len},
           (ct__h2_span){.data = problem, .len = problem_len});
    return 0;
}

static void fail(lane_call *c, const ct__link_end *end) {
    ct_verdict verdict = {.code = CT_STATUS_TIMEOUT};
    uint32_t flags = CT_END_BROKEN;
    ct__h2_span text = {0};
    if (end->kind == CT_END_INVALID) {
        verdict.code = CT_STATUS_OUTPUT_INVALID;
        flags = 0; /* the handler's answer is bad, its worker is not */
    } else if (end->kind == CT_END_DIED) {
        verdict.code = CT_STATUS_INSTANCE_DIED;
        text = (ct__h2_span){.data = end->body, .len = end->len};
    }
    c->log = (ct__log){.limit = (uint32_t)end->log_len};
    ct__log_add(&c->log, end->log, end->log_len, end->is_log_cut);
    end_in_table(c, verdict.code, flags);
    refuse_by(c, &verdict, (ct_lane_case){0}, text);
}

static void ended(ct__link_call *link_call, const ct__link_end *end, ct_link *link) {
    (void)link;
    lane_call *c = (lane_call *)link_call;
    if (end->kind != CT_END_RESULT && end->kind != CT_END_ERROR) {
        fail(c, end);
        return;
    }
    const bool is_error = end->kind == CT_END_ERROR;
    const uint32_t status = is_error ? CT_STATUS_FUNCTION_ERROR : CT_STATUS_OK;
    end_in_table(c, status, 0); /* first: the next in line has the instance in this same turn */
    ct__answer answer;
    ct__answer_make(&answer, c->invoke.request_id, is_error, end->body, end->len, end->duration_ns, c->grant.is_cold != 0,
                    c->grant.code_version);
    (void)ct__h2_answer(c->lane->server, c->stream, answer.pieces, CT__ANSWER_PIECES);
    write_down(c, status, end->log, end->log_len, end->is_log_cut, is_error ? end->body : NULL, is_error ? end->len : 0,
               is_error ? 0 : end->len);
    rest(c);
}

/* ---- from the line to the instance ---- */

static void lease(lane_call *c);

/* Asks whether a waiter is past its time, now and when the table says. */
static void look(lane_call *c) {
    ct_lane *lane = c->lane;
    uint64_t next_ns = 0;
    ct_verdict verdict;
    int result = ct_call_overdue(lane->table, c->call, ct__reactor_now_ns(lane->reactor), &next_ns, &verdict);
    if (result == 0 && ct__alarm_set(lane->reactor, &c->patience, next_ns) < 0) {
        verdict = (ct_verdict){.code = CT_STATUS_OVERLOADED};
        result = 1;
    }
    if (result == 1)
        refuse_plainly(c, &verdict); /* else it has been given an instance, or no answer is due yet */
}

static void impatient(ct__alarm *alarm) {
    look(of_alarm(alarm));
}

static void wait_in_line(lane_call *c) {
    c->state = WAITS;
    look(c);
}

/* Its instance has ended before anything was sent to it. */
static void go_back(lane_call *c) {
    ct_table *table = c->lane->table;
    const uint64_t now_ns = ct__reactor_now_ns(c->lane->reactor);
    (void)ct_member_died(table, c->grant.member, now_ns);
    if (ct_call_return(table, c->call, now_ns) == 1)
        wait_in_line(c);
    else
        lease(c);
}

static void run(lane_call *c) {
    ct_lane *lane = c->lane;
    ct_link *link = ct__links_get(lane->links, c->grant.link);
    if (link == NULL) {
        go_back(c);
        return;
    }
    const uint64_t now_ns = ct__reactor_now_ns(lane->reactor);
    ct__function_facts facts;
    if (c->until_ns <= now_ns || ct__function_get(lane->table, c->function, &facts) < 0) {
        refuse_plainly(c, &(ct_verdict){.code = CT_STATUS_TIMEOUT, .detail = CT_DETAIL_WAIT});
        return;
    }
    const uint64_t left_ns = c->until_ns - now_ns;
    c->timeout_ns = facts.timeout_ns < left_ns ? facts.timeout_ns : left_ns;
    const ct__exec exec = {.request_id = c->invoke.request_id,
                           .trace_id = c->invoke.trace_id,
                           .span_id = c->invoke.span_id,
                           .payload = c->invoke.payload.data,
                           .len = c->invoke.payload.len,
                           .timeout_ns = c->timeout_ns};
    c->link_call.done = ended;
    if (ct__link_begin(link, &c->link_call, &exec) < 0) {
        refuse_plainly(c, &(ct_verdict){.code = CT_STATUS_OVERLOADED});
        return;
    }
    c->state = RUNS;
}

static void lease(lane_call *c) {
    ct_lane *lane = c->lane;
    ct_verdict verdict = {.code = CT_STATUS_OVERLOADED};
    const int result =
        ct_lease(lane->table, c->call, c->until_ns, ct__reactor_now_ns(lane->reactor), &c->grant, &verdict);
    if (result == CT_LEASE_GRANTED)
        run(c);
    else if (result == CT_LEASE_WAITS)
        wait_in_line(c);
    else
        refuse_plainly(c, &verdict);
}

static void take_effects(ct__task *task) {
    ct_lane *lane = (ct_lane *)((char *)task - offsetof(ct_lane, effects));
    ct_effect effect;
    while (ct_effect_next(lane->table, CT_TAKER_LANE, &effect) == 1) {
        lane_call *c = call_at(lane, effect.owner);
        if (c == NULL || c->state != WAITS || c->call != effect.call)
            continue;
        ct__alarm_clear(lane->reactor, &c->patience);
        if (effect.kind == CT_EFFECT_GRANT) {
            c->grant = effect.grant;
            run(c);
        } else {
            end_in_table(c, effect.verdict.code, 0);
            refuse_by(c, &effect.verdict, (ct_lane_case){.member = effect.member}, (ct__h2_span){0});
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

static bool wanted(void *ctx, const ct__h2_head *head) {
    static const char path[] = "/nova.v1.NovaService/Invoke";
    return ct__h2_is(head->path, path, sizeof path - 1) && !head->is_odd && head->identity.len > 0 &&
           head->identity.len <= CT_TOKEN_BYTES_MAX && is_secret(ctx, head->authorization);
}

static void admit(lane_call *c, const ct_identity *who) {
    ct_lane *lane = c->lane;
    ct_verdict verdict = {.code = CT_STATUS_OVERLOADED};
    const uint64_t function = c->function;
    c->is_entered = ct_node_enter(lane->table, &verdict) == 0;
    if (!c->is_entered) {
        c->function = 0; /* the words are the node's */
        refuse_plainly(c, &verdict);
        return;
    }
    const ct_ask ask = {.payload_bytes = c->invoke.payload_bytes,
                        .owner = handle_of(c),
                        .rate_per_s = who->rate_per_s,
                        .burst = who->burst,
                        .taker = CT_TAKER_LANE,
                        .depth = c->invoke.depth,
                        .chain = c->invoke.chain.data,
                        .chain_len = (uint32_t)c->invoke.chain.len,
                        .tenant = who->tenant,
                        .tenant_len = who->tenant_len,
                        .subject = who->subject,
                        .subject_len = who->subject_len};
    uint64_t call = 0;
    if (ct_admit(lane->table, function, &ask, c->started_ns, &call, &verdict) != 0) {
        refuse_by(c, &verdict, (ct_lane_case){.rate_per_s = who->rate_per_s},
                  (ct__h2_span){.data = who->subject, .len = who->subject_len});
        return;
    }
    c->call = call;
    if (c->invoke.payload_bytes > 0 && ct_json_check(c->invoke.payload.data, c->invoke.payload.len, JSON_DEPTH) < 0) {
        refuse_plainly(c, &(ct_verdict){.code = CT_STATUS_INVALID_REQUEST});
        return;
    }
    c->is_recorded = true;
    lease(c);
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
    const uint64_t function = ct_function_find(lane->table, who.tenant, who.tenant_len, who.space, who.space_len,
                                               invoke.function.data, (uint32_t)invoke.function.len);
    if (function == 0 || ct__emit_reserve(lane->reactor, 1) < 0)
        return false;
    lane_call *c = take_call(lane);
    if (c == NULL) {
        ct__emit_give_back(lane->reactor, 1);
        return false;
    }
    const uint64_t now_ns = ct__reactor_now_ns(lane->reactor);
    *c = (lane_call){.lane = lane,
                     .state = WAITS,
                     .index = c->index,
                     .generation = c->generation,
                     .stream = stream,
                     .function = function,
                     .started_ns = now_ns,
                     .started_at_us = (int64_t)wall.tv_sec * 1000000 + wall.tv_nsec / 1000,
                     .given_ns = FOREVER_NS,
                     .patience = {.due = impatient},
                     .has_place = true,
                     .invoke = invoke};
    if (invoke.timeout_ms != 0)
        c->given_ns = invoke.timeout_ms * MS_NS;
    c->until_ns = now_ns + c->given_ns;
    if (head->has_timeout && head->deadline_ns < c->until_ns) {
        c->until_ns = head->deadline_ns;
        c->given_ns = head->timeout_ns;
    }
    ct__function_facts facts;
    if (ct__function_get(lane->table, function, &facts) == 0)
        c->grant.code_version = facts.code_version; /* what would have run, until an instance says what does */
    (void)ct__h2_own(lane->server, stream, c);
    admit(c, &who);
    return true;
}

static void requested(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len) {
    ct_lane *lane = ctx;
    if (!let_in(lane, stream, head, message, len))
        (void)ct__h2_forward(lane->server, stream);
}

/* Nobody waits for it any more. Its instance gets no new calls: what it says next is the answer to this one. */
static void give_up(lane_call *c) {
    c->stream = 0;
    if (c->state == WORDED)
        return; /* it is over already, and written down with its words */
    const bool runs = c->state == RUNS;
    if (runs)
        ct__link_give_up(&c->link_call, true);
    end_in_table(c, CT_STATUS_CANCELLED, runs ? CT_END_BROKEN : 0);
    write_down(c, CT_STATUS_CANCELLED, NULL, 0, false, NULL, 0, 0);
    rest(c);
}

static void cancelled(void *ctx, ct__h2_stream stream, void *owner) {
    (void)ctx;
    lane_call *c = owner;
    if (c != NULL && c->stream == stream)
        give_up(c);
}

/* ---- begin and end ---- */

ct_lane *ct_lane_new(ct_reactor *reactor, ct_table *table, ct_links *links, const uint8_t *secret, uint32_t secret_len) {
    ct_lane *lane = calloc(1, sizeof *lane + secret_len);
    if (lane == NULL)
        return NULL;
    lane->reactor = reactor;
    lane->table = table;
    lane->links = links;
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
        .wanted = wanted, .request = requested, .cancelled = cancelled, .stopped = stopped};
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
        lane_call *c = lane->calls[i];
        c->stream = 0; /* nobody is answered any more */
        if (c->state == WORDED)
            refuse(c, 0, (ct__h2_span){0}, (ct__h2_span){0}); /* without words, to nobody */
        else if (c->state != FREE)
            give_up(c);
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
        free(lane->calls[i]);
    free((void *)lane->calls);
    free(lane);
}
