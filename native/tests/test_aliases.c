#include "table/table.h"

#include "ct_test.h"

#include <errno.h>
#include <stdbool.h>

static ct_table *made(void) {
    static const uint64_t bounds[] = {1};
    const ct_table_options options = {.idle_ttl_ns = 1, .recheck_ns = 1, .max_functions = 8, .max_instances = 2, .max_boots = 1,
                                      .max_calls = 4, .max_buckets = 4, .max_identities = 4, .max_records = 4, .max_meters = 1,
                                      .bucket_count = 1, .bucket_ns = bounds, .hash_seed = 7};
    return ct_table_new(&options);
}

static uint64_t put(ct_table *t, uint32_t flags) {
    const ct_function_row row = {.tenant = (const uint8_t *)"t", .space = (const uint8_t *)"n", .name = (const uint8_t *)"f",
                                 .tenant_len = 1, .space_len = 1, .name_len = 1, .flags = CT_FUNCTION_KEPT | flags,
                                 .max_replicas = 1, .instance_concurrency = 1};
    uint64_t function = 0;
    CHECK_INT(ct_function_put(t, &row, 0, &function), 0);
    return function;
}

static int alias(ct_table *t, uint64_t function, const char *name, const ct_share *shares, uint32_t count, bool is_sticky) {
    return ct_alias_put(t, function, (const uint8_t *)name, (uint32_t)strlen(name), shares, count, is_sticky);
}

static uint64_t pick(ct_table *t, uint64_t function, const char *name, const char *key, uint64_t number) {
    return ct_alias_pick(t, function, (const uint8_t *)name, (uint32_t)strlen(name), (const uint8_t *)key, (uint32_t)strlen(key),
                         number);
}

static void a_name_leads_to_versions_by_weight(void) {
    ct_table *t = made();
    const uint64_t live = put(t, 0), old = put(t, CT_FUNCTION_PINNED), new = put(t, CT_FUNCTION_PINNED);
    CHECK(ct_function_find(t, (const uint8_t *)"t", 1, (const uint8_t *)"n", 1, (const uint8_t *)"f", 1) == live);
    const ct_share shares[] = {{old, 90}, {new, 10}};
    CHECK_INT(alias(t, live, "prod", shares, 2, false), 0);
    uint32_t news = 0;
    for (uint64_t number = 0; number < 1000; number++)
        news += pick(t, live, "prod", "", number) == new ? 1 : 0;
    CHECK_INT(news, 100);
    CHECK(pick(t, live, "prod", "", 89) == old && pick(t, live, "prod", "", 90) == new);
    CHECK(pick(t, live, "prod", "key", 90) == new); /* it is not sticky */
    CHECK(pick(t, live, "pro", "", 0) == 0 && pick(t, live, "", "", 0) == 0 && pick(t, old, "prod", "", 0) == 0);

    const ct_share one[] = {{old, 0}, {new, 1}};
    CHECK_INT(alias(t, live, "prod", one, 2, false), 0);
    CHECK(pick(t, live, "prod", "", 0) == new);
    CHECK_INT(alias(t, live, "other", one, 2, false), 0);
    CHECK_INT(alias(t, live, "prod", NULL, 0, false), 0);
    CHECK_INT(alias(t, live, "prod", NULL, 0, false), 0); /* there is none any more */
    CHECK(pick(t, live, "prod", "", 0) == 0 && pick(t, live, "other", "", 0) == new);
    ct_table_free(t);
}

static void a_key_gets_one_version(void) {
    ct_table *t = made();
    const uint64_t live = put(t, 0), old = put(t, CT_FUNCTION_PINNED), new = put(t, CT_FUNCTION_PINNED);
    const ct_share half[] = {{old, 50}, {new, 50}}, most[] = {{old, 20}, {new, 80}};
    bool was_new[256];
    uint32_t news = 0;
    CHECK_INT(alias(t, live, "prod", half, 2, true), 0);
    for (int i = 0; i < 256; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "u%d", i);
        const uint64_t first = pick(t, live, "prod", key, 1);
        was_new[i] = first == new;
        news += was_new[i] ? 1 : 0;
        CHECK(pick(t, live, "prod", key, 99) == first);
    }
    CHECK(news > 90 && news < 166);
    CHECK(pick(t, live, "prod", "", 1) == old && pick(t, live, "prod", "", 99) == new); /* without a key: by the number */
    CHECK_INT(alias(t, live, "prod", most, 2, true), 0);
    for (int i = 0; i < 256; i++) { /* who has the growing version keeps it */
        char key[16];
        (void)snprintf(key, sizeof key, "u%d", i);
        CHECK(!was_new[i] || pick(t, live, "prod", key, 0) == new);
    }
    ct_table_free(t);
}

static void what_makes_no_sense_changes_nothing(void) {
    ct_table *t = made();
    const uint64_t live = put(t, 0), old = put(t, CT_FUNCTION_PINNED);
    const ct_share good[] = {{old, 1}}, none[] = {{old, 0}}, much[] = {{old, CT_WEIGHT_MAX + 1}}, stale[] = {{old + 1, 1}};
    ct_share many[CT_SHARES_MAX + 1];
    for (uint32_t i = 0; i <= CT_SHARES_MAX; i++)
        many[i] = good[0];
    char name[CT_ALIAS_BYTES_MAX + 2] = {0};
    memset(name, 'x', CT_ALIAS_BYTES_MAX + 1);
    CHECK_INT(alias(t, live, "prod", good, 1, false), 0);
    CHECK_INT(alias(t, live, "prod", none, 1, false), CT_E_RANGE);
    CHECK_INT(alias(t, live, "prod", much, 1, false), CT_E_RANGE);
    CHECK_INT(alias(t, live, "prod", stale, 1, false), -ESTALE);
    CHECK_INT(alias(t, live, "prod", many, CT_SHARES_MAX + 1, false), CT_E_TOOBIG);
    CHECK_INT(alias(t, live, "", good, 1, false), CT_E_TOOBIG);
    CHECK_INT(alias(t, live, name, good, 1, false), CT_E_TOOBIG);
    const uint64_t none_such = live + ((uint64_t)1 << 40);
    CHECK_INT(alias(t, none_such, "prod", good, 1, false), -ESTALE);
    CHECK(pick(t, live, "prod", "", 5) == old && pick(t, none_such, "prod", "", 5) == 0);
    CHECK_INT(ct_function_remove(t, old, 0), 0);
    ct_effect effect;
    CHECK_INT(ct_effect_next(t, CT_TAKER_PYTHON, &effect), 1);
    CHECK_INT(effect.kind, CT_EFFECT_DROP);
    CHECK(pick(t, live, "prod", "", 5) == 0); /* its version is gone */
    ct_table_free(t);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_name_leads_to_versions_by_weight), CASE(a_key_gets_one_version),
                                    CASE(what_makes_no_sense_changes_nothing)};
    return RUN("aliases", cases);
}
