/* Which functions a rule allows. That it is what Python says of the same patterns, tests/property shows. */
#include "base/rule.h"
#include "ct_test.h"

static bool allows(const char *rule, size_t len, const char *name) {
    return ct__rule_allows((const uint8_t *)rule, len, (const uint8_t *)name, strlen(name));
}

static void patterns_are_of_the_whole_name(void) {
    const char rule[] = "\3\0\5pay-*\0\3a?c\0\7*-x*-y*";
    const size_t len = sizeof rule - 1;
    CHECK(allows(rule, len, "pay-"));
    CHECK(allows(rule, len, "pay-out"));
    CHECK(!allows(rule, len, "xpay-out"));
    CHECK(allows(rule, len, "abc"));
    CHECK(!allows(rule, len, "abcd"));
    CHECK(!allows(rule, len, "ac"));
    CHECK(allows(rule, len, "1-x-x2-y3"));
    CHECK(!allows(rule, len, "1-y-x"));
    CHECK(!allows(rule, len, ""));
}

static void what_is_forbidden_is_not_allowed(void) {
    const char rule[] = "\1\0\1*\0\3b-*";
    CHECK(allows(rule, sizeof rule - 1, "a-1"));
    CHECK(!allows(rule, sizeof rule - 1, "b-1"));
    const char none[] = "\0\0\1x";
    CHECK(!allows(none, sizeof none - 1, "a"));
    CHECK(allows(NULL, 0, "a"));
}

static void a_set_has_a_bit_of_each_of_its_bytes(void) {
    uint8_t rule[3 + 17] = {1, 0, 17, '['};
    rule[4 + ('q' >> 3)] |= (uint8_t)(1 << ('q' & 7));
    CHECK(ct__rule_allows(rule, sizeof rule, (const uint8_t *)"q", 1));
    CHECK(!ct__rule_allows(rule, sizeof rule, (const uint8_t *)"r", 1));
    CHECK(!ct__rule_allows(rule, sizeof rule, (const uint8_t *)"qq", 2));
}

static void what_is_no_rule_and_what_is_no_name_is_refused(void) {
    CHECK(!allows("\1\0\1", 3, "a"));      /* cut off in a pattern */
    CHECK(!allows("\1\0", 2, "a"));        /* in a length */
    CHECK(!allows("\2\0\1*", 4, "a"));     /* one is missing */
    CHECK(!allows("\1\0\2[a", 5, "a"));    /* a set is cut off */
    CHECK(!allows("\1\0\1*\0", 5, "a"));
    CHECK(!allows("\1\0\1*", 4, "\xc3\xbc"));
}

int main(void) {
    static const ct_case cases[] = {
        CASE(patterns_are_of_the_whole_name),
        CASE(what_is_forbidden_is_not_allowed),
        CASE(a_set_has_a_bit_of_each_of_its_bytes),
        CASE(what_is_no_rule_and_what_is_no_name_is_refused),
    };
    return RUN("rule", cases);
}
