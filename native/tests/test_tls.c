#define _GNU_SOURCE
#include "tls_rig.h"

static issued ca, other_ca, server_identity, api_identity, expired_identity, client_identity, stranger_identity;

typedef struct wish {
    const issued *shows;   /* NULL: the usual one of a server, none of a client */
    const issued *trusts;  /* NULL: a server asks for nothing, a client trusts the usual authority */
    const char *name;
    uint32_t handshake_ms;
    uint32_t protocol;
} wish;

static ct_tls *tls_of(uint32_t role, wish w) {
    const bool is_server = role == CT_TLS_SERVER;
    const issued *shows = w.shows != NULL ? w.shows : &server_identity;
    const issued *trusts = w.trusts != NULL ? w.trusts : &ca;
    const ct_tls_identity identities[] = {identity_of(shows, ""), identity_of(&api_identity, "api.example.org"),
                                          identity_of(&api_identity, "*.wild.example.org")};
    const bool has_authorities = !is_server || w.trusts != NULL;
    const ct_tls_settings settings = {
        .role = role,
        .protocol = w.protocol != 0 ? w.protocol : CT_TLS_H2,
        .handshake_ms = w.handshake_ms != 0 ? w.handshake_ms : 10000,
        .ticket_s = is_server && w.trusts == NULL ? 3600 : 0,
        .identities = identities,
        .identity_count = is_server ? 3 : w.shows != NULL ? 1 : 0,
        .authorities = has_authorities ? trusts->chain : NULL,
        .authorities_len = has_authorities ? trusts->chain_len : 0,
        .server_name = w.name != NULL ? w.name : "comet.example.org",
    };
    ct_tls *tls = NULL;
    ct_tls_fault fault;
    CHECK_INT(ct_tls_new(&settings, &tls, &fault), 0);
    return tls;
}

typedef struct rig {
    ct_reactor *r;
    ct_tls *server_tls, *client_tls;
    heard server, client;
} rig;

static void open_rig(rig *g, wish server, wish client) {
    int pair[2];
    two_sockets(pair);
    g->r = ct_reactor_new();
    g->server_tls = tls_of(CT_TLS_SERVER, server);
    g->client_tls = tls_of(CT_TLS_CLIENT, client);
    begin(&g->server, g->r, pair[0], g->server_tls);
    begin(&g->client, g->r, pair[1], g->client_tls);
}

static void close_rig(rig *g) {
    ct__conn_close(&g->client.conn);
    ct__conn_close(&g->server.conn);
    ct_tls_free(g->client_tls);
    ct_tls_free(g->server_tls);
    ct_reactor_free(g->r);
}

static void two_ends_talk_and_part_in_good_order(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    g.server.is_echoing = true;
    CHECK(!ct__conn_is_secured(&g.client.conn));
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0); /* waits for the handshake */
    UNTIL(g.r, g.client.bytes == 5);
    CHECK(ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    CHECK_TEXT(ct__conn_alpn(&g.client.conn), "h2");
    CHECK_TEXT(ct__conn_alpn(&g.server.conn), "h2");
    CHECK_TEXT(ct__conn_server_name(&g.server.conn), "comet.example.org");
    ct__conn_finish(&g.client.conn);
    UNTIL(g.r, g.server.ends == 1);
    CHECK_INT(g.server.error, 0);
    CHECK_INT(ct__conn_write(&g.server.conn, "bye", 3), 0); /* the other way is open still */
    UNTIL(g.r, g.client.bytes == 8);
    ct__conn_finish(&g.server.conn);
    UNTIL(g.r, g.client.ends == 1);
    CHECK_INT(g.client.error, 0);
    for (int i = 0; i < 8 && turned(g.r, 0); i++) {}
    CHECK(!turned(g.r, 0)); /* an ended connection keeps nobody busy */
    CHECK_TEXT(ct__conn_tls_reason(&g.client.conn), "");
    close_rig(&g);
}

static void what_is_cut_off_looks_cut_off(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    CHECK_INT(ct__conn_write(&g.client.conn, "half", 4), 0);
    UNTIL(g.r, g.server.bytes == 4);
    while (turned(g.r, 20)) {} /* it has read the session ticket; with that unread the kernel would reset */
    ct__conn_close(&g.client.conn);
    UNTIL(g.r, g.server.ends == 1);
    CHECK_INT(g.server.error, CT_E_TLS_CUT);
    CHECK_INT(ct__conn_write(&g.server.conn, "x", 1), 0); /* taken and forgotten */
    CHECK(!turned(g.r, 0));
    close_rig(&g);
}

/* Much more than the sockets hold, both ways at once, and neither end holds more than it may. */
static void much_passes_both_ways_at_once(void) {
    enum { BLOCK = 3 << 20 };
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    const int tiny = 2048;
    (void)setsockopt(g.server.conn.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    (void)setsockopt(g.client.conn.fd, SOL_SOCKET, SO_SNDBUF, &tiny, sizeof tiny);
    uint8_t *block = malloc(BLOCK);
    CHECK(block != NULL);
    for (size_t i = 0; i < BLOCK; i++)
        block[i] = (uint8_t)(i * 2654435761U >> 13);
    for (size_t at = 0; at < BLOCK; at += BLOCK / 3) {
        CHECK_INT(ct__conn_write(&g.client.conn, block + at, BLOCK / 3), 0);
        CHECK_INT(ct__conn_write(&g.server.conn, block + at, BLOCK / 3), 0);
        for (int i = 0; i < 5; i++)
            (void)turned(g.r, 0);
    }
    CHECK(g.client.conn.is_full && g.server.conn.is_full);
    ct__conn_finish(&g.client.conn);
    ct__conn_finish(&g.server.conn);
    UNTIL(g.r, g.client.ends == 1 && g.server.ends == 1);
    CHECK_INT(g.client.error, 0);
    CHECK_INT(g.server.error, 0);
    const uint32_t sum = sum_of(0, block, BLOCK);
    CHECK_INT(g.client.bytes, BLOCK);
    CHECK_INT(g.client.sum, sum);
    CHECK_INT(g.server.bytes, BLOCK);
    CHECK_INT(g.server.sum, sum);
    CHECK_INT(g.client.drains, 1);
    CHECK_INT(g.server.drains, 1);
    free(block);
    close_rig(&g);
}

static void who_takes_nothing_is_sent_nothing(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    UNTIL(g.r, ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    g.server.is_hungry = false;
    g.server.conn.in_limit = 1000;
    static uint8_t block[4 << 20];
    CHECK_INT(ct__conn_write(&g.client.conn, block, sizeof block), 0);
    while (turned(g.r, 20)) {}
    CHECK(g.server.most_held >= 1000 && g.server.most_held < 1000 + (16 << 10));
    CHECK(g.client.conn.out.len > 3 << 20);
    g.server.is_hungry = true;
    on_received(&g.server.conn);
    ct__conn_pause(&g.server.conn);
    const size_t before = g.server.bytes;
    while (turned(g.r, 20)) {}
    CHECK_INT(g.server.bytes, before);
    ct__conn_resume(&g.server.conn);
    UNTIL(g.r, g.server.bytes == sizeof block);
    close_rig(&g);
}

/* What OpenSSL has taken off the socket is delivered without another word of the socket. */
static void records_that_came_together_are_all_delivered(void) {
    rig g;
    open_rig(&g, (wish){0}, (wish){0});
    UNTIL(g.r, ct__conn_is_secured(&g.client.conn) && ct__conn_is_secured(&g.server.conn));
    while (turned(g.r, 20)) {}
    ct__conn_pause(&g.server.conn);
    for (int i = 0; i < 100; i++) {
        CHECK_INT(ct__conn_write(&g.client.conn, "record", 6), 0);
        CHECK(turned(g.r, 1000)); /* one record each */
    }
    CHECK_INT(g.server.bytes, 0);
    g.server.conn.in_limit = 1;
    g.server.is_hungry = false;
    ct__conn_resume(&g.server.conn);
    size_t got = 0;
    while (got < 600) {
        UNTIL(g.r, g.server.conn.in.len > 0);
        got += g.server.conn.in.len;
        CHECK_INT(g.server.conn.in.len, 6);
        ct__bytes_skip(&g.server.conn.in, g.server.conn.in.len);
        ct__conn_resume(&g.server.conn);
    }
    CHECK(!turned(g.r, 20));
    close_rig(&g);
}

/* ---- a relay between the ends ---- */

typedef struct relay {
    rig g;
    int near[2]; /* our ends of both sockets: the server's, the client's */
    size_t carried;
} relay;

static void open_relay(relay *y, wish server, wish client) {
    int left[2], right[2];
    two_sockets(left);
    two_sockets(right);
    y->g.r = ct_reactor_new();
    y->g.server_tls = tls_of(CT_TLS_SERVER, server);
    y->g.client_tls = tls_of(CT_TLS_CLIENT, client);
    begin(&y->g.server, y->g.r, left[0], y->g.server_tls);
    begin(&y->g.client, y->g.r, right[0], y->g.client_tls);
    y->near[0] = left[1];
    y->near[1] = right[1];
    y->carried = 0;
}

static void close_relay(relay *y) {
    close_rig(&y->g);
    for (int i = 0; i < 2; i++)
        if (y->near[i] >= 0)
            (void)close(y->near[i]);
}

/* Carries up to `step` bytes each way; false when there were none. */
static bool carry(relay *y, size_t step) {
    bool has_carried = false;
    for (int i = 0; i < 2; i++) {
        uint8_t piece[4096];
        const ssize_t got = y->near[i] < 0 ? -1 : recv(y->near[i], piece, step, MSG_DONTWAIT);
        if (got > 0) {
            CHECK_INT(send(y->near[1 - i], piece, (size_t)got, MSG_NOSIGNAL), got);
            y->carried += (size_t)got;
            has_carried = true;
        }
    }
    while (turned(y->g.r, 0)) {
        has_carried = true;
    }
    return has_carried;
}

static size_t carried_in_a_whole_talk;

static void it_works_byte_by_byte(void) {
    relay y;
    open_relay(&y, (wish){.trusts = &ca}, (wish){.shows = &client_identity});
    y.g.server.is_echoing = true;
    CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
    while (carry(&y, 1)) {}
    CHECK_INT(y.g.client.bytes, 5);
    ct__conn_finish(&y.g.client.conn);
    while (carry(&y, 1)) {}
    CHECK_INT(y.g.server.ends, 1);
    CHECK_INT(y.g.server.error, 0);
    carried_in_a_whole_talk = y.carried;
    close_relay(&y);
}

static void a_peer_that_vanishes_at_any_byte_is_noticed(void) {
    for (size_t until = 0; until <= carried_in_a_whole_talk; until += until < 64 ? 1 : 37) {
        relay y;
        open_relay(&y, (wish){.trusts = &ca}, (wish){.shows = &client_identity});
        y.g.server.is_echoing = true;
        CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
        while (y.carried < until && carry(&y, 1)) {}
        for (int i = 0; i < 2; i++) {
            (void)close(y.near[i]);
            y.near[i] = -1;
        }
        UNTIL(y.g.r, y.g.server.ends == 1 && y.g.client.ends == 1);
        CHECK(y.g.server.error == CT_E_TLS_CUT || y.g.server.error == -EPIPE || y.g.server.error == -ECONNRESET);
        CHECK(y.g.client.error == CT_E_TLS_CUT || y.g.client.error == -EPIPE || y.g.client.error == -ECONNRESET);
        for (int i = 0; i < 8 && turned(y.g.r, 0); i++) {}
        CHECK(!turned(y.g.r, 0));
        close_relay(&y);
    }
}

static void a_changed_byte_is_no_genuine_record(void) {
    relay y;
    open_relay(&y, (wish){0}, (wish){0});
    while (carry(&y, 4096)) {}
    CHECK(ct__conn_is_secured(&y.g.server.conn));
    CHECK_INT(ct__conn_write(&y.g.client.conn, "hello", 5), 0);
    while (turned(y.g.r, 0)) {}
    uint8_t record[4096];
    const ssize_t len = recv(y.near[1], record, sizeof record, MSG_DONTWAIT);
    CHECK(len > 5);
    record[len - 1] ^= 1;
    CHECK_INT(send(y.near[0], record, (size_t)len, 0), len);
    UNTIL(y.g.r, y.g.server.ends == 1);
    CHECK_INT(y.g.server.error, CT_E_TLS);
    CHECK_INT(y.g.server.bytes, 0);
    CHECK(ct__conn_tls_reason(&y.g.server.conn)[0] != 0);
    close_relay(&y);
}

static void garbage_and_silence_are_no_handshake(void) {
    static const char *const TEXTS[] = {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x40\x00 not a hello at all, and long enough",
                                        "\x80\x2e\x01\x03\x01 an old hello of SSL 2 which nobody speaks any more ......", ""};
    for (size_t i = 0; i < sizeof TEXTS / sizeof TEXTS[0]; i++) {
        int pair[2];
        two_sockets(pair);
        ct_reactor *r = ct_reactor_new();
        ct_tls *tls = tls_of(CT_TLS_SERVER, (wish){.handshake_ms = 100});
        heard server;
        begin(&server, r, pair[0], tls);
        const size_t len = strlen(TEXTS[i]);
        CHECK_INT(write(pair[1], TEXTS[i], len), len);
        UNTIL(r, server.ends == 1);
        CHECK(server.error == CT_E_TLS || server.error == -ETIMEDOUT);
        CHECK(len > 0 || server.error == -ETIMEDOUT);
        CHECK(!turned(r, 0));
        ct__conn_close(&server.conn);
        ct_tls_free(tls);
        ct_reactor_free(r);
        (void)close(pair[1]);
    }
}

/* ---- who is who ---- */

static void expect(wish server, wish client, int server_error, int client_error, const char *reason) {
    rig g;
    open_rig(&g, server, client);
    CHECK_INT(ct__conn_write(&g.client.conn, "hello", 5), 0);
    UNTIL(g.r, g.server.ends == 1 || g.server.bytes == 5);
    CHECK_INT(g.server.error, server_error);
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
    issue(&ca, "Test CA", NULL, NULL, 86400);
    issue(&other_ca, "Other CA", NULL, NULL, 86400);
    issue(&server_identity, "comet", "DNS:comet.example.org,IP:127.0.0.1", &ca, 3600);
    issue(&api_identity, "api", "DNS:api.example.org,DNS:*.wild.example.org", &ca, 3600);
    issue(&expired_identity, "comet", "DNS:comet.example.org", &ca, -60);
    issue(&client_identity, "zenith", NULL, &ca, 3600);
    issue(&stranger_identity, "stranger", NULL, &other_ca, 3600);
    static const ct_case cases[] = {
        CASE(two_ends_talk_and_part_in_good_order), CASE(what_is_cut_off_looks_cut_off), CASE(much_passes_both_ways_at_once),
        CASE(who_takes_nothing_is_sent_nothing), CASE(records_that_came_together_are_all_delivered), CASE(it_works_byte_by_byte),
        CASE(a_peer_that_vanishes_at_any_byte_is_noticed), CASE(a_changed_byte_is_no_genuine_record),
        CASE(garbage_and_silence_are_no_handshake), CASE(a_server_must_be_who_it_should_be),
        CASE(a_client_must_be_known_where_that_is_wanted), CASE(the_protocol_must_be_shared), CASE(each_host_has_its_certificate),
        CASE(new_certificates_leave_connections_alone), CASE(what_is_wrong_is_said), CASE(want_of_memory_costs_a_connection_at_most)};
    const int result = RUN("tls", cases);
    issued *all[] = {&ca, &other_ca, &server_identity, &api_identity, &expired_identity, &client_identity, &stranger_identity};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        forget(all[i]);
    return result;
}
