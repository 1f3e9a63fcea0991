/* The functions of this node, as Python pushed them down. */
#include "table/state.h"

#include <stdlib.h>

static uint64_t name_hash(const ct_table *t, const ct_function_row *row) {
    const uint64_t tenant = ct__hash(t->options.hash_seed, row->tenant, row->tenant_len);
    const uint64_t space = ct__hash(tenant, row->space, row->space_len);
    return ct__hash(space, row->name, row->name_len);
}

static bool same_bytes(const uint8_t *a, uint32_t a_len, const uint8_t *b, uint32_t b_len) {
    return a_len == b_len && (a_len == 0 || memcmp(a, b, a_len) == 0);
}

static bool same_name(const ct_function_row *a, const ct_function_row *b) {
    return same_bytes(a->name, a->name_len, b->name, b->name_len) &&
           same_bytes(a->space, a->space_len, b->space, b->space_len) &&
           same_bytes(a->tenant, a->tenant_len, b->tenant, b->tenant_len);
}

static ct__function **place(const ct_table *t, uint64_t hash, const ct_function_row *row) {
    ct__function **at = &t->index[hash & t->index_mask];
    while (*at != NULL && !((*at)->hash == hash && same_name(&(*at)->row, row)))
        at = &(*at)->hash_next;
    return at;
}

static void unindex(ct_table *t, ct__function *f) {
    if (!f->is_indexed)
        return;
    ct__function **at = place(t, f->hash, &f->row);
    assert(*at == f);
    *at = f->hash_next;
    f->hash_next = NULL;
    f->is_indexed = false;
}

/* The name is this function's from now on, if it is one that is kept. */
static void reindex(ct_table *t, ct__function *f) {
    const bool is_wanted = (f->row.flags & (CT_FUNCTION_KEPT | CT_FUNCTION_PINNED)) == CT_FUNCTION_KEPT && !f->is_removed;
    if (is_wanted == f->is_indexed)
        return;
    if (!is_wanted) {
        unindex(t, f);
        return;
    }
    ct__function **at = place(t, f->hash, &f->row);
    if (*at != NULL) {
        unindex(t, *at);
        at = place(t, f->hash, &f->row);
    }
    f->hash_next = NULL;
    *at = f;
    f->is_indexed = true;
}

static bool in_range(const ct_table *t, const ct_function_row *row) {
    return row->instance_concurrency > 0 && row->max_replicas > 0 && row->meter < t->options.max_meters &&
           ct__breaker_in_range(&row->breaker);
}

static void copied(uint8_t **at, const uint8_t **field, uint32_t len) {
    if (len > 0)
        memcpy(*at, *field, len);
    *field = *at;
    *at += len;
}

int ct_function_put(ct_table *t, const ct_function_row *row, uint64_t now_ns, uint64_t *out) {
    if (row->tenant_len > CT_KEY_BYTES_MAX || row->space_len > CT_KEY_BYTES_MAX || row->name_len > CT_KEY_BYTES_MAX)
        return CT_E_TOOBIG;
    if (!in_range(t, row))
        return CT_E_RANGE;
    uint8_t *key = malloc((size_t)row->tenant_len + row->space_len + row->name_len + 1);
    if (key == NULL)
        return -ENOMEM;
    ct__function *f = ct__slab_take(&t->function_slab, t->functions, sizeof *f);
    if (f == NULL) {
        free(key);
        return CT_E_FULL;
    }
    const int joined = ct__tenant_join(t, row->tenant, row->tenant_len, &f->tenant);
    if (joined != 0) {
        ct__slab_give(&t->function_slab, &f->slot);
        free(key);
        return joined;
    }
    ct__list_init(&f->members);
    ct__list_init(&f->shelf);
    ct__list_init(&f->line);
    f->row = *row;
    f->key = key;
    copied(&key, &f->row.tenant, row->tenant_len);
    copied(&key, &f->row.space, row->space_len);
    copied(&key, &f->row.name, row->name_len);
    f->hash = name_hash(t, &f->row);
    f->sandbox = 1;
    reindex(t, f);
    ct__function_settle(t, f);
    ct__pool_keep_warm(t, now_ns);
    *out = ct__handle(&f->slot);
    return 0;
}

int ct_function_update(ct_table *t, uint64_t function, const ct_function_row *row, uint32_t is_same_sandbox,
                       uint64_t now_ns) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    if (!in_range(t, row))
        return CT_E_RANGE;
    const ct_function_row names = f->row;
    const bool has_breaker = row->breaker.error_percent > 0 && row->breaker.window_ns == names.breaker.window_ns;
    f->row = *row;
    f->row.tenant = names.tenant;
    f->row.tenant_len = names.tenant_len;
    f->row.space = names.space;
    f->row.space_len = names.space_len;
    f->row.name = names.name;
    f->row.name_len = names.name_len;
    if (!has_breaker || !is_same_sandbox) /* a deploy is how a broken function is mended */
        ct__breaker_reset(&f->breaker);
    reindex(t, f);
    if (is_same_sandbox)
        ct__members_are(f, row->version);
    else
        ct__pool_renew(t, f);
    ct__function_settle(t, f);
    ct__pool_pump(t, f);
    ct__pool_keep_warm(t, now_ns);
    return 0;
}

int ct_function_remove(ct_table *t, uint64_t function, uint64_t now_ns) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    if (f->is_removed)
        return 0;
    f->is_removed = true;
    reindex(t, f);
    ct__pool_renew(t, f);
    ct__pool_refuse_line(t, f, &(ct_verdict){.code = CT_STATUS_NOT_FOUND});
    ct__function_settle(t, f);
    ct__pool_pump(t, NULL);
    (void)now_ns;
    return 0;
}

uint64_t ct_function_find(const ct_table *t, const uint8_t *tenant, uint32_t tenant_len, const uint8_t *space,
                          uint32_t space_len, const uint8_t *name, uint32_t name_len) {
    const ct_function_row wanted = {.tenant = tenant, .tenant_len = tenant_len, .space = space, .space_len = space_len,
                                    .name = name, .name_len = name_len};
    const ct__function *f = *place(t, name_hash(t, &wanted), &wanted);
    return f != NULL ? ct__handle(&f->slot) : 0;
}

int ct__function_get(const ct_table *t, uint64_t function, ct__function_facts *out) {
    const ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    *out = (ct__function_facts){.name = f->row.name, .name_len = f->row.name_len, .flags = f->row.flags,
                                .version = f->row.version, .timeout_ns = f->row.timeout_ns,
                                .max_payload_bytes = f->row.max_payload_bytes};
    return 0;
}

/* Is anything of it in use? */
bool ct__function_is_idle(const ct__function *f) {
    return ct__list_empty(&f->members) && f->calls == 0;
}

void ct__function_settle(ct_table *t, ct__function *f) {
    const bool is_idle = ct__function_is_idle(f);
    const bool is_active = !is_idle || ct__kept_warm(f) > 0;
    if (is_active && !ct__linked(&f->active))
        ct__list_insert(&t->active, &f->active);
    if (!is_active) {
        ct__list_remove(&f->active);
        ct__list_remove(&f->asking);
    }
    const bool is_kept = (f->row.flags & CT_FUNCTION_KEPT) != 0 && !f->is_removed;
    const bool is_done = !is_active && !is_kept && f->records == 0;
    if (is_done && !ct__linked(&f->drop.node))
        ct__effect_put(t, CT_TAKER_PYTHON, &f->drop, CT_EFFECT_DROP);
    else if (!is_done)
        ct__effect_cancel(t, CT_TAKER_PYTHON, &f->drop);
}

void ct__function_free(ct_table *t, ct__function *f) {
    unindex(t, f);
    while (f->sayings != NULL) {
        ct__saying *next = f->sayings->next;
        free(f->sayings);
        f->sayings = next;
    }
    ct__aliases_free(f);
    ct__tenant_leave(t, f->tenant);
    free(f->row_head);
    f->row_head = NULL;
    free(f->key);
    f->key = NULL;
    ct__slab_give(&t->function_slab, &f->slot);
}

static ct__saying **saying_of(ct__saying **at, uint32_t code, uint32_t detail) {
    while (*at != NULL && !((*at)->code == code && (*at)->detail == detail))
        at = &(*at)->next;
    return at;
}

int ct_function_set_refusal(ct_table *t, uint64_t function, uint32_t code, uint32_t detail, uint32_t grpc_status,
                            const uint8_t *message, uint32_t message_len, const uint8_t *problem, uint32_t problem_len) {
    ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    if (message_len > CT_REFUSAL_BYTES_MAX || problem_len > CT_REFUSAL_BYTES_MAX)
        return CT_E_TOOBIG;
    if (code >= CT_STATUS_MAX || detail > CT_DETAIL_CPU)
        return CT_E_RANGE;
    ct__saying *said = NULL;
    if (message_len > 0 || problem_len > 0) {
        said = malloc(sizeof *said + message_len + problem_len);
        if (said == NULL)
            return -ENOMEM;
        *said = (ct__saying){.code = code, .detail = detail, .grpc_status = grpc_status, .message_len = message_len,
                             .problem_len = problem_len};
        if (message_len > 0)
            memcpy(said->bytes, message, message_len);
        if (problem_len > 0)
            memcpy(said->bytes + message_len, problem, problem_len);
    }
    ct__saying **at = saying_of(&f->sayings, code, detail);
    ct__saying *old = *at;
    if (old != NULL) {
        *at = old->next;
        free(old);
    }
    if (said != NULL) {
        said->next = f->sayings;
        f->sayings = said;
    }
    return 0;
}

int ct__function_refusal(const ct_table *t, uint64_t function, uint32_t code, uint32_t detail, ct__refusal *out) {
    const ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    ct__saying *first = f->sayings;
    ct__saying *said = *saying_of(&first, code, detail);
    if (said == NULL && detail != CT_DETAIL_NONE)
        said = *saying_of(&first, code, CT_DETAIL_NONE);
    if (said == NULL)
        return 0;
    *out = (ct__refusal){.grpc_status = said->grpc_status, .message_len = said->message_len,
                         .problem_len = said->problem_len, .message = said->bytes,
                         .problem = said->bytes + said->message_len};
    return 1;
}

static void stats_of(const ct__function *f, ct_function_stats *out) {
    *out = (ct_function_stats){.function = ct__handle(&f->slot), .booting = f->by_state[CT_MEMBER_BOOTING],
                               .idle = f->by_state[CT_MEMBER_IDLE], .busy = f->by_state[CT_MEMBER_BUSY],
                               .draining = f->by_state[CT_MEMBER_DRAINING], .dead = f->by_state[CT_MEMBER_DEAD],
                               .leases = f->leases, .waiting = f->waiting, .current = f->current,
                               .booting_current = f->booting, .breaker = f->breaker.state};
}

int ct_function_stats_get(const ct_table *t, uint64_t function, ct_function_stats *out) {
    const ct__function *f = ct__function_at(t, function);
    if (f == NULL)
        return -ESTALE;
    stats_of(f, out);
    return 0;
}

size_t ct_function_stats_list(const ct_table *t, uint64_t *cursor, ct_function_stats *out, size_t cap) {
    size_t count = 0;
    uint64_t at = *cursor;
    for (; at < t->function_slab.fresh && count < cap; at++)
        if (t->functions[at].slot.is_used && ct__linked(&t->functions[at].active))
            stats_of(&t->functions[at], &out[count++]);
    *cursor = at;
    return count;
}
