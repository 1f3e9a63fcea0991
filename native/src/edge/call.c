/* The hot route: a plain call of a known caller goes to comet from here, and its answer to the client, without Python. */
#include "edge/lane.h"

#include "base/cursor.h"
#include "edge/reply.h"
#include "proto/json_member.h"
#include "proto/pbwire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum {
    CALLS_A_CONNECTION = 90, /* an HTTP/2 server of grpclib takes 100 */
    DEADLINE_EXCEEDED = 4,
    GRPC_MAX = 16,
    FRAMES_BYTES = 256 << 10, /* chosen: of chunks around a body; finer ones are Python's */
};

/* ---- who calls ---- */

/* NULL: it is not known. Returns at *hash what others of the same caller present too; 0: this request is for Python whoever it is. */
static const ct__principal *principal_of(ct__caller *c, const ct__http1_head *head, const ct__plain *plain, uint64_t now_ns,
                                         uint64_t *hash) {
    ct__principals *known = &c->edge->lane->principals;
    const size_t len = 1 + plain->credential.len + 1 + plain->tenant.len + 1 + plain->space.len;
    *hash = 0;
    if (len > CT__PRINCIPAL_KEY_BYTES || (plain->kind == CT__LOCAL && !plain->is_lone))
        return NULL;
    uint8_t key[CT__PRINCIPAL_KEY_BYTES];
    ct__writer w = {.at = key, .left = sizeof key};
    const uint8_t kind = (uint8_t)plain->kind, end = 0;
    ct__write_bytes(&w, &kind, 1);
    ct__write_bytes(&w, plain->credential.at, plain->credential.len);
    ct__write_bytes(&w, &end, 1);
    ct__write_bytes(&w, plain->tenant.at, plain->tenant.len);
    ct__write_bytes(&w, &end, 1);
    ct__write_bytes(&w, plain->space.at, plain->space.len);
    const bool is_allowed = plain->kind != CT__LOCAL || ct__trusts(c, head->host);
    const ct__principal *who = is_allowed ? ct__principals_get(known, key, len, now_ns) : NULL;
    if (who == NULL)
        *hash = ct__siphash(known->secret, key, len);
    return who;
}

/* ---- the call ---- */

static ct__h2_span of(ct__span span) {
    return (ct__h2_span){span.at, span.len};
}

static ct__h2_span text(const char *literal) {
    return (ct__h2_span){(const uint8_t *)literal, strlen(literal)};
}

static int begin(ct__caller *c, const ct__http1_head *head, const ct__plain *plain, const ct__principal *who, ct__span payload,
                 uint64_t now_ns) {
    const ct__lane *lane = c->edge->lane;
    const ct__h2_pair all[] = {
        {text("authorization"), text(lane->authorization), true},
        {text("nova-identity"), {who->bytes + who->key_len, who->token_len}, true},
        {text("x-request-id"), {(const uint8_t *)c->request_id, CT__UUID_BYTES}, false},
        {text("traceparent"), of(plain->traceparent), false},
        {text("nova-call-depth"), of(plain->depth), false},
        {text("nova-call-chain"), of(plain->chain), false},
    };
    ct__h2_pair pairs[sizeof all / sizeof *all];
    size_t pair_count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].value.len > 0) /* an empty value is no metadata to gRPC */
            pairs[pair_count++] = all[i];
    uint8_t front[128], back[320]; /* a name of at most 64 bytes; a qualifier and a key of at most 128 each */
    ct__writer w = {.at = front, .left = sizeof front};
    ct__pb_put_bytes(&w, 1, plain->function.at, plain->function.len);
    ct__pb_put_bytes_head(&w, 2, payload.len);
    ct__writer v = {.at = back, .left = sizeof back};
    if (plain->timeout_ms > 0)
        ct__pb_put_varint(&v, 3, plain->timeout_ms);
    if (plain->qualifier.len > 0)
        ct__pb_put_bytes(&v, 4, plain->qualifier.at, plain->qualifier.len);
    if (plain->sticky.len > 0)
        ct__pb_put_bytes(&v, 5, plain->sticky.at, plain->sticky.len);
    ct__address client = c->address;
    if (c->is_proxy)
        ct__address_behind(head, c->edge->proxies, c->edge->proxy_count, &client);
    const ct__span address = ct__address_packed(&client);
    ct__pb_put_bytes(&v, 6, address.at, address.len);
    const ct__h2_span pieces[] = {{front, sizeof front - w.left}, of(payload), {back, sizeof back - v.left}};
    const uint64_t own_ns = plain->timeout_ns > 0 ? plain->timeout_ns : lane->max_timeout_ns;
    const ct__h2_request request = {
        .path = text(plain->is_stream ? "/nova.v1.NovaService/InvokeStream" : "/nova.v1.NovaService/Invoke"),
        .pairs = pairs,
        .pair_count = pair_count,
        .pieces = pieces,
        .piece_count = sizeof pieces / sizeof *pieces,
        .deadline_ns = now_ns + (plain->is_stream ? lane->stream_ns : lane->grace_ns + own_ns),
    };
    return ct__h2_begin(lane->client, &c->call, &request);
}

/* ---- its answer ---- */

void ct__call_count(ct__caller *c, uint32_t status) {
    ct_edge *edge = c->edge;
    ct_edge_tally *tally = c->stream.is_wanted ? &edge->counts.streams : &edge->counts.calls;
    const uint64_t spent_ns = ct__reactor_now_ns(edge->reactor) - c->began_ns;
    uint32_t slot = 0;
    while (slot < edge->lane->bound_count && spent_ns > edge->lane->bounds_ns[slot])
        slot++;
    tally->slots[slot]++;
    tally->sum_ns += spent_ns;
    tally->answered[status / 100 < 6 ? status / 100 : 5]++;
}

void ct__call_code(const uint8_t *problem, size_t len, char *code) {
    const uint8_t *value;
    const size_t value_len = ct__json_member(problem, len, "code", &value);
    memset(code, 0, CT_EDGE_CODE_BYTES);
    if (value_len == 0 || ct__json_ascii(value, value_len, code, CT_EDGE_CODE_BYTES - 1) <= 0)
        code[0] = '\0';
}

void ct__call_count_code(ct__lane *lane, const char *code) {
    if (code[0] == '\0')
        return;
    size_t i = 0;
    while (i < lane->code_count && strcmp(lane->codes[i].code, code) != 0)
        i++;
    if (i == CT_EDGE_CODES)
        return; /* comet has fewer */
    if (i == lane->code_count) {
        memcpy(lane->codes[i].code, code, strlen(code) + 1);
        lane->code_count++;
    }
    lane->codes[i].count++;
}

void ct__call_refuse(ct__caller *c, enum ct_edge_refusal refusal) {
    ct__call_count(c, c->edge->problems[refusal].status);
    ct__caller_refuse(c, refusal, true);
}

static bool pass_problem(ct__caller *c, ct__h2_span problem) {
    const uint8_t *value;
    if (ct_json_check(problem.data, problem.len, CT__JSON_DEPTH) != 0)
        return false;
    const size_t len = ct__json_member(problem.data, problem.len, "status", &value);
    const long stated = ct__json_number(value, len);
    const uint32_t status = stated >= 400 && stated <= 599 ? (uint32_t)stated : 500;
    const size_t after_len = ct__json_member(problem.data, problem.len, "retry_after_s", &value);
    long after_s = ct__json_number(value, after_len);
    if (after_s == 0 || (after_s < 0 && (status == 429 || status == 503)))
        after_s = 1;
    char code[CT_EDGE_CODE_BYTES];
    ct__call_code(problem.data, problem.len, code);
    ct__call_count_code(c->edge->lane, code);
    ct__call_count(c, status);
    ct__note(c, status, code);
    ct__caller_pass_problem(c, problem.data, problem.len, status, after_s);
    return true;
}

enum ct_edge_refusal ct__call_refusal(const ct__h2_reply *reply) {
    if (!reply->is_answered)
        return reply->status == DEADLINE_EXCEEDED ? CT_EDGE_LATE : CT_EDGE_COMET;
    return (enum ct_edge_refusal)(CT_EDGE_GRPC + (reply->status <= GRPC_MAX ? reply->status : 2));
}

void ct__call_fail(ct__caller *c, const ct__h2_reply *reply) {
    if (reply->problem.len == 0 || !pass_problem(c, reply->problem))
        ct__call_refuse(c, ct__call_refusal(reply));
}

static void answer(ct__caller *c, const ct__h2_reply *reply) {
    ct__reply said;
    if (ct__reply_read(reply->body.data, reply->body.len, &said) != 0) {
        ct__call_refuse(c, CT_EDGE_COMET);
        return;
    }
    uint8_t *room = ct__conn_room(&c->conn, ct__reply_room(&said));
    if (room == NULL) {
        ct__caller_close(c, true);
        return;
    }
    ct__conn_wrote(&c->conn, ct__reply_write(room, &said, c->request_id, ct__edge_date(c->edge)));
    ct__call_count(c, 200);
    ct__caller_next(c);
}

static void done(ct__h2_call *call, const ct__h2_reply *reply) {
    ct__caller *c = (ct__caller *)((char *)call - offsetof(ct__caller, call));
    c->edge->counts.called++;
    if (reply->status == 0)
        answer(c, reply);
    else
        ct__call_fail(c, reply);
}

/* ---- the way in ---- */

/* Whether the body is there as a whole. Returns 1; 0: more must come; -1: it can not be one, or is too large, which is Python's to
 * say, as nothing of it was taken. */
static int look_at_body(ct__caller *c, const ct__http1_head *head) {
    const size_t len = c->conn.in.len, body_max = (size_t)c->edge->lane->body_max;
    if (head->framing != CT__HTTP1_CHUNKED)
        return head->length > body_max ? -1 : len - head->used >= head->length;
    if (c->gather_seen == 0) {
        c->body = ct__http1_body_of(head);
        c->gather_seen = head->used;
    }
    while (!ct__http1_body_done(&c->body) && c->gather_seen < len) {
        size_t used;
        ct__span data;
        if (ct__http1_body_next(&c->body, ct__bytes_front(&c->conn.in) + c->gather_seen, len - c->gather_seen, &used, &data) != 0)
            return -1;
        c->gather_seen += used;
        c->gather_data += data.len;
    }
    if (c->gather_data > body_max || c->gather_seen - head->used > body_max + FRAMES_BYTES)
        return -1;
    return ct__http1_body_done(&c->body);
}

/* Waits for the rest of the body, if there is room for it. */
static void gather(ct__caller *c, const ct__http1_head *head, uint64_t now_ns) {
    ct_edge *edge = c->edge;
    const bool is_chunked = head->framing == CT__HTTP1_CHUNKED;
    const uint64_t bytes = is_chunked ? c->conn.in.len - head->used : head->length;
    if (ct_edge_hold(edge, (int64_t)(bytes - c->held_bytes)) != 0) {
        ct__call_count(c, edge->problems[CT_EDGE_BODIES].status);
        ct__caller_refuse(c, CT_EDGE_BODIES, false); /* the body is unread */
        return;
    }
    const size_t limit = head->used + (size_t)(is_chunked ? edge->lane->body_max + FRAMES_BYTES : head->length) + 1;
    if (c->held_bytes == 0) /* its first look */
        ct__caller_deadline(c, now_ns + edge->lane->read_ns);
    c->held_bytes = bytes > 0 ? bytes : c->held_bytes;
    c->gather_bytes = is_chunked ? 0 : limit - 1;
    if (c->conn.in_limit < limit)
        c->conn.in_limit = limit;
    c->phase = CT__GATHERING;
}

/* The whole body, put together where it stands. *taken is the bytes of head and body. */
static ct__span put_together(ct__caller *c, const ct__http1_head *head, size_t *taken) {
    uint8_t *const begin = ct__bytes_front(&c->conn.in) + head->used;
    if (head->framing != CT__HTTP1_CHUNKED) {
        *taken = head->used + (size_t)head->length;
        return (ct__span){begin, (size_t)head->length};
    }
    *taken = c->gather_seen;
    ct__http1_body body = ct__http1_body_of(head);
    size_t seen = 0, len = 0;
    while (!ct__http1_body_done(&body)) {
        size_t used;
        ct__span data;
        if (ct__http1_body_next(&body, begin + seen, *taken - head->used - seen, &used, &data) != 0)
            break; /* it was read once already */
        memmove(begin + len, data.at, data.len); /* what it overwrites is behind us */
        len += data.len;
        seen += used;
    }
    return (ct__span){begin, len};
}

bool ct__call(ct__caller *c, const ct__http1_head *head) {
    ct_edge *edge = c->edge;
    ct__lane *lane = edge->lane;
    ct__plain plain;
    if (lane == NULL || (c->is_proxy && edge->is_other_header) || !ct__plain_read(head, lane->max_timeout_ns, &plain))
        return false;
    if (lane->has_domains && ct__domains_have(&lane->domains, head->host))
        return false; /* what it asks for is a tenant's */
    c->stream = (ct__stream){.is_wanted = plain.is_stream, .is_events = plain.is_events};
    const uint64_t now_ns = ct__reactor_now_ns(edge->reactor);
    uint64_t hash;
    const ct__principal *who = principal_of(c, head, &plain, now_ns, &hash);
    if (who == NULL)
        return hash != 0 && ct__hold(c, hash, now_ns);
    if (!ct__principal_may(who, plain.function.at, plain.function.len))
        return false; /* Python refuses it, and writes that down */
    const int is_whole = look_at_body(c, head);
    if (is_whole == 0)
        gather(c, head, now_ns);
    if (is_whole != 1)
        return is_whole == 0;
    edge->counts.lookups++;
    c->who = who->hash;
    memcpy(c->function, plain.function.at, plain.function.len); /* at most 64 bytes, as plain.c has seen to */
    c->function[plain.function.len] = '\0';
    static const uint8_t EMPTY[] = {'{', '}'};
    size_t taken;
    ct__span payload = put_together(c, head, &taken);
    if (payload.len == 0)
        payload = (ct__span){EMPTY, sizeof EMPTY};
    if (plain.has_request_id)
        memcpy(c->request_id, plain.request_id, CT__UUID_BYTES);
    else
        ct__edge_uuid(edge, c->request_id);
    c->phase = CT__CALLING; /* from here on the request has its id */
    if (ct_json_check(payload.at, payload.len, CT__JSON_DEPTH) != 0) {
        ct__bytes_skip(&c->conn.in, taken);
        ct__call_refuse(c, CT_EDGE_NOT_JSON);
        return true;
    }
    c->call.done = plain.is_stream ? ct__stream_done : done;
    c->call.piece = plain.is_stream ? ct__stream_piece : NULL;
    const int result = begin(c, head, &plain, who, payload, now_ns);
    ct__bytes_skip(&c->conn.in, taken); /* it was copied */
    if (result != 0) {
        ct__call_refuse(c, result == CT_E_FULL ? CT_EDGE_CALLS : CT_EDGE_COMET);
        return true;
    }
    ct__caller_deadline(c, UINT64_MAX);
    return true;
}

void ct__call_cancel(ct__caller *c) {
    if (c->call.exchange == NULL)
        return;
    ct__h2_cancel(&c->call);
    ct__call_count(c, c->stream.has_begun ? 200 : 0);
}

/* ---- from outside ---- */

int ct_edge_call(ct_edge *edge, const ct_edge_lane *settings) {
    struct in6_addr unused;
    const bool is_numeric = inet_pton(AF_INET, settings->comet, &unused) == 1 || inet_pton(AF_INET6, settings->comet, &unused) == 1;
    if (edge->lane != NULL || settings->bound_count >= CT_EDGE_SLOTS || !is_numeric)
        return CT_E_RANGE;
    ct__lane *lane = calloc(1, sizeof *lane);
    if (lane == NULL)
        return -ENOMEM;
    edge->lane = lane;
    uint8_t secret[16];
    ct__edge_noise(edge, secret, sizeof secret);
    lane->authorization = strdup(settings->authorization);
    const ct__h2_limits limits = {.connections = settings->calls_max / CALLS_A_CONNECTION + 1,
                                  .message_bytes = (size_t)settings->body_max + (32U << 20)};
    lane->client = ct__h2_client_new(edge->reactor, settings->comet, settings->port, &limits);
    if (lane->client != NULL)
        ct__h2_client_secure(lane->client, settings->tls);
    if (lane->client != NULL && settings->near != NULL && ct__h2_client_near(lane->client, settings->near) < 0) {
        ct__lane_free(edge);
        return CT_E_RANGE;
    }
    if (lane->authorization == NULL || ct__principals_init(&lane->principals, secret) != 0 || lane->client == NULL) {
        ct__lane_free(edge);
        return -ENOMEM;
    }
    lane->max_timeout_ns = settings->max_timeout_ns;
    lane->stream_ns = settings->stream_ns;
    lane->grace_ns = settings->grace_ns;
    lane->read_ns = settings->read_ns;
    lane->body_max = settings->body_max;
    lane->bound_count = settings->bound_count;
    memcpy(lane->bounds_ns, settings->bounds_ns, settings->bound_count * sizeof *lane->bounds_ns);
    return 0;
}

void ct__lane_free(ct_edge *edge) {
    ct__lane *lane = edge->lane;
    if (lane == NULL)
        return;
    ct__h2_client_free(lane->client);
    ct__principals_fini(&lane->principals);
    ct__domains_fini(&lane->domains);
    free(lane->authorization);
    free(lane);
    edge->lane = NULL;
}

int ct_edge_learn(ct_edge *edge, const uint8_t *key, size_t key_len, const uint8_t *token, size_t token_len,
                  const uint8_t *rule, size_t rule_len, uint64_t renew_ns, uint64_t until_ns) {
    if (edge->lane == NULL)
        return 0;
    const int result = ct__principals_put(&edge->lane->principals, key, key_len, token, token_len, rule, rule_len, renew_ns,
                                          until_ns);
    ct__hold_heard(edge);
    return result;
}

void ct_edge_forget(ct_edge *edge) {
    if (edge->lane != NULL)
        ct__principals_clear(&edge->lane->principals);
}

int ct_edge_domains(ct_edge *edge, const uint8_t *names, size_t len) {
    ct__lane *lane = edge->lane;
    if (lane == NULL)
        return 0;
    const int result = ct__domains_set(&lane->domains, names, len);
    lane->has_domains = lane->domains.is_unknown || lane->domains.count > 0;
    return result;
}

void ct_edge_fresh(ct_edge *edge, uint64_t until_ns) {
    if (edge->lane != NULL)
        edge->lane->principals.fresh_ns = until_ns;
}

int ct_edge_hold(ct_edge *edge, int64_t bytes) {
    if (bytes > 0 && edge->counts.held_bytes + (uint64_t)bytes > edge->bodies_max)
        return CT_E_FULL;
    edge->counts.held_bytes += (uint64_t)bytes; /* a negative number wraps around, as it should */
    return 0;
}

size_t ct_edge_codes(const ct_edge *edge, ct_edge_code *out, size_t cap) {
    size_t given = 0;
    for (; edge->lane != NULL && given < edge->lane->code_count && given < cap; given++)
        out[given] = edge->lane->codes[given];
    return given;
}
