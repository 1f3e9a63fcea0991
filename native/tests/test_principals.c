#include "edge/principals.h"

#include "ct_test.h"

static const uint8_t SECRET[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

static const uint8_t *bytes(const char *text) {
    return (const uint8_t *)text;
}

static const char *token_of(ct__principals *table, const char *key, uint64_t now_ns) {
    static char out[64];
    const ct__principal *p = ct__principals_get(table, bytes(key), strlen(key), now_ns);
    if (p == NULL)
        return "none";
    memcpy(out, p->bytes + p->key_len, p->token_len);
    out[p->token_len] = '\0';
    return out;
}

static void put(ct__principals *table, const char *key, const char *token, uint64_t renew_ns, uint64_t until_ns) {
    CHECK_INT(ct__principals_put(table, bytes(key), strlen(key), bytes(token), strlen(token), NULL, 0, renew_ns, until_ns), 0);
}

static void the_hash_is_siphash(void) { /* the vectors of its paper's reference */
    uint8_t data[15];
    for (uint8_t i = 0; i < sizeof data; i++)
        data[i] = i;
    CHECK(ct__siphash(SECRET, data, 15) == 0xa129ca6149be45e5);
    CHECK(ct__siphash(SECRET, data, 0) == 0x726fdb47dd0e0e31);
    CHECK(ct__siphash(SECRET, data, 8) == 0x93f5f5799a932462);
}

static void who_was_put_is_found_until_it_is_over(void) {
    ct__principals table;
    CHECK_INT(ct__principals_init(&table, SECRET), 0);
    put(&table, "a", "A", 10, 20);
    CHECK_TEXT(token_of(&table, "a", 1), "none"); /* nova was not heard */
    table.fresh_ns = 15;
    CHECK_TEXT(token_of(&table, "a", 1), "A");
    CHECK_TEXT(token_of(&table, "b", 1), "none");
    CHECK_TEXT(token_of(&table, "", 1), "none");
    CHECK_TEXT(token_of(&table, "a", 15), "none"); /* cut off from nova */
    table.fresh_ns = UINT64_MAX;
    CHECK_TEXT(token_of(&table, "a", 12), "none"); /* this one renews it */
    CHECK_TEXT(token_of(&table, "a", 13), "A");    /* and the others go on meanwhile */
    CHECK_TEXT(token_of(&table, "a", 20), "none");
    put(&table, "a", "AA", 30, 40);
    CHECK_TEXT(token_of(&table, "a", 20), "AA");
    CHECK_INT(table.count, 1);
    ct__principals_clear(&table);
    CHECK_TEXT(token_of(&table, "a", 20), "none");
    ct__principals_fini(&table);
    ct__principals_fini(&table);
}

static void a_full_table_begins_anew(void) {
    ct__principals table;
    CHECK_INT(ct__principals_init(&table, SECRET), 0);
    table.fresh_ns = UINT64_MAX;
    char key[16];
    for (int i = 0; i <= CT__PRINCIPALS_MAX; i++) {
        (void)snprintf(key, sizeof key, "%d", i);
        put(&table, key, key, UINT64_MAX, UINT64_MAX);
        CHECK_TEXT(token_of(&table, key, 1), key);
    }
    CHECK_INT(table.count, 1);
    static const uint8_t LONG[CT__PRINCIPAL_TOKEN_BYTES + 1];
    CHECK_INT(ct__principals_put(&table, LONG, CT__PRINCIPAL_KEY_BYTES + 1, LONG, 1, NULL, 0, 1, 1), CT_E_TOOBIG);
    CHECK_INT(ct__principals_put(&table, LONG, 1, LONG, sizeof LONG, NULL, 0, 1, 1), CT_E_TOOBIG);
    ct__principals_fini(&table);
}

static void one_who_may_invoke_some_functions_may_invoke_no_others(void) {
    ct__principals table;
    static const uint8_t secret[16] = {1}, rule[CT_RULE_BYTES_MAX + 1] = {1, 0, 2, 'a', '*'};
    CHECK_INT(ct__principals_init(&table, secret), 0);
    table.fresh_ns = UINT64_MAX;
    const uint8_t *key = (const uint8_t *)"kx", *token = (const uint8_t *)"token";
    CHECK_INT(ct__principals_put(&table, key, 2, token, 5, rule, 5, UINT64_MAX, UINT64_MAX), 0);
    CHECK_INT(ct__principals_put(&table, key, 2, token, 5, rule, sizeof rule, 1, 1), CT_E_TOOBIG);
    const ct__principal *who = ct__principals_get(&table, key, 2, 1);
    CHECK(who != NULL);
    CHECK(ct__principal_may(who, (const uint8_t *)"ab", 2));
    CHECK(!ct__principal_may(who, (const uint8_t *)"b", 1));
    CHECK_INT(ct__principals_put(&table, key, 2, token, 5, NULL, 0, UINT64_MAX, UINT64_MAX), 0);
    CHECK(ct__principal_may(ct__principals_get(&table, key, 2, 1), (const uint8_t *)"b", 1));
    ct__principals_fini(&table);
}

int main(void) {
    static const ct_case cases[] = {CASE(the_hash_is_siphash), CASE(who_was_put_is_found_until_it_is_over), CASE(a_full_table_begins_anew),
                                    CASE(one_who_may_invoke_some_functions_may_invoke_no_others)};
    return RUN("principals", cases);
}
