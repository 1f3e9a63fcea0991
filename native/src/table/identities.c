/* Identity tokens that Python has verified, known by their bytes from then on. */
#include "table/state.h"

#include <stdlib.h>

typedef struct known {
    struct known *hash_next;
    uint8_t *bytes; /* the token, then what the identity's fields point to; NULL: a free slot */
    uint64_t hash;
    uint32_t token_len;
    ct_identity identity;
} known;

struct ct__identities {
    known *slots; /* a ring: the oldest goes first */
    known **index;
    uint64_t seed;
    uint32_t mask;
    uint32_t cap;
    uint32_t next;
};

ct__identities *ct__identities_new(uint32_t cap, uint64_t seed) {
    ct__identities *ids = calloc(1, sizeof *ids);
    if (ids == NULL)
        return NULL;
    uint32_t size = 16;
    while (size < cap)
        size *= 2;
    *ids = (ct__identities){.slots = calloc(cap, sizeof(known)), .index = calloc(size, sizeof(known *)), .seed = seed,
                            .mask = size - 1, .cap = cap};
    if (ids->slots == NULL || ids->index == NULL) {
        ct__identities_free(ids);
        return NULL;
    }
    return ids;
}

void ct__identities_free(ct__identities *ids) {
    if (ids == NULL)
        return;
    for (uint32_t i = 0; ids->slots != NULL && i < ids->cap; i++)
        free(ids->slots[i].bytes);
    free((void *)ids->index);
    free(ids->slots);
    free(ids);
}

static known **place(const ct__identities *ids, uint64_t hash, const uint8_t *token, uint32_t len) {
    known **at = &ids->index[hash & ids->mask];
    while (*at != NULL &&
           !((*at)->hash == hash && (*at)->token_len == len && memcmp((*at)->bytes, token, len) == 0))
        at = &(*at)->hash_next;
    return at;
}

static void forget(ct__identities *ids, known *k) {
    if (k->bytes == NULL)
        return;
    known **at = place(ids, k->hash, k->bytes, k->token_len);
    assert(*at == k);
    *at = k->hash_next;
    free(k->bytes);
    *k = (known){.bytes = NULL};
}

static void copied(uint8_t **at, const uint8_t **field, uint32_t len) {
    if (len > 0)
        memcpy(*at, *field, len);
    *field = *at;
    *at += len;
}

int ct_identity_put(ct_table *t, const uint8_t *token, uint32_t token_len, const ct_identity *identity) {
    ct__identities *ids = t->identities;
    if (token_len == 0 || token_len > CT_TOKEN_BYTES_MAX || identity->tenant_len > CT_KEY_BYTES_MAX ||
        identity->space_len > CT_KEY_BYTES_MAX || identity->subject_len > CT_KEY_BYTES_MAX || identity->rule_len > CT_RULE_BYTES_MAX)
        return CT_E_TOOBIG;
    uint8_t *bytes =
        malloc((size_t)token_len + identity->tenant_len + identity->space_len + identity->subject_len + identity->rule_len);
    if (bytes == NULL)
        return -ENOMEM;
    const uint64_t hash = ct__hash(ids->seed, token, token_len);
    known *k = *place(ids, hash, token, token_len);
    if (k == NULL) {
        k = &ids->slots[ids->next];
        ids->next = (ids->next + 1) % ids->cap;
    }
    forget(ids, k);
    *k = (known){.bytes = bytes, .hash = hash, .token_len = token_len, .identity = *identity};
    memcpy(bytes, token, token_len);
    uint8_t *at = bytes + token_len;
    copied(&at, &k->identity.tenant, identity->tenant_len);
    copied(&at, &k->identity.space, identity->space_len);
    copied(&at, &k->identity.subject, identity->subject_len);
    copied(&at, &k->identity.rule, identity->rule_len);
    *place(ids, hash, token, token_len) = k;
    return 0;
}

int ct_identity_find(ct_table *t, const uint8_t *token, uint32_t token_len, int64_t now_s, ct_identity *out) {
    const ct__identities *ids = t->identities;
    if (token_len == 0 || token_len > CT_TOKEN_BYTES_MAX)
        return 0;
    const known *k = *place(ids, ct__hash(ids->seed, token, token_len), token, token_len);
    if (k == NULL || k->identity.expires_at_s <= now_s)
        return 0;
    *out = k->identity;
    return 1;
}

void ct_identity_clear(ct_table *t) {
    for (uint32_t i = 0; i < t->identities->cap; i++)
        forget(t->identities, &t->identities->slots[i]);
}
