#define _GNU_SOURCE
#include "tls_rig.h"

static void expect(wish server, wish client, int server_error, int client_error, const char *reason) {
    rig g;
    open_rig(&g, server, client);
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0);
    UNTIL(g.r, g.server.ends == 1 || g.server.bytes == 5);
    CHECK_INT(g.server.error, server_error);
    ct_event told;
    CHECK_INT(ct_reactor_take(g.r, &told, 1), server_error != 0);
    if (server_error != 0) {
        CHECK_INT(told.kind, CT_EVENT_TLS_REFUSED);
        CHECK(told.status <= CT_E_TLS && told.len > 0);
        ct_event_done(&told);
    }
    if (g.server.ends == 1)
        ct__conn_close(&g.server.conn); /* as its owner does at an error */
    UNTIL(g.r, g.client.ends == 1 || server_error == 0);
    CHECK_INT(g.client.error, client_error);
    CHECK_TEXT(ct__conn_tls_reason(&g.client.conn), reason);
    close_rig(&g);
}

static void a_server_must_be_who_it_should_be(void) {
    expect((wish){0}, (wish){0}, 0, 0, "");
    expect((wish){0}, (wish){.name = "127.0.0.1"}, 0, 0, "");
    expect((wish){0}, (wish){.trusts = &other_ca}, CT_E_CERT_REFUSED, CT_E_CERT_UNKNOWN, "unable to get local issuer certificate");
    expect((wish){.shows = &expired_identity}, (wish){0}, CT_E_CERT_REFUSED, CT_E_CERT_EXPIRED, "certificate has expired");
    expect((wish){0}, (wish){.name = "zenith.example.org"}, CT_E_CERT_REFUSED, CT_E_CERT_NAME,
           "hostname mismatch");
    expect((wish){0}, (wish){.name = "10.0.0.1"}, CT_E_CERT_REFUSED, CT_E_CERT_NAME, "IP address mismatch");
}

static void a_client_must_be_known_where_that_is_wanted(void) {
    const wish wants = {.trusts = &ca};
    expect(wants, (wish){.shows = &client_identity}, 0, 0, "");
    expect(wants, (wish){0}, CT_E_CERT_MISSING, CT_E_CERT_REFUSED, "tlsv13 alert certificate required");
    expect(wants, (wish){.shows = &stranger_identity}, CT_E_CERT_UNKNOWN, CT_E_CERT_REFUSED, "tlsv1 alert unknown ca");
}

static void the_protocol_must_be_shared(void) {
    rig g;
    open_rig(&g, (wish){.protocol = CT_TLS_HTTP1}, (wish){0});
    UNTIL(g.r, g.server.ends == 1 && g.client.ends == 1);
    CHECK_INT(g.server.error, CT_E_TLS);
    CHECK_INT(g.client.error, CT_E_TLS);
    CHECK_TEXT(ct__conn_tls_reason(&g.client.conn), "tlsv1 alert no application protocol");
    close_rig(&g);
}

static void each_host_has_its_certificate(void) {
    /* The usual certificate is not for these names: only the host's own passes. */
    expect((wish){0}, (wish){.name = "API.example.org"}, 0, 0, "");
    expect((wish){0}, (wish){.name = "a.wild.example.org"}, 0, 0, "");
    expect((wish){0}, (wish){.name = "a.b.wild.example.org"}, CT_E_CERT_REFUSED, CT_E_CERT_NAME, "hostname mismatch");
}

static void new_certificates_leave_connections_alone(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    g.server.is_echoing = true;
    UNTIL(g.r, ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    const ct_tls_identity renewed = identity_of(&expired_identity, "");
    ct_tls_settings settings = {
        .role = CT_TLS_SERVER, .protocol = CT_TLS_H2, .handshake_ms = 1000, .identities = &renewed, .identity_count = 1};
    ct_tls_fault fault;
    int pair[2];
    two_sockets(pair);
    heard early;
    begin(&early, g.r, pair[0], g.server_tls); /* in its handshake while its settings are replaced */
    CHECK_INT(ct_tls_replace(g.server_tls, &settings, &fault), 0);
    heard client;
    begin(&client, g.r, pair[1], g.client_tls);
    UNTIL(g.r, ct__conn_is_secured(&client.conn));
    ct__conn_close(&client.conn);
    ct__conn_close(&early.conn);
    two_sockets(pair);
    begin(&early, g.r, pair[0], g.server_tls);
    begin(&client, g.r, pair[1], g.client_tls);
    UNTIL(g.r, client.ends == 1);
    CHECK_INT(client.error, CT_E_CERT_EXPIRED);
    ct__conn_close(&client.conn);
    ct__conn_close(&early.conn);
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0);
    UNTIL(g.r, g.client.bytes == 5);
    settings.protocol = CT_TLS_HTTP1;
    CHECK_INT(ct_tls_replace(g.server_tls, &settings, &fault), CT_E_RANGE);
    ct_tls_free(g.server_tls); /* the connection outlives it */
    g.server_tls = NULL;
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0);
    UNTIL(g.r, g.client.bytes == 10);
    close_rig(&g);
}

/* ---- settings ---- */

static int faulty(ct_tls_identity first, ct_tls_identity second, const char *authorities, ct_tls_fault *fault) {
    const ct_tls_identity identities[] = {first, second};
    const ct_tls_settings settings = {.role = CT_TLS_SERVER, .protocol = CT_TLS_H2, .handshake_ms = 1, .identities = identities,
                                      .identity_count = 2, .authorities = (const uint8_t *)authorities,
                                      .authorities_len = authorities != NULL ? strlen(authorities) : 0};
    ct_tls *tls = NULL;
    const int result = ct_tls_new(&settings, &tls, fault);
    ct_tls_free(tls);
    return result;
}

#define FAULT(first, second, authorities, want_part, want_flaw, want_identity)                                         \
    do {                                                                                                               \
        ct_tls_fault fault_;                                                                                           \
        CHECK_INT(faulty(first, second, authorities, &fault_), CT_E_MALFORMED);                                        \
        CHECK_INT(fault_.part, want_part);                                                                             \
        CHECK_INT(fault_.flaw, want_flaw);                                                                             \
        CHECK_INT(fault_.identity, want_identity);                                                                     \
    } while (0)

static void what_is_wrong_is_said(void) {
    const ct_tls_identity good = identity_of(&server_identity, ""), api = identity_of(&api_identity, "api");
    ct_tls_identity swapped = good, stolen = api, broken = good, locked = good, nameless = api, keyless = good;
    swapped.chain = good.key, swapped.chain_len = good.key_len;
    stolen.key = good.key, stolen.key_len = good.key_len;
    broken.chain_len = good.chain_len / 2;
    nameless.host = "";
    keyless.key = good.chain, keyless.key_len = good.chain_len;
    BIO *bio = BIO_new(BIO_s_mem());
    uint8_t text[4096];
    CHECK(PEM_write_bio_PrivateKey(bio, server_identity.key, EVP_aes_128_cbc(), (const unsigned char *)"pass", 4, NULL, NULL) == 1);
    locked.key_len = text_of(bio, text);
    locked.key = text;
    FAULT(swapped, api, NULL, CT_TLS_PART_CHAIN, CT_TLS_FLAW_ABSENT, 0);
    FAULT(broken, api, NULL, CT_TLS_PART_CHAIN, CT_TLS_FLAW_BROKEN, 0);
    FAULT(keyless, api, NULL, CT_TLS_PART_KEY, CT_TLS_FLAW_ABSENT, 0);
    FAULT(locked, api, NULL, CT_TLS_PART_KEY, CT_TLS_FLAW_LOCKED, 0);
    FAULT(good, stolen, NULL, CT_TLS_PART_KEY, CT_TLS_FLAW_MISMATCH, 1);
    FAULT(good, api, "", CT_TLS_PART_AUTHORITIES, CT_TLS_FLAW_ABSENT, 0);
    ct_tls_fault fault;
    CHECK_INT(faulty(good, nameless, NULL, &fault), CT_E_RANGE);
    CHECK_INT(faulty(good, api, NULL, &fault), 0);
    int64_t from_s, until_s;
    CHECK_INT(ct_tls_validity(good.chain, good.chain_len, &from_s, &until_s), 0);
    CHECK(until_s - from_s >= 86400 + 3600 - 5 && until_s - from_s <= 86400 + 3600 + 5);
    CHECK_INT(ct_tls_validity(good.key, good.key_len, &from_s, &until_s), CT_E_MALFORMED);
    CHECK_INT(ERR_peek_error(), 0);
}

/* ---- without memory ---- */

static long allocations_left = -1; /* -1: no end to them */

static bool is_out(void) {
    if (allocations_left == 0)
        return true;
    if (allocations_left > 0)
        allocations_left--;
    return false;
}

static void *scarce_malloc(size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    return is_out() ? NULL : malloc(size);
}

static void *scarce_realloc(void *at, size_t size, const char *file, int line) {
    (void)file;
    (void)line;
    return is_out() ? NULL : realloc(at, size);
}

static void plain_free(void *at, const char *file, int line) {
    (void)file;
    (void)line;
    free(at);
}

static bool talks(rig *g) {
    g->server.is_echoing = true;
    CHECK_INT(ct__conn_write(&g->client.conn, "hello", 5), 0);
    while (g->client.bytes < 5 && g->server.ends == 0 && g->client.ends == 0)
        CHECK(turned(g->r, 10000));
    return g->client.bytes == 5;
}

static void want_of_memory_costs_a_connection_at_most(void) {
    bool is_whole = false;
    for (long count = 0; !is_whole; count += count < 300 ? 3 : 41) {
        CHECK(count < 20000);
        rig g = {.r = ct_reactor_new()};
        g.server_tls = tls_of(CT_TLS_SERVER, (wish){0});
        g.client_tls = tls_of(CT_TLS_CLIENT, (wish){0});
        int pair[2];
        two_sockets(pair);
        CHECK_INT(ct__conn_open(&g.server.conn, g.r, pair[0], false, &CALLS), 0);
        CHECK_INT(ct__conn_open(&g.client.conn, g.r, pair[1], false, &CALLS), 0);
        g.server.is_hungry = g.client.is_hungry = true;
        allocations_left = count;
        const int server = ct__conn_secure(&g.server.conn, g.server_tls), client = ct__conn_secure(&g.client.conn, g.client_tls);
        CHECK((server == 0 || server == -ENOMEM) && (client == 0 || client == -ENOMEM));
        if (server == 0 && client == 0)
            is_whole = talks(&g) && allocations_left != 0;
        allocations_left = -1;
        close_rig(&g);
    }
    for (long count = 0, result = -1; result != 0; count += 7) {
        const ct_tls_identity good = identity_of(&server_identity, ""), api = identity_of(&api_identity, "api");
        ct_tls_fault fault;
        allocations_left = count;
        result = faulty(good, api, NULL, &fault);
        allocations_left = -1;
        CHECK(count < 20000);
    }
}

int main(void) {
    CHECK_INT(CRYPTO_set_mem_functions(scarce_malloc, scarce_realloc, plain_free), 1);
    issue_all();
    static const ct_case cases[] = {
        CASE(a_server_must_be_who_it_should_be), CASE(a_client_must_be_known_where_that_is_wanted),
        CASE(the_protocol_must_be_shared), CASE(each_host_has_its_certificate),
        CASE(new_certificates_leave_connections_alone), CASE(what_is_wrong_is_said),
        CASE(want_of_memory_costs_a_connection_at_most)};
    const int result = RUN("tls_context", cases);
    forget_all();
    return result;
}
