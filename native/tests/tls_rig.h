/* Certificates made on the spot, and the two ends of a TLS connection in one reactor. */
#ifndef CT_TLS_RIG_H
#define CT_TLS_RIG_H

#include "reactor/tls.h"

#include "ct_test.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct issued {
    X509 *certificate;
    EVP_PKEY *key;
    uint8_t chain[4096], pem[4096];
    size_t chain_len, pem_len;
} issued;

static inline size_t text_of(BIO *bio, uint8_t out[4096]) {
    const int len = BIO_read(bio, out, 4096);
    CHECK(len > 0 && len < 4096);
    BIO_free(bio);
    return (size_t)len;
}

/* Signed by `by`, or by itself when that is NULL; valid from a day ago until `until_s` from now. */
static inline void issue(issued *out, const char *name, const char *alternative, const issued *by, long until_s) {
    EVP_PKEY_CTX *maker = EVP_PKEY_CTX_new_id(EVP_PKEY_EC, NULL);
    out->key = NULL;
    CHECK(EVP_PKEY_keygen_init(maker) == 1 && EVP_PKEY_CTX_set_ec_paramgen_curve_nid(maker, NID_X9_62_prime256v1) == 1
          && EVP_PKEY_keygen(maker, &out->key) == 1);
    EVP_PKEY_CTX_free(maker);
    X509 *x = out->certificate = X509_new();
    static long serial = 1;
    CHECK(X509_set_version(x, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(x), serial++) == 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(x), -86400);
    (void)X509_gmtime_adj(X509_getm_notAfter(x), until_s);
    (void)X509_set_pubkey(x, out->key);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
    (void)X509_set_issuer_name(x, X509_get_subject_name(by != NULL ? by->certificate : x));
    X509V3_CTX context;
    X509V3_set_ctx(&context, by != NULL ? by->certificate : x, x, NULL, NULL, 0);
    const char *pairs[][2] = {{"basicConstraints", by != NULL ? "CA:FALSE" : "critical,CA:TRUE"}, {"subjectAltName", alternative}};
    for (int i = 0; i < 2 && pairs[i][1] != NULL; i++) {
        X509_EXTENSION *extension = X509V3_EXT_conf(NULL, &context, pairs[i][0], pairs[i][1]);
        CHECK(extension != NULL && X509_add_ext(x, extension, -1) == 1);
        X509_EXTENSION_free(extension);
    }
    CHECK(X509_sign(x, by != NULL ? by->key : out->key, EVP_sha256()) > 0);
    BIO *bio = BIO_new(BIO_s_mem());
    (void)PEM_write_bio_X509(bio, x);
    out->chain_len = text_of(bio, out->chain);
    bio = BIO_new(BIO_s_mem());
    (void)PEM_write_bio_PrivateKey(bio, out->key, NULL, NULL, 0, NULL, NULL);
    out->pem_len = text_of(bio, out->pem);
}

static inline void forget(issued *one) {
    X509_free(one->certificate);
    EVP_PKEY_free(one->key);
}

static inline ct_tls_identity identity_of(const issued *one, const char *host) {
    return (ct_tls_identity){.host = host, .chain = one->chain, .chain_len = one->chain_len, .key = one->pem, .key_len = one->pem_len};
}

/* Of one test: what each end has heard. */
typedef struct heard {
    ct__conn conn;
    size_t bytes;
    uint32_t sum;
    int ends, error, drains;
    bool is_echoing, is_hungry;
    size_t most_held;
} heard;

static inline uint32_t sum_of(uint32_t sum, const uint8_t *data, size_t len) {
    for (size_t i = 0; i < len; i++)
        sum = sum * 31 + data[i];
    return sum;
}

static inline void on_received(ct__conn *conn) {
    heard *h = (heard *)conn;
    if (conn->in.len > h->most_held)
        h->most_held = conn->in.len;
    if (!h->is_hungry)
        return;
    h->bytes += conn->in.len;
    h->sum = sum_of(h->sum, ct__bytes_front(&conn->in), conn->in.len);
    if (h->is_echoing)
        CHECK_INT(ct__conn_write(conn, ct__bytes_front(&conn->in), conn->in.len), 0);
    ct__bytes_skip(&conn->in, conn->in.len);
}

static inline void on_drained(ct__conn *conn) {
    ((heard *)conn)->drains++;
}

static inline void on_ended(ct__conn *conn, int error) {
    heard *h = (heard *)conn;
    h->ends++;
    h->error = error;
}

static const ct__conn_calls CALLS = {.received = on_received, .drained = on_drained, .ended = on_ended};

static inline void begin(heard *h, ct_reactor *r, int fd, ct_tls *tls) {
    *h = (heard){.is_hungry = true};
    CHECK_INT(ct__conn_open(&h->conn, r, fd, false, &CALLS), 0);
    CHECK_INT(ct__conn_secure(&h->conn, tls), 0);
}

static inline void two_sockets(int pair[2]) {
    CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
}

/* One turn; false when nothing happened for that long. */
static inline bool turned(ct_reactor *r, int wait_ms) {
    struct pollfd door = {.fd = ct_reactor_fd(r), .events = POLLIN};
    const bool is_ready = poll(&door, 1, wait_ms) == 1;
    if (is_ready)
        CHECK(ct_reactor_drain(r) >= 0);
    return is_ready;
}

static issued ca, other_ca, server_identity, api_identity, expired_identity, client_identity, stranger_identity;

typedef struct wish {
    const issued *shows;   /* NULL: the usual one of a server, none of a client */
    const issued *trusts;  /* NULL: a server asks for nothing, a client trusts the usual authority */
    const char *name;
    uint32_t handshake_ms;
    uint32_t protocol;
} wish;

static inline ct_tls *tls_of(uint32_t role, wish w) {
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

static inline void open_rig(rig *g, wish server, wish client) {
    int pair[2];
    two_sockets(pair);
    g->r = ct_reactor_new();
    g->server_tls = tls_of(CT_TLS_SERVER, server);
    g->client_tls = tls_of(CT_TLS_CLIENT, client);
    begin(&g->server, g->r, pair[0], g->server_tls);
    begin(&g->client, g->r, pair[1], g->client_tls);
}

static inline void close_rig(rig *g) {
    ct__conn_close(&g->client.conn);
    ct__conn_close(&g->server.conn);
    ct_tls_free(g->client_tls);
    ct_tls_free(g->server_tls);
    ct_reactor_free(g->r);
}

static inline void issue_all(void) {
    issue(&ca, "Test CA", NULL, NULL, 86400);
    issue(&other_ca, "Other CA", NULL, NULL, 86400);
    issue(&server_identity, "comet", "DNS:comet.example.org,IP:127.0.0.1", &ca, 3600);
    issue(&api_identity, "api", "DNS:api.example.org,DNS:*.wild.example.org", &ca, 3600);
    issue(&expired_identity, "comet", "DNS:comet.example.org", &ca, -60);
    issue(&client_identity, "zenith", NULL, &ca, 3600);
    issue(&stranger_identity, "stranger", NULL, &other_ca, 3600);
}

static inline void forget_all(void) {
    issued *all[] = {&ca, &other_ca, &server_identity, &api_identity, &expired_identity, &client_identity, &stranger_identity};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        forget(all[i]);
}

#define UNTIL(r, condition)                                                                                            \
    while (!(condition))                                                                                               \
    CHECK(turned(r, 10000))

#endif
