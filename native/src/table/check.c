/* What must hold after every operation, whatever came before; read in full, so for tests only. */
#include "table/state.h"

#define MUST(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return -__LINE__;                                                                                          \
    } while (0)

typedef struct sums {
    uint32_t by_state[CT__MEMBER_STATES];
    uint32_t leases;
    uint32_t waiting;
    uint32_t members;
    uint32_t calls;
} sums;

static uint32_t leases_of(const ct_table *t, const ct__member *m) {
    const uint64_t handle = ct__handle(&m->slot);
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->call_slab.fresh; i++) {
        const ct__call *c = &t->calls[i];
        count += c->slot.is_used && c->state == CT__CALL_LEASED && c->member == handle;
    }
    return count;
}

static int check_members(const ct_table *t, const ct__function *f, sums *all) {
    uint32_t by_state[CT__MEMBER_STATES] = {0};
    uint32_t booting = 0;
    uint32_t current = 0;
    uint32_t shelved = 0;
    uint64_t before = 0;
    for (const ct__node *at = f->members.next; at != &f->members; at = at->next) {
        const ct__member *m = CT__CONST_OF(ct__member, of_function, at);
        MUST(m->slot.is_used && m->function == f && m->number > before);
        before = m->number;
        const bool is_live = m->sandbox == f->sandbox;
        by_state[m->state]++;
        all->members++;
        booting += is_live && m->state == CT_MEMBER_BOOTING;
        current += is_live;
        MUST(m->leases <= m->seats);
        MUST(m->state != CT_MEMBER_IDLE || m->leases == 0);
        MUST(m->state != CT_MEMBER_IDLE || !m->has_served || (f->row.flags & CT_FUNCTION_ISOLATED) == 0);
        MUST(m->state != CT_MEMBER_BUSY || m->leases > 0);
        MUST(m->state != CT_MEMBER_DRAINING || m->leases > 0);
        MUST(m->state != CT_MEMBER_BOOTING || m->leases == 0);
        MUST(is_live || m->state == CT_MEMBER_BOOTING || m->state == CT_MEMBER_DRAINING || m->state == CT_MEMBER_DEAD);
        MUST(m->leases == leases_of(t, m));
        const bool has_room = (m->state == CT_MEMBER_IDLE || m->state == CT_MEMBER_BUSY) && m->leases < m->seats;
        MUST(ct__linked(&m->shelf) == has_room);
        shelved += has_room;
        MUST(!ct__linked(&m->retire.node) || m->state == CT_MEMBER_DEAD);
    }
    for (const ct__node *at = f->shelf.next; at != &f->shelf; at = at->next) {
        MUST(shelved > 0);
        shelved--;
    }
    MUST(shelved == 0);
    MUST(booting == f->booting && current == f->current);
    for (int i = 0; i < CT__MEMBER_STATES; i++) {
        MUST(by_state[i] == f->by_state[i]);
        all->by_state[i] += by_state[i];
    }
    return 0;
}

static int check_line(const ct__function *f, sums *all) {
    uint32_t waiting = 0;
    uint64_t before = 0;
    for (const ct__node *at = f->line.next; at != &f->line; at = at->next) {
        const ct__call *c = CT__CONST_OF(ct__call, line, at);
        MUST(c->slot.is_used && c->function == f && c->state == CT__CALL_WAITING && c->number > before);
        MUST(!ct__linked(&c->effect.node));
        before = c->number;
        waiting++;
    }
    MUST(waiting == f->waiting);
    MUST(waiting == 0 || ct__list_empty(&f->shelf)); /* nobody waits while an instance has room */
    all->waiting += waiting;
    return 0;
}

static int check_calls(const ct_table *t, sums *all) {
    for (uint32_t i = 0; i < t->call_slab.fresh; i++) {
        const ct__call *c = &t->calls[i];
        if (!c->slot.is_used)
            continue;
        all->calls++;
        all->leases += c->state == CT__CALL_LEASED;
        MUST(c->function->slot.is_used);
        MUST(ct__linked(&c->line) == (c->state == CT__CALL_WAITING));
        MUST((c->state == CT__CALL_LEASED) == (c->member != 0));
    }
    return 0;
}

static uint32_t owned(const ct_table *t, const ct__function *f, bool is_leased, bool is_probe) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->call_slab.fresh; i++) {
        const ct__call *c = &t->calls[i];
        count += c->slot.is_used && c->function == f && (!is_leased || c->state == CT__CALL_LEASED) &&
                 (!is_probe || (c->pass.is_probe && c->pass.epoch == f->breaker.epoch));
    }
    return count;
}

static bool has_idle(const ct_table *t, const ct__tenant *tenant) {
    for (uint32_t i = 0; i < t->member_slab.fresh; i++)
        if (t->members[i].slot.is_used && t->members[i].function->tenant == tenant && t->members[i].state == CT_MEMBER_IDLE)
            return true;
    return false;
}

static int check_function(const ct_table *t, const ct__function *f, sums *all) {
    int result = check_members(t, f, all);
    if (result == 0)
        result = check_line(f, all);
    if (result != 0)
        return result;
    MUST(f->calls == owned(t, f, false, false));
    MUST(f->leases == owned(t, f, true, false));
    MUST(f->breaker.state == CT_BREAKER_HALF_OPEN || f->breaker.probes == 0);
    MUST(f->breaker.probes == owned(t, f, false, true));
    const bool is_active = !ct__function_is_idle(f) || ct__kept_warm(f) > 0;
    MUST(ct__linked(&f->active) == is_active);
    const bool is_kept = (f->row.flags & CT_FUNCTION_KEPT) != 0 && !f->is_removed;
    MUST(ct__linked(&f->drop.node) == (!is_active && !is_kept && f->records == 0));
    MUST(!f->is_removed || f->waiting == 0);
    if (ct__boots_for_calls(f) > 0) { /* a lost wake-up */
        MUST(ct__linked(&f->asking));
        MUST(!t->is_open || t->member_slab.count >= t->options.max_instances ||
             t->by_state[CT_MEMBER_BOOTING] >= t->options.max_boots || ct__tenant_lacks(f) != CT_DETAIL_NONE);
        MUST(!t->is_open || ct__tenant_lacks(f) == CT_DETAIL_NONE || f->tenant->dead > 0 || !has_idle(t, f->tenant));
    }
    return 0;
}

static bool somebody_asks(const ct_table *t) {
    for (const ct__node *at = t->asking.next; at != &t->asking; at = at->next)
        if (ct__boots_for_calls(CT__CONST_OF(ct__function, asking, at)) > 0 &&
            ct__tenant_lacks(CT__CONST_OF(ct__function, asking, at)) == CT_DETAIL_NONE)
            return true;
    return false;
}

int ct_table_check(const ct_table *t) {
    sums all = {.leases = 0};
    uint32_t functions = 0;
    for (uint32_t i = 0; i < t->function_slab.fresh; i++) {
        if (!t->functions[i].slot.is_used)
            continue;
        functions++;
        const int result = check_function(t, &t->functions[i], &all);
        if (result != 0)
            return result;
    }
    const int result = check_calls(t, &all);
    if (result != 0)
        return result;
    MUST(functions == t->function_slab.count && all.members == t->member_slab.count && all.calls == t->call_slab.count);
    MUST(all.leases == t->leases && all.waiting == t->waiting);
    for (int i = 0; i < CT__MEMBER_STATES; i++)
        MUST(all.by_state[i] == t->by_state[i]);
    MUST(t->member_slab.count <= t->options.max_instances);
    MUST(t->by_state[CT_MEMBER_BOOTING] <= t->options.max_boots);
    if (t->is_open && somebody_asks(t) && t->by_state[CT_MEMBER_BOOTING] < t->options.max_boots &&
        t->by_state[CT_MEMBER_DEAD] == 0)
        MUST(t->by_state[CT_MEMBER_IDLE] == 0);
    for (uint32_t taker = 0; taker <= CT_TAKER_LANE; taker++) {
        uint32_t waits = 0;
        for (const ct__node *at = t->takers[taker].effects.next; at != &t->takers[taker].effects; at = at->next)
            waits++;
        MUST(waits == t->takers[taker].waits);
    }
    const int tenants = ct__tenants_check(t);
    return tenants != 0 ? tenants : ct__buckets_check(t->buckets);
}
