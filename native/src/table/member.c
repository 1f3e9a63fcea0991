/* One instance, an explicit state machine:
 *
 *     booting -> idle <-> busy -> draining -> dead; from any of them straight to dead when the sandbox ends.
 *
 * It counts against the bounds from the moment its boot is decided until its sandbox is gone, so a bound is never
 * exceeded, not even while an instance is being destroyed. */
#include "table/state.h"

static bool is_current(const ct__member *m) {
    return m->sandbox == m->function->sandbox;
}

void ct__member_become(ct_table *t, ct__member *m, uint32_t state) {
    m->function->by_state[m->state]--;
    t->by_state[m->state]--;
    m->state = state;
    m->function->by_state[state]++;
    t->by_state[state]++;
}

ct__member *ct__member_add(ct_table *t, ct__function *f) {
    ct__member *m = ct__slab_take(&t->member_slab, t->members, sizeof *m);
    if (m == NULL)
        return NULL;
    m->function = f;
    m->number = ++t->next_number;
    m->sandbox = f->sandbox;
    m->version = f->row.version;
    m->seats = f->row.instance_concurrency;
    m->state = CT_MEMBER_BOOTING;
    m->memory_mb = f->row.memory_mb;
    m->cpu_millis = f->row.cpu_millis;
    f->tenant->memory_mb += m->memory_mb;
    f->tenant->cpu_millis += m->cpu_millis;
    ct__list_insert(&f->members, &m->of_function);
    f->by_state[CT_MEMBER_BOOTING]++;
    t->by_state[CT_MEMBER_BOOTING]++;
    f->booting++;
    f->current++;
    ct__effect_put(t, CT_TAKER_PYTHON, &m->boot, CT_EFFECT_BOOT);
    return m;
}

void ct__members_are(ct__function *f, uint64_t version) {
    for (ct__node *at = f->members.next; at != &f->members; at = at->next) {
        ct__member *m = CT__OF(ct__member, of_function, at);
        if (is_current(m))
            m->version = version;
    }
}

void ct__member_lease(ct_table *t, ct__member *m) {
    assert(m->leases < m->seats);
    m->leases++;
    m->has_served = true;
    m->function->leases++;
    t->leases++;
    if (m->state != CT_MEMBER_BUSY)
        ct__member_become(t, m, CT_MEMBER_BUSY);
    if (m->leases == m->seats)
        ct__list_remove(&m->shelf);
}

void ct__member_release(ct_table *t, ct__member *m, bool is_broken, uint64_t now_ns) {
    assert(m->leases > 0);
    m->leases--;
    if (m->state == CT_MEMBER_DEAD)
        return;
    /* With a broken call (timed out, given up by its caller) it gets no new ones: its worker may still be running what
     * nobody waits for. */
    const bool is_spent = is_broken || (m->function->row.flags & CT_FUNCTION_ISOLATED) != 0;
    if (is_spent && m->state != CT_MEMBER_DRAINING) {
        ct__list_remove(&m->shelf);
        ct__member_become(t, m, CT_MEMBER_DRAINING);
    }
    if (m->state == CT_MEMBER_DRAINING) {
        if (m->leases == 0)
            ct__member_bury(t, m);
        return;
    }
    if (m->leases == 0) {
        ct__member_become(t, m, CT_MEMBER_IDLE);
        m->idle_since_ns = now_ns;
    }
    if (m->seats - m->leases == 1) /* it was full */
        ct__list_insert(&m->function->shelf, &m->shelf);
}

void ct__member_bury(ct_table *t, ct__member *m) {
    if (m->state == CT_MEMBER_DEAD)
        return;
    if (m->state == CT_MEMBER_BOOTING && is_current(m))
        m->function->booting--;
    ct__list_remove(&m->shelf);
    ct__member_become(t, m, CT_MEMBER_DEAD);
    m->function->tenant->dead++;
    ct__effect_put(t, CT_TAKER_PYTHON, &m->retire, CT_EFFECT_RETIRE);
}

int ct_member_get(const ct_table *t, uint64_t member, ct_member_facts *out) {
    const ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    *out = (ct_member_facts){.function = ct__handle(&m->function->slot), .number = m->number,
                             .version = m->version, .link = m->link, .state = m->state, .leases = m->leases,
                             .is_current = is_current(m)};
    return 0;
}

int ct_member_set_link(ct_table *t, uint64_t member, uint64_t link) {
    ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    m->link = link;
    return 0;
}

int ct_member_booted(ct_table *t, uint64_t member, uint64_t now_ns) {
    ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    if (m->state == CT_MEMBER_DEAD)
        return 1;
    if (m->state != CT_MEMBER_BOOTING)
        return -EINVAL;
    ct__function *f = m->function;
    if (!is_current(m)) {
        ct__member_bury(t, m);
        ct__pool_pump(t, NULL);
        return 1;
    }
    f->booting--;
    f->boot_failures = 0;
    ct__member_become(t, m, CT_MEMBER_IDLE);
    m->idle_since_ns = now_ns;
    ct__list_insert(&f->shelf, &m->shelf);
    ct__serve(t, f, m, now_ns);
    ct__pool_pump(t, f);
    return 0;
}

static const uint64_t PREWARM_BASE_NS = 500000000, PREWARM_CAP_NS = 30000000000; /* chosen */

static uint64_t backoff_ns(uint32_t failures) {
    const uint32_t doublings = failures - 1 < 6 ? failures - 1 : 6;
    const uint64_t wait_ns = PREWARM_BASE_NS << doublings;
    return wait_ns < PREWARM_CAP_NS ? wait_ns : PREWARM_CAP_NS;
}

int ct_member_boot_failed(ct_table *t, uint64_t member, uint32_t status, uint64_t now_ns) {
    ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    if (m->state == CT_MEMBER_DEAD)
        return 0;
    if (m->state != CT_MEMBER_BOOTING || status >= CT_STATUS_MAX || status == CT_STATUS_OK)
        return -EINVAL;
    ct__function *f = m->function;
    ct__member_bury(t, m);
    if (is_current(m)) {
        f->boot_failures++;
        f->prewarm_after_ns = now_ns + backoff_ns(f->boot_failures);
        if (!ct__list_empty(&f->line)) {
            ct__call *c = CT__OF(ct__call, line, f->line.next);
            c->refusal = status;
            c->failed_member = member;
            ct__refuse(t, c, &(ct_verdict){.code = status, .detail = CT_DETAIL_BOOT});
        }
    }
    ct__pool_pump(t, f);
    return 0;
}

int ct_member_died(ct_table *t, uint64_t member, uint64_t now_ns) {
    ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    (void)now_ns;
    ct__member_bury(t, m);
    ct__pool_pump(t, m->function);
    return 0;
}

int ct_member_gone(ct_table *t, uint64_t member, uint64_t now_ns) {
    ct__member *m = ct__member_at(t, member);
    if (m == NULL)
        return -ESTALE;
    (void)now_ns;
    ct__function *f = m->function;
    ct__member_bury(t, m);
    ct__effect_cancel(t, CT_TAKER_PYTHON, &m->boot);
    ct__effect_cancel(t, CT_TAKER_PYTHON, &m->retire);
    ct__list_remove(&m->of_function);
    f->by_state[CT_MEMBER_DEAD]--;
    t->by_state[CT_MEMBER_DEAD]--;
    f->tenant->dead--;
    f->tenant->memory_mb -= m->memory_mb;
    f->tenant->cpu_millis -= m->cpu_millis;
    if (is_current(m))
        f->current--;
    ct__slab_give(&t->member_slab, &m->slot);
    ct__function_settle(t, f);
    ct__pool_pump(t, f);
    return 0;
}
