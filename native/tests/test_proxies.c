#include "edge/proxies.h"

#include "ct_test.h"

#include <arpa/inet.h>
#include <stdio.h>

static ct__span span(const char *text) {
    return (ct__span){(const uint8_t *)text, strlen(text)};
}

static const char *shown(const ct__address *address) {
    static char text[INET6_ADDRSTRLEN];
    const ct__span packed = ct__address_packed(address);
    CHECK(inet_ntop(packed.len == 4 ? AF_INET : AF_INET6, packed.at, text, sizeof text) != NULL);
    return text;
}

static void addresses_in_all_their_forms(void) {
    static const struct {
        const char *text;
        const char *is; /* NULL: none */
    } CASES[] = {
        {"1.2.3.4", "1.2.3.4"},
        {" \t1.2.3.4 ", "1.2.3.4"},
        {"1.2.3.4:80", "1.2.3.4"},
        {"1.2.3.4:123456", NULL},
        {"1.2.3.4:", NULL},
        {"1.2.3.4:8x", NULL},
        {"1.2.3", NULL},
        {"01.2.3.4", NULL},
        {"1.2.3.4.5", NULL},
        {"2001:db8::1", "2001:db8::1"},
        {"[2001:db8::1]", "2001:db8::1"},
        {"[2001:db8::1]:443", "2001:db8::1"},
        {"[2001:db8::1]443", NULL},
        {"[2001:db8::1", NULL},
        {"[1.2.3.4]", NULL},
        {"::ffff:1.2.3.4", "1.2.3.4"},
        {"::", "::"},
        {"fe80::1%eth0", NULL},
        {"1:2", NULL},
        {"", NULL},
        {"[]", NULL},
        {"unknown", NULL},
        {"_hidden", NULL},
        {"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__address address;
        CHECK_INT(ct__address_read(span(CASES[i].text), &address), CASES[i].is != NULL);
        if (CASES[i].is != NULL)
            CHECK_TEXT(shown(&address), CASES[i].is);
    }
    ct__address address;
    CHECK(!ct__address_read((ct__span){(const uint8_t *)"1.2.3.4\0x", 9}, &address));
}

static ct_edge_net net(const char *base, uint32_t bits) {
    ct_edge_net made = {.bits = bits};
    ct__address address;
    CHECK(ct__address_read(span(base), &address));
    memcpy(made.base, address.bytes, sizeof made.base);
    return made;
}

static void networks(void) {
    const ct_edge_net nets[] = {net("10.0.0.0", 96 + 8), net("192.168.4.0", 96 + 22), net("fd00::", 8), net("1.1.1.1", 128)};
    static const struct {
        const char *text;
        bool is_in;
    } CASES[] = {{"10.255.0.1", true},   {"11.0.0.1", false}, {"192.168.7.255", true}, {"192.168.8.0", false},
                 {"fdff::1", true},      {"fe00::1", false},  {"1.1.1.1", true},       {"1.1.1.2", false},
                 {"::ffff:10.0.0.1", true}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        ct__address address;
        CHECK(ct__address_read(span(CASES[i].text), &address));
        CHECK_INT(ct__address_in(&address, nets, sizeof nets / sizeof *nets), CASES[i].is_in);
        CHECK(!ct__address_in(&address, nets, 0));
    }
    const ct_edge_net all = net("::", 0);
    ct__address address;
    CHECK(ct__address_read(span("9.9.9.9"), &address) && ct__address_in(&address, &all, 1));
}

static void the_client_behind_proxies_of_ours(void) {
    static const struct {
        const char *fields;
        const char *client;
    } CASES[] = {
        {"", "10.0.0.1"},
        {"X-Forwarded-For: 1.2.3.4\r\n", "1.2.3.4"},
        {"x-forwarded-for: 6.6.6.6, 1.2.3.4\r\n", "1.2.3.4"}, /* what a client says before is its own word */
        {"X-Forwarded-For: 1.2.3.4, 10.0.0.2,10.0.0.3\r\n", "1.2.3.4"},
        {"X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-For: 10.0.0.2\r\n", "1.2.3.4"},
        {"X-Forwarded-For: 10.0.0.9, 10.0.0.2\r\n", "10.0.0.9"},
        {"X-Forwarded-For: 1.2.3.4, unknown\r\n", "10.0.0.1"},
        {"X-Forwarded-For: 1.2.3.4, x, 10.0.0.2\r\n", "10.0.0.2"},
        {"X-Forwarded-For: 1.2.3.4,\r\n", "10.0.0.1"},
        {"X-Forwarded-For: [2001:db8::1]:77\r\n", "2001:db8::1"},
        {"Forwarded: for=1.2.3.4\r\nX-Forwarded-Host: 1.2.3.4\r\n", "10.0.0.1"},
    };
    const ct_edge_net ours = net("10.0.0.0", 96 + 8);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nHost: h\r\n%s\r\n", CASES[i].fields);
        static ct__http1_head head;
        ct__http1_scan scan = {0};
        CHECK_INT(ct__http1_request(&scan, (const uint8_t *)text, strlen(text), &head), 0);
        ct__address address;
        CHECK(ct__address_read(span("10.0.0.1"), &address));
        ct__address_behind(&head, &ours, 1, &address);
        CHECK_TEXT(shown(&address), CASES[i].client);
    }
}

int main(void) {
    static const ct_case cases[] = {CASE(addresses_in_all_their_forms), CASE(networks), CASE(the_client_behind_proxies_of_ours)};
    return RUN("proxies", cases);
}
