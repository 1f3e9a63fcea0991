/* Tenants: what all their functions together may, and what they did. One without limits costs a call two counts and a
 * look at one flag. */
#include "table/state.h"

#include <stdlib.h>

struct ct__tenants {
    ct__tenant *slots;
    ct__tenant **index; /* by name */
    ct__slab slab;
    uint64_t seed;
    uint32_t mask;
};

ct__tenants *ct__tenants_new(uint32_t cap, uint64_t seed) {
    ct__tenants *all = calloc(1, sizeof *all);
    if (all == NULL)
        return NULL;
    uint32_t size = 16;
    while (size < cap)
        size *= 2;
    *all = (ct__tenants){.slots = calloc(cap, sizeof(ct__tenant)), .index = calloc(size, sizeof(ct__tenant *)),
                         .slab = {.free = UINT32_MAX, .cap = cap}, .seed = seed, .mask = size - 1};
    if (all->slots == NULL || all->index == NULL) {
        ct__tenants_free(all);
        return NULL;
    }
    return all;
}

void ct__tenants_free(ct__tenants *all) {
    if (all == NULL)
        return;
    for (uint32_t i = 0; all->slots != NULL && i < all->slab.fresh; i++)
        if (all->slots[i].slot.is_used)
            free(all->slots[i].name);
    free((void *)all->index);
    free(all->slots);
    free(all);
}

static ct__tenant **place(const ct__tenants *all, uint64_t hash, const uint8_t *name, uint32_t len) {
    ct__tenant **at = &all->index[hash & all->mask];
    while (*at != NULL && !((*at)->hash == hash && (*at)->name_len == len &&
                            (len == 0 || memcmp((*at)->name, name, len) == 0)))
        at = &(*at)->hash_next;
    return at;
}

static bool is_of_use(const ct__tenant *tenant) {
    return tenant->functions > 0 || tenant->is_told || tenant->held_memory_mb > 0 || tenant->held_cpu_millis > 0;
}

static void let_go(ct__tenants *all, ct__tenant *tenant) {
    if (is_of_use(tenant))
        return;
    ct__tenant **at = place(all, tenant->hash, tenant->name, tenant->name_len);
    assert(*at == tenant);
    *at = tenant->hash_next;
    free(tenant->name);
    tenant->name = NULL;
    ct__slab_give(&all->slab, &tenant->slot);
}

static int found_or_made(ct__tenants *all, const uint8_t *name, uint32_t len, ct__tenant **out) {
    const uint64_t hash = ct__hash(all->seed, name, len);
    ct__tenant *tenant = *place(all, hash, name, len);
    if (tenant == NULL) {
        uint8_t *kept = malloc((size_t)len + 1);
        if (kept == NULL)
            return -ENOMEM;
        tenant = ct__slab_take(&all->slab, all->slots, sizeof *tenant);
        if (tenant == NULL) {
            free(kept);
            return CT_E_FULL;
        }
        if (len > 0)
            memcpy(kept, name, len);
        tenant->name = kept;
        tenant->name_len = len;
        tenant->hash = hash;
        tenant->row.calls_until = UINT64_MAX;
        *place(all, hash, name, len) = tenant;
    }
    *out = tenant;
    return 0;
}

int ct__tenant_join(ct_table *t, const uint8_t *name, uint32_t len, ct__tenant **out) {
    const int result = found_or_made(t->tenants, name, len, out);
    if (result == 0)
        (*out)->functions++;
    return result;
}

void ct__tenant_leave(ct_table *t, ct__tenant *tenant) {
    tenant->functions--;
    let_go(t->tenants, tenant);
}

static ct__tenant *tenant_at(const ct_table *t, uint64_t handle) {
    const uint32_t index = ct__handle_index(handle);
    if (index >= t->tenants->slab.fresh)
        return NULL;
    ct__tenant *tenant = &t->tenants->slots[index];
    return tenant->slot.is_used && tenant->slot.generation == handle >> CT_HANDLE_INDEX_BITS ? tenant : NULL;
}

int ct_tenant_put(ct_table *t, const uint8_t *name, uint32_t name_len, const ct_tenant_row *row, uint64_t *out) {
    if (name_len > CT_KEY_BYTES_MAX)
        return CT_E_TOOBIG;
    ct__tenant *tenant;
    const int result = found_or_made(t->tenants, name, name_len, &tenant);
    if (result != 0)
        return result;
    tenant->is_told = true;
    tenant->row = *row;
    tenant->is_limited = row->calls_per_s > 0 || row->max_inflight > 0 || row->calls_until != UINT64_MAX;
    *out = ct__handle(&tenant->slot);
    ct__pool_trim(t, tenant);
    ct__pool_pump(t, NULL);
    return 0;
}

int ct_tenant_drop(ct_table *t, uint64_t handle) {
    ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL)
        return -ESTALE;
    tenant->is_told = false;
    tenant->is_limited = false;
    tenant->row = (ct_tenant_row){.calls_until = UINT64_MAX};
    let_go(t->tenants, tenant);
    ct__pool_pump(t, NULL);
    return 0;
}

int ct_tenant_stats_get(const ct_table *t, uint64_t handle, ct_tenant_stats *out) {
    const ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL)
        return -ESTALE;
    *out = (ct_tenant_stats){.tenant = handle, .calls = tenant->calls, .inflight = tenant->inflight,
                             .functions = tenant->functions, .memory_mb = tenant->memory_mb,
                             .cpu_millis = tenant->cpu_millis};
    return 0;
}

size_t ct_tenant_stats_list(ct_table *t, uint64_t *cursor, ct_tenant_stats *out, size_t cap) {
    size_t count = 0;
    uint64_t at = *cursor;
    for (; at < t->tenants->slab.fresh && count < cap; at++) {
        ct__tenant *tenant = &t->tenants->slots[at];
        if (!tenant->slot.is_used || !tenant->is_told || tenant->calls == tenant->listed)
            continue;
        tenant->listed = tenant->calls;
        (void)ct_tenant_stats_get(t, ct__handle(&tenant->slot), &out[count++]);
    }
    *cursor = at;
    return count;
}

uint64_t ct_tenant_publish(ct_table *t, uint64_t handle, uint32_t messages, uint64_t now_ns) {
    ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL || tenant->row.publishes_per_s <= 0)
        return 0;
    const ct__rate rate = ct__rate_of(tenant->row.publishes_per_s, tenant->row.publishes_burst);
    if (messages > rate.depth_ns / rate.interval_ns)
        return UINT64_MAX;
    const uint64_t left_ns = ct__rate_left(&rate, &tenant->publish_full_at_ns, messages, now_ns);
    if (left_ns == 0)
        tenant->publish_full_at_ns += messages * rate.interval_ns;
    return left_ns;
}

static void add_held(ct__tenant *tenant, uint32_t memory_mb, uint32_t cpu_millis) {
    tenant->held_memory_mb += memory_mb;
    tenant->held_cpu_millis += cpu_millis;
    tenant->memory_mb += memory_mb;
    tenant->cpu_millis += cpu_millis;
}

static void take_held(ct__tenant *tenant, uint32_t memory_mb, uint32_t cpu_millis) {
    tenant->held_memory_mb -= memory_mb;
    tenant->held_cpu_millis -= cpu_millis;
    tenant->memory_mb -= memory_mb;
    tenant->cpu_millis -= cpu_millis;
}

int ct_tenant_hold_waits(const ct_table *t, uint64_t handle, uint32_t memory_mb, uint32_t cpu_millis) {
    const ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL)
        return -ESTALE;
    const uint64_t of_memory_mb = memory_mb > 0 ? tenant->memory_mb : 0, of_cpu_millis = cpu_millis > 0 ? tenant->cpu_millis : 0;
    return (int)ct__tenant_beyond(tenant, of_memory_mb, of_cpu_millis);
}

int ct_tenant_hold(ct_table *t, uint64_t handle, uint32_t memory_mb, uint32_t cpu_millis, uint32_t is_there, ct_verdict *out) {
    ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL)
        return -ESTALE;
    add_held(tenant, memory_mb, cpu_millis);
    const uint32_t lacks = is_there ? CT_DETAIL_NONE : ct__pool_yield(t, tenant, memory_mb > 0, cpu_millis > 0);
    if (lacks != CT_DETAIL_NONE) {
        take_held(tenant, memory_mb, cpu_millis);
        const uint64_t limit = lacks == CT_DETAIL_MEMORY ? tenant->row.max_memory_mb : tenant->row.max_cpu_millis;
        *out = (ct_verdict){.code = CT_STATUS_QUOTA_EXCEEDED, .detail = lacks, .retry_after_s = 1, .limit = limit};
        return CT_HOLD_REFUSED;
    }
    if (is_there)
        ct__pool_trim(t, tenant);
    ct__pool_pump(t, NULL); /* who waits for an instance may have less room now, and gets an idle one's place */
    return ct_tenant_hold_waits(t, handle, memory_mb, cpu_millis) == CT_DETAIL_NONE ? CT_HOLD_TAKEN : CT_HOLD_WAITS;
}

int ct_tenant_unhold(ct_table *t, uint64_t handle, uint32_t memory_mb, uint32_t cpu_millis) {
    ct__tenant *tenant = tenant_at(t, handle);
    if (tenant == NULL)
        return -ESTALE;
    if (tenant->held_memory_mb < memory_mb || tenant->held_cpu_millis < cpu_millis)
        return -EINVAL;
    take_held(tenant, memory_mb, cpu_millis);
    let_go(t->tenants, tenant);
    ct__pool_pump(t, NULL);
    return 0;
}

uint32_t ct__tenant_beyond(const ct__tenant *tenant, uint64_t memory_mb, uint64_t cpu_millis) {
    const ct_tenant_row *row = &tenant->row;
    if (row->max_memory_mb > 0 && memory_mb > row->max_memory_mb)
        return CT_DETAIL_MEMORY;
    return row->max_cpu_millis > 0 && cpu_millis > row->max_cpu_millis ? CT_DETAIL_CPU : CT_DETAIL_NONE;
}

/* What all its functions have used up refuses this one's call, too. A job is no call before it runs: then the rate counts. */
bool ct__tenant_refuses(ct__tenant *tenant, bool is_job, uint64_t now_ns, ct_verdict *out) {
    const ct_tenant_row *row = &tenant->row;
    if (tenant->calls >= row->calls_until) {
        *out = ct__later(CT_STATUS_QUOTA_EXCEEDED, row->quota_ends_ns > now_ns ? row->quota_ends_ns - now_ns : 0);
        out->detail = row->quota_detail;
        return true;
    }
    if (is_job)
        return false;
    if (row->max_inflight > 0 && tenant->inflight >= row->max_inflight) {
        *out = ct__later(CT_STATUS_TENANT_INFLIGHT_LIMIT, 0);
        out->limit = row->max_inflight;
        return true;
    }
    if (row->calls_per_s > 0) {
        const ct__rate rate = ct__rate_of(row->calls_per_s, row->calls_burst);
        const uint64_t left_ns = ct__rate_left(&rate, &tenant->call_full_at_ns, 1, now_ns);
        if (left_ns > 0) {
            *out = ct__later(CT_STATUS_TENANT_RATE_LIMITED, left_ns);
            return true;
        }
        tenant->call_interval_ns = rate.interval_ns;
    } else {
        tenant->call_interval_ns = 0;
    }
    return false;
}

int ct__tenants_check(const ct_table *t) {
    uint32_t count = 0;
    for (uint32_t i = 0; i < t->tenants->slab.fresh; i++) {
        const ct__tenant *tenant = &t->tenants->slots[i];
        if (!tenant->slot.is_used)
            continue;
        count++;
        uint32_t functions = 0;
        uint32_t calls = 0;
        uint32_t dead = 0;
        uint64_t memory_mb = tenant->held_memory_mb;
        uint64_t cpu_millis = tenant->held_cpu_millis;
        for (uint32_t j = 0; j < t->member_slab.fresh; j++) {
            const ct__member *m = &t->members[j];
            if (!m->slot.is_used || m->function->tenant != tenant)
                continue;
            dead += m->state == CT_MEMBER_DEAD;
            memory_mb += m->memory_mb;
            cpu_millis += m->cpu_millis;
        }
        if (dead != tenant->dead || memory_mb != tenant->memory_mb || cpu_millis != tenant->cpu_millis)
            return -__LINE__;
        for (uint32_t j = 0; j < t->function_slab.fresh; j++) {
            const ct__function *f = &t->functions[j];
            if (f->slot.is_used && f->tenant == tenant) {
                functions++;
                calls += f->calls;
            }
        }
        if (functions != tenant->functions || calls != tenant->inflight || !is_of_use(tenant) ||
            *place(t->tenants, tenant->hash, tenant->name, tenant->name_len) != tenant)
            return -__LINE__;
    }
    return count == t->tenants->slab.count ? 0 : -__LINE__;
}
