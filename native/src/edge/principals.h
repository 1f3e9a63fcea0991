/* Callers that Python has let in: what they presented, and the identity token that goes with every call of theirs. A cache: what is
 * not here, or not any more, is asked of Python. */
#ifndef CT_EDGE_PRINCIPALS_H
#define CT_EDGE_PRINCIPALS_H

#include "base/abi.h"

#include <stdbool.h>

enum { CT__PRINCIPALS_MAX = 16384, CT__PRINCIPAL_KEY_BYTES = 1024, CT__PRINCIPAL_TOKEN_BYTES = 4096 };

typedef struct ct__principal {
    struct ct__principal *next;
    uint64_t hash;
    uint64_t renew_ns; /* from then on one call in a while goes to Python, which renews it */
    uint64_t until_ns; /* of no use any more */
    size_t key_len, token_len, rule_len;
    uint8_t bytes[]; /* key, token, then the rule of which functions it may invoke */
} ct__principal;

typedef struct ct__principals {
    ct__principal **buckets;
    uint32_t count;
    uint64_t fresh_ns; /* until then nova's word is believed */
    uint8_t secret[16];
} ct__principals;

/* The hash is keyed (SipHash-2-4) and the whole key is compared besides: nobody who does not know the secret finds two keys of a
 * bucket, and the time of a look-up says nothing about a key that is not his. A digest would add its cost to each call and nothing
 * else: the same bytes stand in the input buffer. Returns 0 or -ENOMEM. */
int ct__principals_init(ct__principals *table, const uint8_t secret[16]);
void ct__principals_fini(ct__principals *table);

/* Adds or replaces. Returns 0, CT_E_TOOBIG or -ENOMEM. A full table begins anew. */
int ct__principals_put(ct__principals *table, const uint8_t *key, size_t key_len, const uint8_t *token, size_t token_len,
                       const uint8_t *rule, size_t rule_len, uint64_t renew_ns, uint64_t until_ns);

/* NULL: unknown, over, or this is the call that renews it. Valid until the next change of the table. */
const ct__principal *ct__principals_get(ct__principals *table, const uint8_t *key, size_t key_len, uint64_t now_ns);

/* The entry of a hash, of whatever age; NULL: there is none any more. Valid until the next change of the table. */
const ct__principal *ct__principals_known(const ct__principals *table, uint64_t hash);
void ct__principals_clear(ct__principals *table);

/* May it invoke this function? False: Python is to say so. */
bool ct__principal_may(const ct__principal *who, const uint8_t *function, size_t len);

uint64_t ct__siphash(const uint8_t secret[16], const uint8_t *data, size_t len);

#endif
