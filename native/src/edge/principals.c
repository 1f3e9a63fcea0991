#include "edge/principals.h"

#include "base/rule.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { BUCKETS = 16384 };

static const uint64_t RENEWAL_NS = 1000000000; /* chosen: a renewal that was lost is tried again */

static uint64_t le64(const uint8_t *at) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

static uint64_t turned(uint64_t value, unsigned bits) {
    return value << bits | value >> (64 - bits);
}

static void mix(uint64_t v[4]) {
    v[0] += v[1];
    v[1] = turned(v[1], 13) ^ v[0];
    v[0] = turned(v[0], 32);
    v[2] += v[3];
    v[3] = turned(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = turned(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = turned(v[1], 17) ^ v[2];
    v[2] = turned(v[2], 32);
}

static void take_word(uint64_t v[4], uint64_t word) {
    v[3] ^= word;
    mix(v);
    mix(v);
    v[0] ^= word;
}

uint64_t ct__siphash(const uint8_t secret[16], const uint8_t *data, size_t len) {
    const uint64_t k0 = le64(secret), k1 = le64(secret + 8);
    uint64_t v[4] = {k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573};
    size_t at = 0;
    for (; at + 8 <= len; at += 8)
        take_word(v, le64(data + at));
    uint8_t last[8] = {0};
    if (len > at)
        memcpy(last, data + at, len - at);
    last[7] = (uint8_t)len;
    take_word(v, le64(last));
    v[2] ^= 0xFF;
    for (int i = 0; i < 4; i++)
        mix(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

int ct__principals_init(ct__principals *table, const uint8_t secret[16]) {
    *table = (ct__principals){0};
    memcpy(table->secret, secret, sizeof table->secret);
    table->buckets = calloc(BUCKETS, sizeof(ct__principal *));
    return table->buckets != NULL ? 0 : -ENOMEM;
}

void ct__principals_clear(ct__principals *table) {
    if (table->count == 0)
        return;
    for (size_t i = 0; i < BUCKETS; i++) {
        for (ct__principal *p = table->buckets[i], *next; p != NULL; p = next) {
            next = p->next;
            explicit_bzero(p->bytes, p->key_len + p->token_len);
            free(p);
        }
        table->buckets[i] = NULL;
    }
    table->count = 0;
}

void ct__principals_fini(ct__principals *table) {
    if (table->buckets == NULL)
        return;
    ct__principals_clear(table);
    free((void *)table->buckets);
    table->buckets = NULL;
}

static ct__principal **find(ct__principals *table, uint64_t hash, const uint8_t *key, size_t key_len) {
    ct__principal **link = &table->buckets[hash % BUCKETS];
    while (*link != NULL
           && ((*link)->hash != hash || (*link)->key_len != key_len || memcmp((*link)->bytes, key, key_len) != 0))
        link = &(*link)->next;
    return link;
}

int ct__principals_put(ct__principals *table, const uint8_t *key, size_t key_len, const uint8_t *token, size_t token_len,
                       const uint8_t *rule, size_t rule_len, uint64_t renew_ns, uint64_t until_ns) {
    if (key_len > CT__PRINCIPAL_KEY_BYTES || token_len > CT__PRINCIPAL_TOKEN_BYTES || rule_len > CT_RULE_BYTES_MAX)
        return CT_E_TOOBIG;
    const uint64_t hash = ct__siphash(table->secret, key, key_len);
    ct__principal *made = malloc(sizeof *made + key_len + token_len + rule_len);
    if (made == NULL)
        return -ENOMEM;
    *made = (ct__principal){.hash = hash, .renew_ns = renew_ns, .until_ns = until_ns, .key_len = key_len, .token_len = token_len,
                             .rule_len = rule_len};
    memcpy(made->bytes, key, key_len);
    memcpy(made->bytes + key_len, token, token_len);
    if (rule_len > 0)
        memcpy(made->bytes + key_len + token_len, rule, rule_len);
    ct__principal **link = find(table, hash, key, key_len);
    if (*link != NULL) {
        ct__principal *old = *link;
        made->next = old->next;
        *link = made;
        free(old);
        return 0;
    }
    if (table->count == CT__PRINCIPALS_MAX) {
        ct__principals_clear(table);
        link = &table->buckets[hash % BUCKETS];
    }
    *link = made;
    table->count++;
    return 0;
}

const ct__principal *ct__principals_known(const ct__principals *table, uint64_t hash) {
    const ct__principal *p = table->buckets[hash % BUCKETS];
    while (p != NULL && p->hash != hash)
        p = p->next;
    return p;
}

const ct__principal *ct__principals_get(ct__principals *table, const uint8_t *key, size_t key_len, uint64_t now_ns) {
    if (now_ns >= table->fresh_ns || table->count == 0)
        return NULL;
    ct__principal *p = *find(table, ct__siphash(table->secret, key, key_len), key, key_len);
    if (p == NULL || now_ns >= p->until_ns)
        return NULL;
    if (now_ns >= p->renew_ns) {
        p->renew_ns = now_ns + RENEWAL_NS;
        return NULL;
    }
    return p;
}

bool ct__principal_may(const ct__principal *who, const uint8_t *function, size_t len) {
    return ct__rule_allows(who->bytes + who->key_len + who->token_len, who->rule_len, function, len);
}
