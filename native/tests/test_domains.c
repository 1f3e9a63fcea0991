#include "edge/domains.h"

#include "ct_test.h"

static ct__span text(const char *literal) {
    return (ct__span){(const uint8_t *)literal, strlen(literal)};
}

static int set(ct__domains *domains, const char *names) {
    return ct__domains_set(domains, (const uint8_t *)names, strlen(names));
}

static void a_host_is_found_however_it_is_written(void) {
    ct__domains domains = {0};
    CHECK(!ct__domains_have(&domains, text("shop.example.org")));
    CHECK_INT(set(&domains, "*.example.com\na.org\nshop.example.org\n"), 0);
    static const char *const THEIRS[] = {"shop.example.org", "SHOP.Example.ORG", "shop.example.org.", "shop.example.org:8080",
                                         "shop.example.org.:80", "shop.example.org:", "a.org", "x.example.com", "X.EXAMPLE.COM:1"};
    for (size_t i = 0; i < sizeof THEIRS / sizeof *THEIRS; i++)
        CHECK(ct__domains_have(&domains, text(THEIRS[i])));
    static const char *const OURS[] = {"", ":", ".", "localhost", "example.com", "y.x.example.com", ".example.com", "shop.example.org..",
                                       "shop.example.or", "shop.example.orgs", "[::1]:9000", "127.0.0.1:9000", "shop.example.\xf6rg",
                                       "shop.example.org:\xff", "b"};
    for (size_t i = 0; i < sizeof OURS / sizeof *OURS; i++)
        CHECK(!ct__domains_have(&domains, text(OURS[i])));
    CHECK(!ct__domains_have(&domains, (ct__span){NULL, 0}));
    char longest[300];
    memset(longest, 'a', sizeof longest);
    CHECK(!ct__domains_have(&domains, (ct__span){(const uint8_t *)longest, sizeof longest}));
    ct__domains_fini(&domains);
}

static void a_new_set_takes_the_place_of_the_old(void) {
    ct__domains domains = {0};
    CHECK_INT(set(&domains, "a.org\n"), 0);
    CHECK_INT(set(&domains, "b.org\n"), 0);
    CHECK(!ct__domains_have(&domains, text("a.org")) && ct__domains_have(&domains, text("b.org")));
    CHECK_INT(set(&domains, ""), 0);
    CHECK(!ct__domains_have(&domains, text("b.org")));
    CHECK_INT((int)domains.count, 0);
    ct__domains_fini(&domains);
}

static void what_can_not_be_kept_makes_every_host_one(void) {
    static const char *const BAD[] = {"a.org", "\n", "b.org\na.org\n", "a.org\na.org\n", "a.org\n\n"};
    for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++) {
        ct__domains domains = {0};
        CHECK_INT(set(&domains, BAD[i]), CT_E_RANGE);
        CHECK(ct__domains_have(&domains, text("localhost")));
        CHECK_INT(set(&domains, "a.org\n"), 0);
        CHECK(!ct__domains_have(&domains, text("localhost")));
        ct__domains_fini(&domains);
    }
}

static void a_long_name_is_out_of_range(void) {
    char names[256];
    memset(names, 'a', sizeof names);
    names[254] = '\n';
    ct__domains domains = {0};
    CHECK_INT(ct__domains_set(&domains, (const uint8_t *)names, 255), CT_E_RANGE);
    names[253] = '\n';
    CHECK_INT(ct__domains_set(&domains, (const uint8_t *)names, 254), 0);
    CHECK(ct__domains_have(&domains, (ct__span){(const uint8_t *)names, 253}));
    ct__domains_fini(&domains);
}

int main(void) {
    static const ct_case cases[] = {CASE(a_host_is_found_however_it_is_written), CASE(a_new_set_takes_the_place_of_the_old),
                                    CASE(what_can_not_be_kept_makes_every_host_one), CASE(a_long_name_is_out_of_range)};
    return RUN("domains", cases);
}
