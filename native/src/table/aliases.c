/* Under which names a function's versions are called, and which of them a call gets. A function has few names, so they are a
 * list; whoever names none never comes here. */
#include "table/state.h"

#include <stdlib.h>

struct ct__alias {
    struct ct__alias *next;
    uint64_t total; /* of the weights */
    uint32_t count;
    uint32_t name_len;
    bool is_sticky;
    ct_share shares[CT_SHARES_MAX];
    uint8_t name[];
};

static ct__alias **place(ct__alias **at, const uint8_t *name, uint32_t name_len) {
    while (*at != NULL && !((*at)->name_len == name_len && memcmp((*at)->name, name, name_len) == 0))
        at = &(*at)->next;
    return at;
}

static void unlink_alias(ct__alias **at) {
    ct__alias *old = *at;
    if (old == NULL)
        return;
    *at = old->next;
    free(old);
}

int ct_alias_put(ct_table *t, uint64_t function, const uint8_t *name, uint32_t name_len, const ct_share *shares,
                 uint32_t count, uint32_t is_sticky) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    if (name_len == 0 || name_len > CT_ALIAS_BYTES_MAX || count > CT_SHARES_MAX)
        return CT_E_TOOBIG;
    ct__alias **at = place(&f->aliases, name, name_len);
    if (count == 0) {
        unlink_alias(at);
        return 0;
    }
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (shares[i].weight > CT_WEIGHT_MAX)
            return CT_E_RANGE;
        if (ct__function_at(t, shares[i].function) == NULL)
            return -ESTALE;
        total += shares[i].weight;
    }
    if (total == 0)
        return CT_E_RANGE;
    ct__alias *made = malloc(sizeof *made + name_len);
    if (made == NULL)
        return -ENOMEM;
    *made = (ct__alias){.total = total, .count = count, .name_len = name_len, .is_sticky = is_sticky != 0};
    memcpy(made->shares, shares, count * sizeof *shares);
    memcpy(made->name, name, name_len);
    unlink_alias(at);
    made->next = f->aliases;
    f->aliases = made;
    return 0;
}

uint64_t ct_alias_pick(const ct_table *t, uint64_t function, const uint8_t *name, uint32_t name_len, const uint8_t *key,
                       uint32_t key_len, uint64_t number) {
    const ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return 0;
    ct__alias *first = f->aliases;
    const ct__alias *a = *place(&first, name, name_len);
    if (a == NULL)
        return 0;
    /* Not the table's own seed: each node must give a key the same version. */
    if (a->is_sticky && key_len > 0)
        number = ct__hash(ct__hash(0, name, name_len), key, key_len);
    uint64_t left = number % a->total;
    uint32_t i = 0;
    for (; left >= a->shares[i].weight; i++)
        left -= a->shares[i].weight;
    return ct__function_at(t, a->shares[i].function) != NULL ? a->shares[i].function : 0;
}

void ct__aliases_free(ct__function *f) {
    while (f->aliases != NULL)
        unlink_alias(&f->aliases);
}
