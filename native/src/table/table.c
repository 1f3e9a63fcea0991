/* The table's life: every slot there will ever be, made at once. */
#include "table/state.h"

#include <stdlib.h>

static const uint32_t NO_SLOT = UINT32_MAX;
static const uint32_t SLOTS_MAX = (uint32_t)1 << CT_HANDLE_INDEX_BITS;

void *ct__slab_take(ct__slab *slab, void *slots, size_t stride) {
    uint32_t index = slab->free;
    if (index == NO_SLOT) {
        if (slab->fresh == slab->cap)
            return NULL;
        index = slab->fresh++;
    }
    ct__slot *slot = (ct__slot *)(void *)((char *)slots + (size_t)index * stride);
    if (slab->free == index)
        slab->free = slot->next_free;
    const uint64_t generation = slot->generation + 1;
    memset(slot, 0, stride);
    *slot = (ct__slot){.generation = generation, .index = index, .is_used = true};
    slab->count++;
    return slot;
}

void ct__slab_give(ct__slab *slab, ct__slot *slot) {
    slot->is_used = false;
    slot->next_free = slab->free;
    slab->free = slot->index;
    slab->count--;
}

static uint64_t folded(uint64_t a, uint64_t b) {
    const __uint128_t product = (__uint128_t)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t ct__hash(uint64_t seed, const uint8_t *bytes, size_t len) {
    uint64_t h = seed ^ 0x9E3779B97F4A7C15u;
    size_t at = 0;
    for (; len - at >= 8; at += 8) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        h = folded(h ^ word, 0xD6E8FEB86659FD93u);
    }
    uint64_t rest = 0;
    if (len > at)
        memcpy(&rest, bytes + at, len - at);
    h = folded(h ^ rest, 0xA0761D6478BD642Fu);
    return folded(h ^ (uint64_t)len, 0xE7037ED1A0B428DBu);
}

static bool in_range(const ct_table_options *o) {
    const uint32_t sizes[] = {o->max_functions, o->max_instances,  o->max_calls, o->max_buckets,
                              o->max_identities, o->max_records, o->max_meters};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (sizes[i] == 0 || sizes[i] > SLOTS_MAX)
            return false;
    return o->max_boots > 0 && o->bucket_count <= CT_METER_BUCKETS_MAX && (o->bucket_count == 0 || o->bucket_ns != NULL);
}

static uint32_t power_above(uint32_t n) {
    uint32_t size = 16;
    while (size < n)
        size *= 2;
    return size;
}

static bool allocate(ct_table *t) {
    const ct_table_options *o = &t->options;
    const uint32_t index_size = power_above(o->max_functions);
    t->index_mask = index_size - 1;
    t->index = calloc(index_size, sizeof(ct__function *));
    t->functions = calloc(o->max_functions, sizeof(ct__function));
    t->members = calloc(o->max_instances, sizeof(ct__member));
    t->calls = calloc(o->max_calls, sizeof(ct__call));
    t->meters = calloc(o->max_meters, sizeof(ct_meter));
    t->buckets = ct__buckets_new(o->max_buckets, o->hash_seed);
    t->identities = ct__identities_new(o->max_identities, o->hash_seed);
    t->records = ct__records_new(o->max_records);
    t->tenants = ct__tenants_new(o->max_functions, o->hash_seed); /* each has a function, or is about to */
    return t->index != NULL && t->functions != NULL && t->members != NULL && t->calls != NULL && t->meters != NULL &&
           t->buckets != NULL && t->identities != NULL && t->records != NULL && t->tenants != NULL;
}

ct_table *ct_table_new(const ct_table_options *options) {
    if (!in_range(options))
        return NULL;
    ct_table *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    t->options = *options;
    for (uint32_t i = 0; i < options->bucket_count; i++)
        t->bucket_ns[i] = options->bucket_ns[i];
    t->options.bucket_ns = t->bucket_ns;
    t->function_slab = (ct__slab){.free = NO_SLOT, .cap = options->max_functions};
    t->member_slab = (ct__slab){.free = NO_SLOT, .cap = options->max_instances};
    t->call_slab = (ct__slab){.free = NO_SLOT, .cap = options->max_calls};
    ct__list_init(&t->active);
    ct__list_init(&t->asking);
    ct__list_init(&t->takers[CT_TAKER_PYTHON].effects);
    ct__list_init(&t->takers[CT_TAKER_LANE].effects);
    if (!allocate(t)) {
        ct_table_free(t);
        return NULL;
    }
    return t;
}

void ct_table_free(ct_table *t) {
    if (t == NULL)
        return;
    for (uint32_t i = 0; t->functions != NULL && i < t->function_slab.fresh; i++)
        if (t->functions[i].slot.is_used)
            ct__function_free(t, &t->functions[i]);
    ct__tenants_free(t->tenants);
    ct__records_free(t->records);
    ct__identities_free(t->identities);
    ct__buckets_free(t->buckets);
    free(t->meters);
    free(t->calls);
    free(t->members);
    free(t->functions);
    free((void *)t->index);
    free(t);
}

void ct_table_open(ct_table *t, uint32_t is_open, uint64_t now_ns) {
    t->is_open = is_open != 0;
    ct__pool_pump(t, NULL);
    ct__pool_keep_warm(t, now_ns);
}

void ct_node_stats_get(const ct_table *t, ct_node_stats *out) {
    *out = (ct_node_stats){.total = t->member_slab.count, .waiting = t->waiting, .leases = t->leases,
                           .inflight = t->inflight};
    for (int i = 0; i < CT__MEMBER_STATES; i++)
        out->instances[i] = t->by_state[i];
}
