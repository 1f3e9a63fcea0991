/* May this call run now? The first refusal wins. */
#include "table/state.h"

static ct_verdict plain(uint32_t code, uint32_t detail, uint64_t limit) {
    return (ct_verdict){.code = code, .detail = detail, .limit = limit};
}

ct_verdict ct__later(uint32_t code, uint64_t left_ns) {
    const uint64_t left_s = left_ns / CT__SECOND_NS + (left_ns % CT__SECOND_NS != 0);
    return (ct_verdict){.code = code, .limit = left_ns,
                        .retry_after_s = left_s == 0 ? 1 : left_s < UINT32_MAX ? (uint32_t)left_s : UINT32_MAX};
}

/* Is the function among the first names of the chain? Empty names count for nothing. */
static bool is_in_chain(const ct__function *f, const uint8_t *chain, uint32_t len) {
    uint32_t begin = 0;
    uint32_t names = 0;
    for (uint32_t at = 0; at <= len && names < CT_CHAIN_NAMES_MAX; at++) {
        if (at < len && chain[at] != ',')
            continue;
        if (at > begin) {
            names++;
            if (at - begin == f->row.name_len && memcmp(chain + begin, f->row.name, f->row.name_len) == 0)
                return true;
        }
        begin = at + 1;
    }
    return false;
}

/* The part of the chain that every call and every job passes. */
static bool check(const ct_table *t, const ct__function *f, const ct_ask *ask, uint64_t max_payload_bytes, bool is_job,
                  uint64_t now_ns, ct_verdict *out) {
    if (f->is_removed)
        *out = plain(CT_STATUS_NOT_FOUND, CT_DETAIL_NONE, 0);
    else if ((f->row.flags & CT_FUNCTION_HALTED) != 0)
        *out = plain(CT_STATUS_HALTED, CT_DETAIL_NONE, 0);
    else if ((f->row.flags & CT_FUNCTION_SUSPENDED) != 0)
        *out = plain(CT_STATUS_TENANT_SUSPENDED, CT_DETAIL_NONE, 0);
    else if (ask->depth >= CT_CALL_DEPTH_MAX)
        *out = plain(CT_STATUS_RECURSION, CT_DETAIL_DEPTH, ask->depth);
    else if (is_in_chain(f, ask->chain, ask->chain_len))
        *out = plain(CT_STATUS_RECURSION, CT_DETAIL_CYCLE, ask->depth);
    else if (ask->payload_bytes > max_payload_bytes)
        *out = plain(CT_STATUS_PAYLOAD_TOO_LARGE, CT_DETAIL_NONE, max_payload_bytes);
    else {
        const uint64_t left_ns = ask->rate_per_s > 0 ? ct__bucket_take(t->buckets, ask, now_ns) : 0;
        if (left_ns == 0)
            return !f->tenant->is_limited || !ct__tenant_refuses(f->tenant, is_job, now_ns, out);
        *out = ct__later(CT_STATUS_RATE_LIMITED, left_ns);
    }
    return false;
}

int ct_check_job(ct_table *t, uint64_t function, const ct_ask *ask, uint64_t max_payload_bytes, uint64_t now_ns,
                 ct_verdict *out) {
    const ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    const uint64_t own = f->row.max_payload_bytes;
    return check(t, f, ask, own < max_payload_bytes ? own : max_payload_bytes, true, now_ns, out) ? 0 : 1;
}

static ct__call *admit(ct_table *t, ct__function *f, const ct_ask *ask, uint64_t now_ns, ct_verdict *out) {
    if (t->call_slab.count >= t->call_slab.cap) {
        *out = ct__later(CT_STATUS_OVERLOADED, 0);
        out->limit = t->call_slab.cap;
        return NULL;
    }
    if (!check(t, f, ask, f->row.max_payload_bytes, false, now_ns, out))
        return NULL;
    if (f->row.max_inflight > 0 && f->leases + f->waiting >= f->row.max_inflight) {
        *out = (ct_verdict){.code = CT_STATUS_INFLIGHT_LIMIT, .http_status = f->row.shed_status,
                            .retry_after_s = f->row.retry_after_s, .limit = f->row.max_inflight};
        return NULL;
    }
    /* Before the line: a call that an open breaker refuses neither waits nor starts a boot. */
    ct_breaker_pass pass;
    if (!ct__breaker_admit(&f->breaker, &f->row.breaker, now_ns, &pass)) {
        *out = ct__later(CT_STATUS_BREAKER_OPEN, pass.left_ns);
        return NULL;
    }
    ct__call *c = ct__slab_take(&t->call_slab, t->calls, sizeof *c);
    assert(c != NULL);
    ct__tenant_enter(f->tenant);
    c->function = f;
    c->admitted_ns = now_ns;
    c->owner = ask->owner;
    c->taker = ask->taker;
    c->pass = pass;
    c->state = CT__CALL_ADMITTED;
    return c;
}

int ct_admit(ct_table *t, uint64_t function, const ct_ask *ask, uint64_t now_ns, uint64_t *call, ct_verdict *out) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL || ask->taker > CT_TAKER_LANE)
        return f == NULL ? -ESTALE : -EINVAL;
    const ct__call *c = admit(t, f, ask, now_ns, out);
    if (c == NULL) {
        ct__meter_refused(t, f, out->code);
        return 1;
    }
    f->calls++;
    if (!ct__linked(&f->active))
        ct__function_settle(t, f);
    *call = ct__handle(&c->slot);
    return 0;
}

int ct_node_enter(ct_table *t, ct_verdict *out) {
    if (!t->is_draining && t->inflight < t->options.max_calls) {
        t->inflight++;
        return 0;
    }
    *out = ct__later(t->is_draining ? CT_STATUS_DRAINING : CT_STATUS_OVERLOADED, 0);
    out->limit = t->options.max_calls;
    ct_shed(t, out->code);
    return 1;
}

void ct_node_leave(ct_table *t) {
    assert(t->inflight > 0);
    t->inflight--;
    if (t->is_draining && t->inflight == 0 && !ct__linked(&t->drained.node))
        ct__effect_put(t, CT_TAKER_PYTHON, &t->drained, CT_EFFECT_DRAINED);
}

void ct_node_drain(ct_table *t) {
    t->is_draining = true;
}
