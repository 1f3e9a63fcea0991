/* Token buckets, one a subject, in the form that needs a single number: when the bucket would be full again. One that is
 * full carries nothing, so the one used longest ago goes when there is no room. */
#include "table/state.h"

#include <stdlib.h>

typedef struct bucket {
    ct__node used; /* in the order of use */
    struct bucket *hash_next;
    uint64_t key[2]; /* 128 bits of seeded hashes stand for the names: nothing is copied on a call's way */
    uint64_t full_at_ns;
} bucket;

struct ct__buckets {
    bucket *slots;
    bucket **index;
    ct__node used;
    uint64_t seed;
    uint32_t mask;
    uint32_t cap;
    uint32_t count;
};

static const uint64_t INTERVAL_MAX_NS = 86400000000000; /* a day: a slower rate is that */
static const uint64_t DEPTH_MAX_NS = (uint64_t)1 << 62;

ct__buckets *ct__buckets_new(uint32_t cap, uint64_t seed) {
    ct__buckets *b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    uint32_t size = 16;
    while (size < cap)
        size *= 2;
    *b = (ct__buckets){.slots = calloc(cap, sizeof(bucket)), .index = calloc(size, sizeof(bucket *)), .seed = seed,
                       .mask = size - 1, .cap = cap};
    ct__list_init(&b->used);
    if (b->slots == NULL || b->index == NULL) {
        ct__buckets_free(b);
        return NULL;
    }
    return b;
}

void ct__buckets_free(ct__buckets *b) {
    if (b == NULL)
        return;
    free((void *)b->index);
    free(b->slots);
    free(b);
}

static void key_of(const ct__buckets *b, const ct_ask *ask, uint64_t key[2]) {
    for (uint32_t i = 0; i < 2; i++) {
        const uint64_t tenant = ct__hash(b->seed + i, ask->tenant, ask->tenant_len);
        key[i] = ct__hash(tenant, ask->subject, ask->subject_len);
    }
}

static bucket **place(const ct__buckets *b, const uint64_t key[2]) {
    bucket **at = &b->index[key[0] & b->mask];
    while (*at != NULL && ((*at)->key[0] != key[0] || (*at)->key[1] != key[1]))
        at = &(*at)->hash_next;
    return at;
}

static bucket *bucket_of(ct__buckets *b, const ct_ask *ask) {
    uint64_t key[2];
    key_of(b, ask, key);
    bucket *found = *place(b, key);
    if (found == NULL) {
        if (b->count < b->cap) {
            found = &b->slots[b->count++];
        } else {
            found = CT__OF(bucket, used, b->used.next);
            *place(b, found->key) = found->hash_next;
        }
        ct__list_remove(&found->used);
        *found = (bucket){.key = {key[0], key[1]}};
        *place(b, key) = found;
    }
    ct__list_remove(&found->used);
    ct__list_insert(&b->used, &found->used);
    return found;
}

ct__rate ct__rate_of(double per_s, uint32_t burst) {
    const double wanted_ns = 1e9 / per_s + 0.5;
    uint64_t interval_ns = wanted_ns < (double)INTERVAL_MAX_NS ? (uint64_t)wanted_ns : INTERVAL_MAX_NS;
    if (interval_ns == 0)
        interval_ns = 1;
    uint64_t tokens = burst;
    if (tokens == 0)
        tokens = per_s < 1 ? 1 : per_s < 4e9 ? (uint64_t)per_s : 4000000000;
    return (ct__rate){.interval_ns = interval_ns,
                      .depth_ns = tokens <= DEPTH_MAX_NS / interval_ns ? tokens * interval_ns : DEPTH_MAX_NS};
}

uint64_t ct__rate_left(const ct__rate *rate, uint64_t *full_at_ns, uint32_t tokens, uint64_t now_ns) {
    if (*full_at_ns < now_ns)
        *full_at_ns = now_ns;
    if (*full_at_ns - now_ns > rate->depth_ns) /* the rate was changed */
        *full_at_ns = now_ns + rate->depth_ns;
    const uint64_t missing_ns = *full_at_ns - now_ns + tokens * rate->interval_ns;
    return missing_ns > rate->depth_ns ? missing_ns - rate->depth_ns : 0;
}

uint64_t ct__bucket_take(ct__buckets *b, const ct_ask *ask, uint64_t now_ns) {
    const ct__rate rate = ct__rate_of(ask->rate_per_s, ask->burst);
    bucket *own = bucket_of(b, ask);
    const uint64_t left_ns = ct__rate_left(&rate, &own->full_at_ns, 1, now_ns);
    if (left_ns == 0)
        own->full_at_ns += rate.interval_ns;
    return left_ns;
}

int ct__buckets_check(const ct__buckets *b) {
    uint32_t count = 0;
    for (const ct__node *at = b->used.next; at != &b->used; at = at->next)
        count++;
    return count == b->count && count <= b->cap ? 0 : -__LINE__;
}
