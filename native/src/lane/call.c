/* One invocation after another: let in, given an instance, sent to it, answered, written down. Every decision is the table's, every word
 * of a refusal Python's. */

#include "base/err.h"
#include "lane/answer.h"
#include "lane/state.h"
#include "table/table.h"

#include <stdlib.h>
#include <string.h>

enum { JSON_DEPTH = 512 /* as Python's check of a payload */ };

static ct__lane_call *of_alarm(ct__alarm *alarm) {
    return (ct__lane_call *)((char *)alarm - offsetof(ct__lane_call, patience));
}

uint64_t ct__lane_handle(const ct__lane_call *c) {
    return (uint64_t)c->generation << CT__LANE_HANDLE_SHIFT | (c->index + 1);
}

static void rest(ct__lane_call *c) {
    ct_lane *lane = c->lane;
    ct__alarm_clear(lane->reactor, &c->patience);
    ct__log_free(&c->log);
    if (c->has_place)
        ct__emit_give_back(lane->reactor, 1);
    if (c->is_entered)
        ct_node_leave(lane->table);
    c->state = CT__LANE_FREE;
    c->generation++;
    c->next_free = lane->first_free;
    lane->first_free = c->index + 1;
    lane->in_hand--;
}

/* ---- how a call ends ---- */

static void end_in_table(ct__lane_call *c, uint32_t status, uint32_t flags) {
    if (c->call == 0)
        return;
    (void)ct_call_end(c->lane->table, c->call, status, flags, ct__reactor_now_ns(c->lane->reactor));
    c->call = 0;
}

static void write_down(ct__lane_call *c, uint32_t status, const uint8_t *log, size_t log_len, bool is_log_cut,
                       const uint8_t *error, size_t error_len, uint64_t output_bytes) {
    ct_lane *lane = c->lane;
    const uint64_t ended_ns = c->ended_ns != 0 ? c->ended_ns : ct__reactor_now_ns(lane->reactor);
    ct_record record = {.function = c->function,
                        .version = c->grant.version,
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

void ct__lane_word(ct__lane_call *c, uint32_t grpc_status, ct__h2_span message, ct__h2_span problem) {
    if (c->is_recorded && !is_shed(c->status))
        write_down(c, c->status, c->log.base, c->log.len, c->log.is_cut, problem.data, problem.len, 0);
    if (c->stream != 0)
        (void)ct__h2_refuse(c->lane->server, c->stream, grpc_status, message, problem);
    rest(c);
}

/* Ends a call that gets no answer: the function's entry has the words, or Python is asked for them. The case holds what
 * they depend on beside the call itself. */
static void refuse_by(ct__lane_call *c, const ct_verdict *verdict, ct_lane_case rest_of_case, ct__h2_span text) {
    ct_lane *lane = c->lane;
    c->status = verdict->code;
    if (c->ended_ns == 0)
        c->ended_ns = ct__reactor_now_ns(lane->reactor);
    ct__refusal words;
    if (rest_of_case.member == 0 && c->function != 0 &&
        ct__function_refusal(lane->table, c->function, verdict->code, verdict->detail, &words) == 1) {
        ct__lane_word(c, words.grpc_status, (ct__h2_span){.data = words.message, .len = words.message_len},
               (ct__h2_span){.data = words.problem, .len = words.problem_len});
        return;
    }
    c->state = CT__LANE_WORDED;
    ct_lane_case told = rest_of_case;
    told.verdict = *verdict;
    told.function = c->function;
    told.given_ns = c->given_ns;
    told.timeout_ns = c->timeout_ns;
    told.text_len = (uint32_t)text.len;
    ct_event event = {.kind = CT_LANE_REFUSES, .target = ct__lane_handle(c), .data = malloc(sizeof told + text.len)};
    if (event.data != NULL) {
        memcpy(event.data, &told, sizeof told);
        if (text.len > 0)
            memcpy(event.data + sizeof told, text.data, text.len);
        event.len = sizeof told + text.len;
    }
    c->has_place = false;
    ct__emit_reserved(lane->reactor, &event);
}

static void refuse_plainly(ct__lane_call *c, const ct_verdict *verdict) {
    end_in_table(c, verdict->code, 0);
    refuse_by(c, verdict, (ct_lane_case){0}, (ct__h2_span){0});
}

static void fail(ct__lane_call *c, const ct__link_end *end) {
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

static void answer(ct__lane_call *c, const ct__link_end *end) {
    const bool is_error = end->kind == CT_END_ERROR;
    const uint32_t status = is_error ? CT_STATUS_FUNCTION_ERROR : CT_STATUS_OK;
    end_in_table(c, status, 0); /* first: the next in line has the instance in this same turn */
    const uint64_t output_bytes = c->is_stream ? c->sent_bytes : is_error ? 0 : end->len;
    ct__answer answer;
    if (c->is_stream)
        ct__answer_end(&answer, c->invoke.request_id, is_error ? end->body : NULL, is_error ? end->len : 0, end->duration_ns,
                       c->grant.is_cold != 0, c->grant.version);
    else
        ct__answer_make(&answer, c->invoke.request_id, is_error, end->body, end->len, end->duration_ns, c->grant.is_cold != 0,
                        c->grant.version);
    (void)ct__h2_answer(c->lane->server, c->stream, answer.pieces, CT__ANSWER_PIECES);
    write_down(c, status, end->log, end->log_len, end->is_log_cut, is_error ? end->body : NULL, is_error ? end->len : 0,
               output_bytes);
    rest(c);
}

static void ended(ct__link_call *link_call, const ct__link_end *end, ct_link *link) {
    (void)link;
    ct__lane_call *c = (ct__lane_call *)link_call;
    ct_link *held = ct__lane_let_go(c);
    if (end->kind == CT_END_RESULT || end->kind == CT_END_ERROR)
        answer(c, end);
    else
        fail(c, end);
    if (held != NULL)
        ct__link_release(held); /* which may begin other calls in the place of this one */
}

/* ---- from the line to the instance ---- */

static void lease(ct__lane_call *c);

/* Asks whether a waiter is past its time, now and when the table says. */
static void look(ct__lane_call *c) {
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

void ct__lane_impatient(ct__alarm *alarm) {
    look(of_alarm(alarm));
}

static void wait_in_line(ct__lane_call *c) {
    c->state = CT__LANE_WAITS;
    look(c);
}

/* Its instance has ended before anything was sent to it. */
static void go_back(ct__lane_call *c) {
    ct_table *table = c->lane->table;
    const uint64_t now_ns = ct__reactor_now_ns(c->lane->reactor);
    (void)ct_member_died(table, c->grant.member, now_ns);
    if (ct_call_return(table, c->call, now_ns) == 1)
        wait_in_line(c);
    else
        lease(c);
}

static void run(ct__lane_call *c) {
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
                           .timeout_ns = c->timeout_ns,
                           .origin = &c->origin};
    c->origin = (ct__origin){.chain = c->invoke.chain.data,
                             .chain_len = (uint32_t)c->invoke.chain.len,
                             .depth = c->invoke.depth,
                             .trace_id = c->invoke.trace_id,
                             .span_id = c->invoke.span_id};
    c->link_call.done = ended;
    c->link_call.piece = c->is_stream ? ct__lane_piece : NULL;
    if (ct__link_begin(link, &c->link_call, &exec) < 0) {
        refuse_plainly(c, &(ct_verdict){.code = CT_STATUS_OVERLOADED});
        return;
    }
    c->state = CT__LANE_RUNS;
}

static void lease(ct__lane_call *c) {
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

void ct__lane_admit(ct__lane_call *c, const ct_identity *who) {
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
                        .owner = ct__lane_handle(c),
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

/* Nobody waits for it any more. Its instance gets no new calls: what it says next is the answer to this one. */
void ct__lane_give_up(ct__lane_call *c) {
    c->stream = 0;
    if (c->state == CT__LANE_WORDED)
        return; /* it is over already, and written down with its words */
    const bool runs = c->state == CT__LANE_RUNS;
    ct_link *held = ct__lane_let_go(c);
    if (runs)
        ct__link_give_up(&c->link_call, true);
    end_in_table(c, CT_STATUS_CANCELLED, runs ? CT_END_BROKEN : 0);
    write_down(c, CT_STATUS_CANCELLED, NULL, 0, false, NULL, 0, 0);
    rest(c);
    if (held != NULL)
        ct__link_release(held);
}

void ct__lane_granted(ct__lane_call *c, const ct_grant *grant) {
    c->grant = *grant;
    run(c);
}

void ct__lane_refuse(ct__lane_call *c, const ct_verdict *verdict, uint64_t member) {
    end_in_table(c, verdict->code, 0);
    refuse_by(c, verdict, (ct_lane_case){.member = member}, (ct__h2_span){0});
}
