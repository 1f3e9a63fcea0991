/* The events that a history is made of, and what each must leave behind. */
#include "sim/sim.h"

uint64_t sim_matrix[ROWS][EV_COUNT];

static uint64_t draw(sim *s) { /* splitmix64: one multiply-xor chain a number, any seed is good */
    uint64_t z = s->rng += 0x9E3779B97F4A7C15u;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
    z = (z ^ z >> 27) * 0x94D049BB133111EBu;
    return z ^ z >> 31;
}

uint32_t sim_below(sim *s, uint32_t n) {
    return (uint32_t)(draw(s) % n);
}

uint32_t sim_one_of(sim *s, uint32_t a, uint32_t b, uint32_t c) {
    const uint32_t pick = sim_below(s, 3);
    return pick == 0 ? a : pick == 1 ? b : c;
}

void sim_put_function(sim *s, uint32_t i) {
    static const uint8_t names[FUNCTIONS][2] = {"a", "b", "c", "d"};
    sim_function *f = &s->functions[i];
    f->row = (ct_function_row){
        .tenant = names[0], .tenant_len = 1, .space = names[1], .space_len = 1, .name = names[i], .name_len = 1,
        .flags = CT_FUNCTION_KEPT | sim_one_of(s, 0, 0, CT_FUNCTION_ISOLATED), .version = f->row.version + 1, .max_payload_bytes = 100,
        .timeout_ns = CT__SECOND_NS, .max_queue_wait_ns = sim_one_of(s, 1, 30, 30) * CT__SECOND_NS,
        .min_replicas = sim_one_of(s, 0, 0, 1),
        .max_replicas = sim_one_of(s, 1, 2, 5), .instance_concurrency = sim_one_of(s, 1, 1, 3), .max_inflight = sim_one_of(s, 0, 0, 9),
        .max_queue_depth = sim_one_of(s, 2, 1000, 1000), .shed_status = 429, .retry_after_s = 1,
        .memory_mb = sim_one_of(s, 0, 100, 250), .cpu_millis = sim_one_of(s, 0, 500, 1000),
        .breaker = {.window_ns = 10 * CT__SECOND_NS,
                    .open_ns = CT__SECOND_NS,
                    .error_percent = sim_one_of(s, 0, 0, 50),
                    .min_samples = 4,
                    .probes = sim_one_of(s, 1, 1, 2)}};
    f->most = f->row.max_replicas;
    DEMAND(s, ct_function_put(s->t, &f->row, s->now_ns, &f->handle) == 0, "a function was not taken");
}

static sim_call *pick_call(sim *s) {
    const uint32_t from = sim_below(s, CALLS);
    for (uint32_t i = 0; i < CALLS; i++)
        if (s->calls[(from + i) % CALLS].handle != 0)
            return &s->calls[(from + i) % CALLS];
    return NULL;
}

sim_call *sim_call_in(sim *s, uint32_t state) {
    const uint32_t from = sim_below(s, CALLS);
    for (uint32_t i = 0; i < CALLS; i++) {
        sim_call *c = &s->calls[(from + i) % CALLS];
        if (c->handle != 0 && ct__call_at(s->t, c->handle)->state == state)
            return c;
    }
    return NULL;
}

ct__member *sim_member_in(sim *s, uint32_t state) { /* CT__MEMBER_STATES: any */
    const uint32_t cap = s->t->member_slab.fresh;
    const uint32_t from = cap > 0 ? sim_below(s, cap) : 0;
    for (uint32_t i = 0; i < cap; i++) {
        ct__member *m = &s->t->members[(from + i) % cap];
        if (m->slot.is_used && (m->state == state || state == CT__MEMBER_STATES))
            return m;
    }
    return NULL;
}

static uint32_t row_of_member(const ct__member *m) {
    switch ((enum ct_member_state)m->state) {
    case CT_MEMBER_BOOTING:
        return ROW_BOOTING;
    case CT_MEMBER_IDLE:
        return ROW_IDLE;
    case CT_MEMBER_BUSY:
        return m->leases < m->seats ? ROW_ROOM : ROW_FULL;
    case CT_MEMBER_DRAINING:
        return ROW_DRAINING;
    case CT_MEMBER_DEAD:
        return ROW_DEAD;
    }
    return ROW_DEAD;
}

static void saw_member(const ct__member *m, uint32_t event) {
    sim_matrix[row_of_member(m)][event]++;
}

static void saw_call(const sim *s, const sim_call *c, uint32_t event) {
    const ct__call *call = ct__call_at(s->t, c->handle);
    sim_matrix[ROW_ADMITTED + call->state][event]++;
    const ct__member *m = call->state == CT__CALL_LEASED ? ct__member_at(s->t, call->member) : NULL;
    if (m != NULL)
        saw_member(m, event);
}

/* An event that all members and calls live through. */
static void saw_all(const sim *s, const ct__function *f, uint32_t event) {
    for (uint32_t i = 0; i < s->t->member_slab.fresh; i++)
        if (s->t->members[i].slot.is_used && (f == NULL || s->t->members[i].function == f))
            saw_member(&s->t->members[i], event);
    for (uint32_t i = 0; i < CALLS; i++) {
        const ct__call *c = s->calls[i].handle != 0 ? ct__call_at(s->t, s->calls[i].handle) : NULL;
        if (c != NULL && (f == NULL || c->function == f))
            sim_matrix[ROW_ADMITTED + c->state][event]++;
    }
}

static sim_call *call_of(sim *s, uint64_t handle) {
    for (uint32_t i = 0; i < CALLS; i++)
        if (s->calls[i].handle == handle)
            return &s->calls[i];
    return NULL;
}

/* Nobody of the function who came earlier is still in line. */
static void demand_first_come(sim *s, const sim_call *answered) {
    for (uint32_t i = 0; i < CALLS; i++) {
        const sim_call *c = &s->calls[i];
        if (c->handle != 0 && c->function == answered->function && c->ticket > 0 && c->ticket < answered->ticket &&
            ct__call_at(s->t, c->handle)->function == ct__call_at(s->t, answered->handle)->function)
            DEMAND(s, ct__call_at(s->t, c->handle)->state != CT__CALL_WAITING, "a call was served before an older one");
    }
}

static void demand_fresh(sim *s, const sim_call *c, const ct_grant *grant) {
    if (ct__member_at(s->t, grant->member) != NULL)
        DEMAND(s, grant->version >= c->version, "a call was given older code than was live when it came");
}

static void taken(sim *s, const ct_effect *e) {
    switch ((enum ct_effect_kind)e->kind) {
    case CT_EFFECT_BOOT: {
        const ct__member *m = ct__member_at(s->t, e->member);
        DEMAND(s, m != NULL, "a boot of nothing");
        if (m != NULL && s->is_prompt)
            DEMAND(s, m->function->current <= m->function->row.max_replicas, "more instances than the function may have");
        break;
    }
    case CT_EFFECT_RETIRE:
        DEMAND(s, ct__member_at(s->t, e->member)->state == CT_MEMBER_DEAD, "a member in use is to be destroyed");
        break;
    case CT_EFFECT_GRANT:
    case CT_EFFECT_REFUSE: {
        sim_call *c = call_of(s, e->call);
        DEMAND(s, c != NULL && !c->is_answered, "an answer to nobody, or a second one");
        if (c == NULL)
            break;
        c->is_answered = true;
        if (s->is_prompt)
            demand_first_come(s, c);
        if (e->kind == CT_EFFECT_GRANT)
            demand_fresh(s, c, &e->grant);
        break;
    }
    case CT_EFFECT_DROP:
        for (uint32_t i = 0; i < FUNCTIONS; i++)
            DEMAND(s, s->is_calm || s->functions[i].handle != e->function, "a function that is kept was dropped");
        break;
    case CT_EFFECT_DRAINED:
        DEMAND(s, false, "drained, though nobody asked");
        break;
    }
}

void sim_take_effects(sim *s) {
    ct_effect e;
    for (uint32_t taker = 0; taker <= CT_TAKER_LANE; taker++)
        while (ct_effect_next(s->t, taker, &e))
            taken(s, &e);
}

static void lease(sim *s, sim_call *c) {
    ct_grant grant;
    ct_verdict verdict;
    c->version = s->functions[c->function].row.version;
    c->ticket = ++s->tickets;
    c->is_answered = false;
    const uint64_t deadline_ns = s->now_ns + sim_one_of(s, 1, 20, 20) * CT__SECOND_NS;
    switch (ct_lease(s->t, c->handle, deadline_ns, s->now_ns, &grant, &verdict)) {
    case CT_LEASE_GRANTED:
        c->ticket = 0;
        demand_fresh(s, c, &grant);
        break;
    case CT_LEASE_WAITS:
    case CT_LEASE_REFUSED:
    case -EINVAL:
        break;
    default:
        DEMAND(s, false, "a live call has no lease");
    }
}

static void on_admit(sim *s) {
    sim_call *c = call_of(s, 0);
    if (c == NULL)
        return;
    const uint32_t i = sim_below(s, FUNCTIONS);
    const uint32_t taker = sim_below(s, 2);
    const ct_ask ask = {.taker = taker, .payload_bytes = sim_below(s, 102), .owner = i};
    ct_verdict verdict;
    uint64_t handle = 0;
    saw_all(s, ct__function_at(s->t, s->functions[i].handle), EV_ADMIT);
    if (ct_admit(s->t, s->functions[i].handle, &ask, s->now_ns, &handle, &verdict) != 0)
        return;
    *c = (sim_call){.handle = handle, .function = i, .taker = taker};
    if (sim_below(s, 8) > 0) {
        saw_call(s, c, EV_LEASE);
        saw_all(s, ct__function_at(s->t, s->functions[i].handle), EV_LEASE);
        lease(s, c);
    }
}

static void on_lease(sim *s) {
    sim_call *c = pick_call(s);
    if (c == NULL)
        return;
    saw_call(s, c, EV_LEASE);
    if (ct__call_at(s->t, c->handle)->state == CT__CALL_ADMITTED)
        lease(s, c);
    else
        DEMAND(s, ct_lease(s->t, c->handle, 0, s->now_ns, NULL, NULL) == -EINVAL, "a second lease");
}

void sim_end(sim *s, sim_call *c, uint32_t status, uint32_t flags) {
    DEMAND(s, ct_call_end(s->t, c->handle, status, flags, s->now_ns) == 0, "a live call did not end");
    DEMAND(s, ct_call_end(s->t, c->handle, status, flags, s->now_ns) == -ESTALE, "a call ended twice");
    *c = (sim_call){.handle = 0};
}

static void on_end(sim *s, uint32_t event, sim_call *c) {
    if (c == NULL)
        return;
    saw_call(s, c, event);
    switch (event) {
    case EV_END_OK:
        sim_end(s, c, CT_STATUS_OK, 0);
        break;
    case EV_END_FAILED:
        sim_end(s, c, CT_STATUS_FUNCTION_ERROR, 0);
        break;
    case EV_END_BROKEN:
        sim_end(s, c, CT_STATUS_TIMEOUT, CT_END_BROKEN);
        break;
    default:
        sim_end(s, c, CT_STATUS_CANCELLED, CT_END_BROKEN);
    }
}

static void on_overdue(sim *s) {
    sim_call *c = sim_below(s, 3) > 0 ? sim_call_in(s, CT__CALL_WAITING) : pick_call(s);
    if (c == NULL)
        return;
    saw_call(s, c, EV_OVERDUE);
    uint64_t next_ns = 0;
    ct_verdict verdict;
    const int result = ct_call_overdue(s->t, c->handle, s->now_ns, &next_ns, &verdict);
    DEMAND(s, result != 0 || next_ns > s->now_ns, "a look at a waiter that is over already");
    if (result == 1)
        sim_end(s, c, verdict.code, 0);
}

static void on_return(sim *s) {
    sim_call *c = sim_below(s, 3) > 0 ? sim_call_in(s, CT__CALL_LEASED) : pick_call(s);
    if (c == NULL)
        return;
    saw_call(s, c, EV_RETURN);
    c->is_answered = false;
    if (ct_call_return(s->t, c->handle, s->now_ns) < 0)
        c->is_answered = ct__call_at(s->t, c->handle)->state == CT__CALL_REFUSED && !ct__linked(&ct__call_at(s->t, c->handle)->effect.node);
}

/* The oldest of those that the boot could have served is told. */
static void on_boot_failed(sim *s, const ct__member *m) {
    const ct__function *f = m->function;
    const bool is_told = m->state == CT_MEMBER_BOOTING && m->sandbox == f->sandbox && !ct__list_empty(&f->line);
    const ct__call *oldest = is_told ? CT__CONST_OF(ct__call, line, f->line.next) : NULL;
    (void)ct_member_boot_failed(s->t, ct__handle(&m->slot), CT_STATUS_HANDLER_LOAD_FAILED, s->now_ns);
    DEMAND(s, oldest == NULL || oldest->state == CT__CALL_REFUSED, "a boot failed, and nobody was told");
}

static void on_member(sim *s, uint32_t event) {
    static const uint32_t usual[] = {[EV_BOOTED] = CT_MEMBER_BOOTING, [EV_BOOT_FAILED] = CT_MEMBER_BOOTING,
                                     [EV_DIED] = CT__MEMBER_STATES, [EV_GONE] = CT_MEMBER_DEAD};
    ct__member *m = sim_member_in(s, sim_below(s, 8) > 0 ? usual[event] : (uint32_t)CT__MEMBER_STATES);
    if (m == NULL)
        return;
    saw_member(m, event);
    const uint64_t handle = ct__handle(&m->slot);
    switch (event) {
    case EV_BOOTED:
        (void)ct_member_booted(s->t, handle, s->now_ns);
        break;
    case EV_BOOT_FAILED:
        on_boot_failed(s, m);
        break;
    case EV_DIED:
        (void)ct_member_died(s->t, handle, s->now_ns);
        break;
    default:
        (void)ct_member_gone(s->t, handle, s->now_ns);
        DEMAND(s, ct_member_gone(s->t, handle, s->now_ns) == -ESTALE, "a member was gone twice");
    }
}

/* Limits come and go while calls are in hand. */
static void limit_tenant(sim *s, const sim_function *f) {
    uint64_t handle = 0;
    ct_tenant_row row = {.calls_until = UINT64_MAX, .quota_ends_ns = s->now_ns + CT__SECOND_NS};
    DEMAND(s, ct_tenant_put(s->t, f->row.tenant, f->row.tenant_len, &row, &handle) == 0, "a tenant was not told of");
    ct_tenant_stats stats;
    DEMAND(s, ct_tenant_stats_get(s->t, handle, &stats) == 0, "a tenant that was told of is not known");
    row.calls_per_s = sim_one_of(s, 0, 3, 50);
    row.max_inflight = sim_one_of(s, 0, 2, 12);
    row.max_memory_mb = sim_one_of(s, 0, 0, 300);
    row.max_cpu_millis = sim_one_of(s, 0, 0, 2000);
    row.calls_until = sim_below(s, 3) == 0 ? stats.calls + sim_below(s, 9) : UINT64_MAX;
    if (sim_below(s, 3) == 0)
        DEMAND(s, ct_tenant_drop(s->t, handle) == 0, "a tenant was not dropped");
    else
        DEMAND(s, ct_tenant_put(s->t, f->row.tenant, f->row.tenant_len, &row, &handle) == 0, "a tenant was not limited");
}

void sim_let_go(sim *s, sim_hold *hold, uint32_t memory_mb, uint32_t cpu_millis) {
    DEMAND(s, ct_tenant_unhold(s->t, hold->tenant, memory_mb, cpu_millis) == 0, "what was held was not given back");
    hold->memory_mb -= memory_mb;
    hold->cpu_millis -= cpu_millis;
    if (hold->memory_mb == 0 && hold->cpu_millis == 0)
        *hold = (sim_hold){.tenant = 0};
}

/* Something beside the instances takes room, whether there is any or not, gives a part of it back, or all. */
static void on_hold(sim *s) {
    saw_all(s, NULL, EV_HOLD);
    sim_hold *hold = &s->holds[sim_below(s, HOLDS)];
    if (hold->tenant != 0) {
        sim_let_go(s, hold, sim_below(s, 2) == 0 ? 0 : hold->memory_mb, hold->cpu_millis);
        return;
    }
    const ct__tenant *tenant = ct__function_at(s->t, s->functions[0].handle)->tenant;
    *hold = (sim_hold){.tenant = ct__handle(&tenant->slot), .memory_mb = sim_one_of(s, 1, 60, 200),
                       .cpu_millis = sim_one_of(s, 0, 300, 1500)};
    const bool is_there = sim_below(s, 4) == 0;
    const uint64_t memory_mb = tenant->memory_mb;
    ct_verdict why = {.code = CT_STATUS_OK};
    const int result = ct_tenant_hold(s->t, hold->tenant, hold->memory_mb, hold->cpu_millis, is_there, &why);
    DEMAND(s, result >= CT_HOLD_TAKEN && result <= (is_there ? CT_HOLD_WAITS : CT_HOLD_REFUSED), "an answer that there is not");
    if (result != CT_HOLD_REFUSED)
        return;
    DEMAND(s, why.code == CT_STATUS_QUOTA_EXCEEDED && tenant->memory_mb == memory_mb, "what was refused took room");
    *hold = (sim_hold){.tenant = 0};
}

static void on_update(sim *s, uint32_t event) {
    const uint32_t i = sim_below(s, FUNCTIONS);
    sim_function *f = &s->functions[i];
    saw_all(s, ct__function_at(s->t, f->handle), event);
    switch (event) {
    case EV_POLICY:
        f->row.max_replicas = sim_one_of(s, 1, 2, 5);
        f->row.min_replicas = sim_one_of(s, 0, 0, 1);
        f->row.flags &= ~(uint32_t)CT_FUNCTION_HALTED;
        f->row.flags |= sim_below(s, 8) == 0 ? CT_FUNCTION_HALTED : 0u;
        DEMAND(s, ct_function_update(s->t, f->handle, &f->row, 1, s->now_ns) == 0, "an update was refused");
        limit_tenant(s, f); /* after it: a limit that goes lets boots begin, by the row as it is */
        break;
    case EV_DEPLOY:
        f->row.version++;
        f->row.instance_concurrency = sim_one_of(s, 1, 1, 3);
        f->row.flags = CT_FUNCTION_KEPT | sim_one_of(s, 0, 0, CT_FUNCTION_ISOLATED);
        DEMAND(s, ct_function_update(s->t, f->handle, &f->row, 0, s->now_ns) == 0, "an update was refused");
        break;
    default: {
        const uint64_t old = f->handle;
        f->handle = 0;
        DEMAND(s, ct_function_remove(s->t, old, s->now_ns) == 0, "a function was not removed");
        sim_put_function(s, i);
    }
    }
}

void sim_step(sim *s) {
    static const uint8_t weights[EV_COUNT] = {[EV_ADMIT] = 26, [EV_LEASE] = 3, [EV_END_OK] = 18, [EV_END_FAILED] = 3,
                                              [EV_END_BROKEN] = 3, [EV_CANCEL] = 5, [EV_OVERDUE] = 5, [EV_RETURN] = 2,
                                              [EV_BOOTED] = 14, [EV_BOOT_FAILED] = 3, [EV_DIED] = 3, [EV_GONE] = 9,
                                              [EV_POLICY] = 2, [EV_DEPLOY] = 2, [EV_REMOVE] = 1, [EV_SWEEP] = 4, [EV_DOOR] = 1, [EV_HOLD] = 4};
    s->now_ns += draw(s) % (CT__SECOND_NS / 2);
    uint32_t at = sim_below(s, 108);
    uint32_t event = 0;
    while (at >= weights[event])
        at -= weights[event++];
    switch (event) {
    case EV_ADMIT:
        on_admit(s);
        break;
    case EV_LEASE:
        on_lease(s);
        break;
    case EV_END_OK:
    case EV_END_FAILED:
    case EV_END_BROKEN:
        on_end(s, event, sim_below(s, 8) > 0 ? sim_call_in(s, CT__CALL_LEASED) : pick_call(s));
        break;
    case EV_CANCEL:
        on_end(s, event, pick_call(s));
        break;
    case EV_OVERDUE:
        on_overdue(s);
        break;
    case EV_RETURN:
        on_return(s);
        break;
    case EV_BOOTED:
    case EV_BOOT_FAILED:
    case EV_DIED:
    case EV_GONE:
        on_member(s, event);
        break;
    case EV_POLICY:
    case EV_DEPLOY:
    case EV_REMOVE:
        on_update(s, event);
        break;
    case EV_SWEEP:
        saw_all(s, NULL, EV_SWEEP);
        s->now_ns += sim_below(s, 4) * CT__SECOND_NS;
        ct_sweep(s->t, s->now_ns);
        break;
    case EV_HOLD:
        on_hold(s);
        break;
    default:
        saw_all(s, NULL, EV_DOOR);
        ct_table_open(s->t, 0, s->now_ns);
        ct_table_open(s->t, sim_below(s, 8) > 0, s->now_ns);
    }
}

