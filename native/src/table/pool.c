/* What to start and what to retire next, over all functions of the node. */
#include "table/state.h"

static uint32_t less(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* Members that stay although nobody calls. */
uint32_t ct__kept_warm(const ct__function *f) {
    return f->is_removed || (f->row.flags & CT_FUNCTION_HALTED) != 0 ? 0 : f->row.min_replicas;
}

static uint32_t head_room(const ct__function *f) {
    return f->is_removed || f->current >= f->row.max_replicas ? 0 : f->row.max_replicas - f->current;
}

/* How many more boots the calls in line ask for. */
uint32_t ct__boots_for_calls(const ct__function *f) {
    const uint32_t seats = f->row.instance_concurrency;
    const uint32_t needed = f->waiting / seats + (f->waiting % seats != 0);
    return needed <= f->booting ? 0 : less(needed - f->booting, head_room(f));
}

static uint32_t boots_for_warmth(const ct__function *f, uint64_t now_ns) {
    const uint32_t kept = ct__kept_warm(f);
    if (now_ns < f->prewarm_after_ns || kept <= f->current)
        return 0;
    return less(kept - f->current, head_room(f));
}

/* The idle member, of a tenant's or (NULL) of all, that nobody used for longest; those that min_replicas keeps only when no
 * other is left. */
static ct__member *least_recently_used(const ct_table *t, const ct__tenant *tenant) {
    ct__member *best = NULL;
    bool best_is_reserved = false;
    for (uint32_t i = 0; i < t->member_slab.fresh; i++) {
        ct__member *m = &t->members[i];
        if (!m->slot.is_used || m->state != CT_MEMBER_IDLE || (tenant != NULL && m->function->tenant != tenant))
            continue;
        const bool is_reserved = m->function->current <= ct__kept_warm(m->function);
        if (best != NULL && is_reserved != best_is_reserved) {
            if (is_reserved)
                continue;
        } else if (best != NULL && (m->idle_since_ns > best->idle_since_ns ||
                                    (m->idle_since_ns == best->idle_since_ns && m->number > best->number))) {
            continue;
        }
        best = m;
        best_is_reserved = is_reserved;
    }
    return best;
}

static void ask_if_needed(ct_table *t, ct__function *f) {
    if (!ct__linked(&f->asking) && ct__boots_for_calls(f) > 0)
        ct__list_insert(&t->asking, &f->asking);
}

static uint32_t room(uint64_t max, uint64_t used, uint64_t each) {
    if (max == 0)
        return UINT32_MAX;
    if (used > max)
        return 0;
    const uint64_t more = each == 0 ? UINT32_MAX : (max - used) / each;
    return more < UINT32_MAX ? (uint32_t)more : UINT32_MAX;
}

/* How many more instances of it its tenant may have. */
static uint32_t room_for(const ct__function *f) {
    const ct__tenant *tenant = f->tenant;
    return less(room(tenant->row.max_memory_mb, tenant->memory_mb, f->row.memory_mb),
                room(tenant->row.max_cpu_millis, tenant->cpu_millis, f->row.cpu_millis));
}

/* Boots that those who ask want in all, and for which their tenants have room; who wants none any more asks no longer. */
static uint32_t wanted_boots(ct_table *t) {
    uint64_t wanted = 0;
    for (ct__node *at = t->asking.next, *next; at != &t->asking; at = next) {
        next = at->next;
        const uint32_t boots = ct__boots_for_calls(CT__OF(ct__function, asking, at));
        if (boots == 0)
            ct__list_remove(at);
        wanted += less(boots, room_for(CT__OF(ct__function, asking, at)));
    }
    return wanted < UINT32_MAX ? (uint32_t)wanted : UINT32_MAX;
}

static ct__function *first_with_room(const ct_table *t) {
    for (const ct__node *at = t->asking.next; at != &t->asking; at = at->next)
        if (ct__tenant_lacks(CT__CONST_OF(ct__function, asking, at)) == CT_DETAIL_NONE)
            return CT__OF(ct__function, asking, at);
    return NULL;
}

static void boot_and_evict(ct_table *t) {
    while (!ct__list_empty(&t->asking)) {
        const uint32_t wanted = wanted_boots(t);
        const uint32_t booting = t->by_state[CT_MEMBER_BOOTING];
        if (wanted == 0 || booting >= t->options.max_boots)
            return;
        if (t->member_slab.count < t->options.max_instances) {
            ct__function *f = first_with_room(t);
            assert(f != NULL); /* it is who wants the boots */
            (void)ct__member_add(t, f); /* there is a slot: the bound is the number of slots */
            ct__list_remove(&f->asking); /* the next boot is somebody else's, when somebody else asks */
            ct__list_insert(&t->asking, &f->asking);
            continue;
        }
        /* Places of members that are being destroyed come free by themselves. */
        if (t->by_state[CT_MEMBER_DEAD] >= less(t->options.max_boots - booting, wanted))
            return;
        ct__member *victim = least_recently_used(t, NULL);
        if (victim == NULL)
            return;
        ct__member_bury(t, victim);
    }
}

/* Who waits because its tenant may have no more instances gets the place of an idle one of the same tenant, one at a time. */
static void make_room(ct_table *t) {
    for (ct__node *at = t->asking.next; at != &t->asking; at = at->next) {
        const ct__function *f = CT__OF(ct__function, asking, at);
        if (f->tenant->dead > 0 || ct__boots_for_calls(f) == 0 || ct__tenant_lacks(f) == CT_DETAIL_NONE)
            continue;
        ct__member *victim = least_recently_used(t, f->tenant);
        if (victim != NULL)
            ct__member_bury(t, victim);
    }
}

/* Starts every boot and eviction that the rules allow now, first come first served. grown: calls were added to its line. */
void ct__pool_pump(ct_table *t, ct__function *grown) {
    if (grown != NULL)
        ask_if_needed(t, grown);
    if (!t->is_open)
        return;
    boot_and_evict(t);
    make_room(t);
}

static uint32_t bit(uint32_t state) {
    return 1u << state;
}

/* How much a tenant would have without its members in some states, given as bits. */
static void held_without(const ct_table *t, const ct__tenant *tenant, uint32_t states, uint64_t *memory_mb,
                         uint64_t *cpu_millis) {
    *memory_mb = tenant->held_memory_mb;
    *cpu_millis = tenant->held_cpu_millis;
    for (uint32_t i = 0; i < t->member_slab.fresh; i++) {
        const ct__member *m = &t->members[i];
        if (!m->slot.is_used || m->function->tenant != tenant || (bit(m->state) & states) != 0)
            continue;
        *memory_mb += m->memory_mb;
        *cpu_millis += m->cpu_millis;
    }
}

static ct__member *newest_busy(const ct_table *t, const ct__tenant *tenant) {
    ct__member *newest = NULL;
    for (uint32_t i = 0; i < t->member_slab.fresh; i++) {
        ct__member *m = &t->members[i];
        if (m->slot.is_used && m->function->tenant == tenant && m->state == CT_MEMBER_BUSY &&
            (newest == NULL || m->number > newest->number))
            newest = m;
    }
    return newest;
}

void ct__pool_trim(ct_table *t, const ct__tenant *tenant) {
    if (ct__tenant_beyond(tenant, tenant->memory_mb, tenant->cpu_millis) == CT_DETAIL_NONE)
        return;
    for (;;) {
        uint64_t memory_mb, cpu_millis;
        held_without(t, tenant, bit(CT_MEMBER_DEAD) | bit(CT_MEMBER_DRAINING), &memory_mb, &cpu_millis);
        if (ct__tenant_beyond(tenant, memory_mb, cpu_millis) == CT_DETAIL_NONE)
            return;
        ct__member *idle = least_recently_used(t, tenant);
        ct__member *busy = idle == NULL ? newest_busy(t, tenant) : NULL;
        if (idle != NULL) {
            ct__member_bury(t, idle);
        } else if (busy != NULL) { /* it ends what it has in hand */
            ct__list_remove(&busy->shelf);
            ct__member_become(t, busy, CT_MEMBER_DRAINING);
        } else {
            return; /* the others boot: the next sweep sees them */
        }
    }
}

static uint32_t beyond_without(const ct_table *t, const ct__tenant *tenant, uint32_t states, bool is_memory, bool is_cpu) {
    uint64_t memory_mb, cpu_millis;
    held_without(t, tenant, states, &memory_mb, &cpu_millis);
    return ct__tenant_beyond(tenant, is_memory ? memory_mb : 0, is_cpu ? cpu_millis : 0);
}

uint32_t ct__pool_yield(ct_table *t, const ct__tenant *tenant, bool is_memory, bool is_cpu) {
    const uint32_t lacks = beyond_without(t, tenant, bit(CT_MEMBER_DEAD) | bit(CT_MEMBER_IDLE), is_memory, is_cpu);
    if (lacks != CT_DETAIL_NONE)
        return lacks;
    while (beyond_without(t, tenant, bit(CT_MEMBER_DEAD), is_memory, is_cpu) != CT_DETAIL_NONE)
        ct__member_bury(t, least_recently_used(t, tenant));
    return CT_DETAIL_NONE;
}

/* Boots ahead of calls as far as there is room, never at the cost of another function's instance; false: the node has none. */
static bool boot_ahead(ct_table *t, ct__function *f, uint32_t boots) {
    for (; boots > 0; boots--) {
        if (ct__tenant_lacks(f) != CT_DETAIL_NONE)
            return true;
        if (t->member_slab.count >= t->options.max_instances || t->by_state[CT_MEMBER_BOOTING] >= t->options.max_boots)
            return false;
        (void)ct__member_add(t, f);
    }
    return true;
}

/* Boots for min_replicas. */
void ct__pool_keep_warm(ct_table *t, uint64_t now_ns) {
    if (!t->is_open)
        return;
    for (ct__node *at = t->active.next; at != &t->active; at = at->next) {
        ct__function *f = CT__OF(ct__function, active, at);
        if (!boot_ahead(t, f, boots_for_warmth(f, now_ns)))
            return;
    }
}

int ct_function_prewarm(ct_table *t, uint64_t function, uint32_t target) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    const bool may_boot = t->is_open && (f->row.flags & CT_FUNCTION_HALTED) == 0 && target > f->current;
    if (may_boot)
        (void)boot_ahead(t, f, less(target - f->current, head_room(f)));
    ct__function_settle(t, f);
    return 0;
}

void ct__pool_renew(ct_table *t, ct__function *f) {
    f->sandbox++;
    f->booting = 0;
    f->current = 0;
    f->boot_failures = 0;
    f->prewarm_after_ns = 0;
    for (ct__node *at = f->members.next; at != &f->members; at = at->next) {
        ct__member *m = CT__OF(ct__member, of_function, at);
        ct__list_remove(&m->shelf);
        if (m->state == CT_MEMBER_IDLE)
            ct__member_bury(t, m);
        else if (m->state == CT_MEMBER_BUSY)
            ct__member_become(t, m, CT_MEMBER_DRAINING);
    }
}

void ct__pool_refuse_line(ct_table *t, ct__function *f, const ct_verdict *verdict) {
    while (!ct__list_empty(&f->line))
        ct__refuse(t, CT__OF(ct__call, line, f->line.next), verdict);
}

/* The idle member that is unused for longest, if it outlived its time. */
static ct__member *expired(const ct_table *t, const ct__function *f, uint64_t now_ns) {
    ct__member *oldest = NULL;
    for (ct__node *at = f->shelf.next; at != &f->shelf; at = at->next) {
        ct__member *m = CT__OF(ct__member, shelf, at);
        if (m->state == CT_MEMBER_IDLE && now_ns - m->idle_since_ns >= t->options.idle_ttl_ns &&
            (oldest == NULL || m->idle_since_ns < oldest->idle_since_ns))
            oldest = m;
    }
    return oldest;
}

static void expire(ct_table *t, ct__function *f, uint64_t now_ns) {
    const uint32_t kept = ct__kept_warm(f);
    for (uint32_t spare = f->current > kept ? f->current - kept : 0; spare > 0; spare--) {
        ct__member *m = expired(t, f, now_ns);
        if (m == NULL)
            return;
        ct__member_bury(t, m);
    }
}

void ct_sweep(ct_table *t, uint64_t now_ns) {
    for (ct__node *at = t->active.next, *next; at != &t->active; at = next) {
        next = at->next;
        ct__function *f = CT__OF(ct__function, active, at);
        expire(t, f, now_ns);
        ct__pool_trim(t, f->tenant);
        ask_if_needed(t, f);
        ct__function_settle(t, f);
    }
    ct__pool_pump(t, NULL);
    ct__pool_keep_warm(t, now_ns);
}
