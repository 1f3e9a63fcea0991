/* Who gets which instance, and who waits: leases, the line, and how calls end. */
#include "table/state.h"

static const uint64_t NEVER_NS = UINT64_MAX;

static uint64_t later(uint64_t at_ns, uint64_t by_ns) {
    return by_ns > NEVER_NS - at_ns ? NEVER_NS : at_ns + by_ns;
}

static uint64_t earlier(uint64_t a, uint64_t b) {
    return a < b ? a : b;
}

static ct__call *oldest_in(const ct__node *line) {
    return CT__OF(ct__call, line, line->next);
}

static void give(ct_table *t, ct__call *c, ct__member *m) {
    ct__member_lease(t, m);
    c->member = ct__handle(&m->slot);
    c->state = CT__CALL_LEASED;
}

static void step_out(ct_table *t, ct__call *c) {
    ct__list_remove(&c->line);
    c->function->waiting--;
    t->waiting--;
}

/* Out of the line without an instance: what was asked for because of it may be asked for no more. */
static void leave(ct_table *t, ct__call *c) {
    step_out(t, c);
    if (ct__boots_for_calls(c->function) == 0)
        ct__list_remove(&c->function->asking);
}

/* Gets in line behind all that came before it. */
static void join(ct_table *t, ct__call *c) {
    ct__node *before = &c->function->line;
    while (before->prev != &c->function->line && CT__OF(ct__call, line, before->prev)->number > c->number)
        before = before->prev;
    ct__list_insert(before, &c->line);
    c->state = CT__CALL_WAITING;
    c->function->waiting++;
    t->waiting++;
}

/* Gives instances with room to the oldest calls in line. */
void ct__serve(ct_table *t, ct__function *f, const ct__member *booted, uint64_t now_ns) {
    while (!ct__list_empty(&f->line) && !ct__list_empty(&f->shelf)) {
        ct__call *c = oldest_in(&f->line);
        ct__member *m = CT__OF(ct__member, shelf, f->shelf.prev);
        step_out(t, c);
        give(t, c, m);
        c->is_cold = m == booted;
        c->waited_ns = now_ns - c->since_ns;
        ct__effect_put(t, c->taker, &c->effect, CT_EFFECT_GRANT);
    }
}

void ct__refuse(ct_table *t, ct__call *c, const ct_verdict *verdict) {
    leave(t, c);
    c->state = CT__CALL_REFUSED;
    c->verdict = *verdict;
    ct__effect_put(t, c->taker, &c->effect, CT_EFFECT_REFUSE);
}

void ct__lease_facts(const ct_table *t, const ct__call *c, ct_grant *out) {
    const ct__member *m = ct__member_at(t, c->member);
    *out = (ct_grant){.member = c->member, .waited_ns = c->waited_ns, .is_cold = c->is_cold};
    if (m != NULL) {
        out->link = m->link;
        out->version = m->version;
    }
}

/* Calls that wait for another call to end: those that a boot in progress will serve are not in line. */
static uint64_t in_line(const ct__function *f) {
    const uint64_t seats = (uint64_t)f->booting * f->row.instance_concurrency;
    return f->waiting > seats ? f->waiting - seats : 0;
}

/* Will a boot in progress serve this waiter if it succeeds? */
static bool is_covered(const ct__call *c) {
    const ct__function *f = c->function;
    uint64_t seats = (uint64_t)f->booting * f->row.instance_concurrency;
    for (const ct__node *at = f->line.next; at != &f->line && seats > 0; at = at->next, seats--)
        if (at == &c->line)
            return true;
    return false;
}

static int refused(ct__call *c, ct_verdict verdict, ct_verdict *out) {
    c->state = CT__CALL_REFUSED;
    *out = verdict;
    return CT_LEASE_REFUSED;
}

static ct_verdict shed(const ct__function *f, uint32_t code, uint64_t limit) {
    return (ct_verdict){.code = code, .http_status = f->row.shed_status, .retry_after_s = f->row.retry_after_s,
                        .limit = limit};
}

/* Its tenant may have no more instances. */
static ct_verdict beyond(uint32_t detail) {
    return (ct_verdict){.code = CT_STATUS_QUOTA_EXCEEDED, .detail = detail, .retry_after_s = 1};
}

int ct_lease(ct_table *t, uint64_t call, uint64_t deadline_ns, uint64_t now_ns, ct_grant *grant, ct_verdict *out) {
    ct__call *c = ct__call_at(t, call);
    if (c == NULL)
        return -ESTALE;
    if (c->state != CT__CALL_ADMITTED)
        return -EINVAL;
    ct__function *f = c->function;
    if (f->is_removed)
        return refused(c, (ct_verdict){.code = CT_STATUS_NOT_FOUND}, out);
    if (!ct__list_empty(&f->shelf)) { /* then nobody is in line */
        give(t, c, CT__OF(ct__member, shelf, f->shelf.prev));
        ct__lease_facts(t, c, grant);
        return CT_LEASE_GRANTED;
    }
    const ct__tenant *tenant = f->tenant;
    const uint32_t never = f->current > 0 ? CT_DETAIL_NONE
                                          : ct__tenant_beyond(tenant, tenant->held_memory_mb + f->row.memory_mb,
                                                              tenant->held_cpu_millis + f->row.cpu_millis);
    if (never != CT_DETAIL_NONE)
        return refused(c, beyond(never), out);
    c->number = ++t->next_number;
    c->since_ns = now_ns;
    c->deadline_ns = deadline_ns;
    c->patience_ns = later(now_ns, f->row.max_queue_wait_ns);
    c->has_waited = true;
    join(t, c);
    ct__pool_pump(t, f);
    if (in_line(f) > f->row.max_queue_depth) {
        leave(t, c);
        return refused(c, shed(f, CT_STATUS_QUEUE_FULL, f->row.max_queue_depth), out);
    }
    return CT_LEASE_WAITS;
}

int ct_call_overdue(ct_table *t, uint64_t call, uint64_t now_ns, uint64_t *next_ns, ct_verdict *out) {
    ct__call *c = ct__call_at(t, call);
    if (c == NULL)
        return -ESTALE;
    if (c->state != CT__CALL_WAITING)
        return -EINVAL;
    if (now_ns < earlier(c->deadline_ns, c->patience_ns)) {
        *next_ns = earlier(c->deadline_ns, c->patience_ns);
        return 0;
    }
    const ct__function *f = c->function;
    const bool is_served_soon = is_covered(c);
    const uint32_t lacks = is_served_soon || ct__boots_for_calls(f) == 0 ? CT_DETAIL_NONE : ct__tenant_lacks(f);
    ct_verdict verdict;
    if (lacks != CT_DETAIL_NONE) {
        verdict = beyond(lacks);
    } else if (c->deadline_ns <= c->patience_ns || (is_served_soon && c->deadline_ns <= now_ns)) {
        verdict = (ct_verdict){.code = CT_STATUS_TIMEOUT, .detail = is_served_soon ? CT_DETAIL_INIT : CT_DETAIL_WAIT};
    } else if (!is_served_soon) {
        verdict = shed(f, CT_STATUS_QUEUE_WAIT_TIMEOUT, f->row.max_queue_wait_ns);
    } else { /* it waits for a boot, not in line */
        c->patience_ns = later(now_ns, t->options.recheck_ns);
        *next_ns = earlier(c->deadline_ns, c->patience_ns);
        return 0;
    }
    leave(t, c);
    (void)refused(c, verdict, out);
    return 1;
}

/* On a full node, or of a tenant that may have no more: give up a member that came free, though calls wait for it, because
 * a function without any instance has been waiting for longer? */
static bool must_yield(const ct_table *t, const ct__function *f, const ct__member *m) {
    if (ct__list_empty(&t->asking) || m->state != CT_MEMBER_IDLE)
        return false;
    const bool is_full = t->by_state[CT_MEMBER_DEAD] == 0 && t->member_slab.count >= t->options.max_instances;
    const uint64_t mine_ns = ct__list_empty(&f->line) ? NEVER_NS : oldest_in(&f->line)->since_ns;
    for (const ct__node *at = t->asking.next; at != &t->asking; at = at->next) {
        const ct__function *other = CT__CONST_OF(ct__function, asking, at);
        if (other == f || other->current > 0 || ct__list_empty(&other->line) || oldest_in(&other->line)->since_ns >= mine_ns)
            continue;
        if (ct__tenant_lacks(other) == CT_DETAIL_NONE ? is_full : other->tenant == f->tenant && f->tenant->dead == 0)
            return true;
    }
    return false;
}

static void give_back(ct_table *t, ct__call *c, bool is_broken, uint64_t now_ns) {
    ct__function *f = c->function;
    ct__member *m = ct__member_at(t, c->member);
    c->member = 0; /* before others are served: a call that was returned may be the next */
    f->leases--;
    t->leases--;
    if (m != NULL) {
        ct__member_release(t, m, is_broken, now_ns);
        if (must_yield(t, f, m))
            ct__member_bury(t, m);
        else
            ct__serve(t, f, NULL, now_ns);
    }
    if (!ct__list_empty(&t->asking))
        ct__pool_pump(t, NULL);
}

int ct_call_return(ct_table *t, uint64_t call, uint64_t now_ns) {
    ct__call *c = ct__call_at(t, call);
    if (c == NULL)
        return -ESTALE;
    if (c->state != CT__CALL_LEASED)
        return -EINVAL;
    ct__function *f = c->function;
    ct__effect_cancel(t, c->taker, &c->effect);
    ct__member *m = ct__member_at(t, c->member);
    if (m != NULL)
        ct__member_bury(t, m);
    c->state = CT__CALL_ADMITTED;
    const bool waits = c->has_waited && !f->is_removed;
    if (waits) /* before anybody else is served */
        join(t, c);
    give_back(t, c, false, now_ns);
    if (!waits)
        return 0;
    ct__serve(t, f, NULL, now_ns);
    ct__pool_pump(t, f);
    return 1;
}

int ct_call_end(ct_table *t, uint64_t call, uint32_t status, uint32_t flags, uint64_t now_ns) {
    ct__call *c = ct__call_at(t, call);
    if (c == NULL)
        return -ESTALE;
    if (status >= CT_STATUS_MAX)
        status = CT_STATUS_OTHER;
    ct__function *f = c->function;
    const bool is_broken = (flags & CT_END_BROKEN) != 0;
    /* A time that ran out before the instance got the call is nobody's failure. */
    const bool had_instance =
        c->refusal != 0 || (c->state == CT__CALL_LEASED && (is_broken || status != CT_STATUS_TIMEOUT));
    ct__effect_cancel(t, c->taker, &c->effect);
    ct__breaker_end(&f->breaker, &f->row.breaker, &c->pass, status, had_instance, now_ns);
    ct__meter_ended(t, c, status, now_ns);
    const uint32_t state = c->state;
    if (state == CT__CALL_WAITING)
        leave(t, c);
    else if (state == CT__CALL_LEASED)
        give_back(t, c, is_broken, now_ns);
    ct__slab_give(&t->call_slab, &c->slot);
    f->calls--;
    f->tenant->inflight--;
    if (f->calls == 0)
        ct__function_settle(t, f);
    return 0;
}

int ct__call_owner(const ct_table *t, uint64_t call, uint64_t *out) {
    const ct__call *c = ct__call_at(t, call);
    if (c == NULL)
        return -ESTALE;
    *out = c->owner;
    return 0;
}
