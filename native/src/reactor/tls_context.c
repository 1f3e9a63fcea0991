#define _GNU_SOURCE
#include "base/err.h"
#include "base/sysx.h"
#include "reactor/tls.h"

#include <limits.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Forward secrecy and authenticated encryption only; what TLS 1.3 has is all of that kind. */
static const char CIPHERS_OF_1_2[] = "ECDHE+AESGCM:ECDHE+CHACHA20";
static const unsigned char HTTP1[] = "\x08http/1.1", H2[] = "\x02h2", EITHER[] = "\x02h2\x08http/1.1";
static const char KEY_LINE[] = "PRIVATE KEY-----";
static const uint64_t NS_A_MS = 1000000;

/* ---- PEM ---- */

static void bio_cleanup(BIO **bio) {
    BIO_free(*bio);
}

static void certificate_cleanup(X509 **certificate) {
    X509_free(*certificate);
}

static void key_cleanup(EVP_PKEY **key) {
    EVP_PKEY_free(*key);
}

#define auto_bio __attribute__((cleanup(bio_cleanup))) BIO
#define auto_certificate __attribute__((cleanup(certificate_cleanup))) X509
#define auto_key __attribute__((cleanup(key_cleanup))) EVP_PKEY

static int no_passphrase(char *buf, int size, int is_writing, void *data) {
    (void)buf;
    (void)size;
    (void)is_writing;
    (void)data;
    return -1;
}

/* Nothing more of the kind is in the text, as against: what is there can not be read. */
static bool is_end_of_pem(void) {
    const unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

static int flawed(ct_tls_fault *fault, uint32_t part, uint32_t flaw) {
    const unsigned long code = ERR_peek_error();
    const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;
    fault->part = part;
    fault->flaw = flaw;
    (void)ct__format(fault->reason, sizeof fault->reason, "%.*s", (int)sizeof fault->reason - 1, reason != NULL ? reason : "");
    ERR_clear_error();
    return code != 0 && ERR_GET_REASON(code) == ERR_R_MALLOC_FAILURE ? -ENOMEM : CT_E_MALFORMED;
}

static int unread(ct_tls_fault *fault, uint32_t part) {
    const unsigned long code = ERR_peek_last_error();
    if (ERR_GET_LIB(code) == ERR_LIB_PEM
        && (ERR_GET_REASON(code) == PEM_R_BAD_PASSWORD_READ || ERR_GET_REASON(code) == PEM_R_PROBLEMS_GETTING_PASSWORD))
        return flawed(fault, part, CT_TLS_FLAW_LOCKED);
    return flawed(fault, part, is_end_of_pem() ? CT_TLS_FLAW_ABSENT : CT_TLS_FLAW_BROKEN);
}

static int load_chain(SSL_CTX *context, const ct_tls_identity *identity, ct_tls_fault *fault) {
    auto_bio *text = BIO_new_mem_buf(identity->chain, (int)identity->chain_len);
    if (text == NULL)
        return -ENOMEM;
    auto_certificate *first = PEM_read_bio_X509_AUX(text, NULL, no_passphrase, NULL);
    if (first == NULL)
        return unread(fault, CT_TLS_PART_CHAIN);
    if (SSL_CTX_use_certificate(context, first) != 1)
        return flawed(fault, CT_TLS_PART_CHAIN, CT_TLS_FLAW_REFUSED);
    for (;;) {
        auto_certificate *next = PEM_read_bio_X509(text, NULL, no_passphrase, NULL);
        if (next == NULL)
            break;
        if (SSL_CTX_add1_chain_cert(context, next) != 1)
            return flawed(fault, CT_TLS_PART_CHAIN, CT_TLS_FLAW_REFUSED);
    }
    if (!is_end_of_pem())
        return flawed(fault, CT_TLS_PART_CHAIN, CT_TLS_FLAW_BROKEN);
    ERR_clear_error();
    return 0;
}

static int load_key(SSL_CTX *context, const ct_tls_identity *identity, ct_tls_fault *fault) {
    auto_bio *text = BIO_new_mem_buf(identity->key, (int)identity->key_len);
    if (text == NULL)
        return -ENOMEM;
    auto_key *key = PEM_read_bio_PrivateKey(text, NULL, no_passphrase, NULL);
    if (key == NULL && memmem(identity->key, identity->key_len, KEY_LINE, sizeof KEY_LINE - 1) == NULL)
        return flawed(fault, CT_TLS_PART_KEY, CT_TLS_FLAW_ABSENT); /* OpenSSL 3 only says that no decoder liked it */
    if (key == NULL)
        return unread(fault, CT_TLS_PART_KEY);
    const X509 *certificate = SSL_CTX_get0_certificate(context);
    if (X509_check_private_key(certificate, key) != 1)
        return flawed(fault, CT_TLS_PART_KEY, CT_TLS_FLAW_MISMATCH);
    if (SSL_CTX_use_PrivateKey(context, key) != 1)
        return flawed(fault, CT_TLS_PART_KEY, CT_TLS_FLAW_REFUSED);
    return 0;
}

static int load_authorities(SSL_CTX *context, const ct_tls_settings *settings, ct_tls_fault *fault) {
    auto_bio *text = BIO_new_mem_buf(settings->authorities, (int)settings->authorities_len);
    if (text == NULL)
        return -ENOMEM;
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    size_t count = 0;
    for (;; count++) {
        auto_certificate *authority = PEM_read_bio_X509(text, NULL, no_passphrase, NULL);
        if (authority == NULL)
            break;
        if (X509_STORE_add_cert(store, authority) != 1
            || (settings->role == CT_TLS_SERVER && SSL_CTX_add_client_CA(context, authority) != 1))
            return flawed(fault, CT_TLS_PART_AUTHORITIES, CT_TLS_FLAW_REFUSED);
    }
    if (count == 0 || !is_end_of_pem())
        return unread(fault, CT_TLS_PART_AUTHORITIES);
    ERR_clear_error();
    return 0;
}

int ct_tls_validity(const uint8_t *chain, size_t len, int64_t *from_s, int64_t *until_s) {
    ERR_clear_error();
    auto_bio *text = BIO_new_mem_buf(chain, len > CT_TLS_PEM_BYTES_MAX ? CT_TLS_PEM_BYTES_MAX : (int)len);
    if (text == NULL)
        return -ENOMEM;
    auto_certificate *first = PEM_read_bio_X509_AUX(text, NULL, no_passphrase, NULL);
    struct tm from, until;
    const bool is_read = first != NULL && ASN1_TIME_to_tm(X509_get0_notBefore(first), &from) == 1
                         && ASN1_TIME_to_tm(X509_get0_notAfter(first), &until) == 1;
    ERR_clear_error();
    if (!is_read)
        return CT_E_MALFORMED;
    *from_s = timegm(&from);
    *until_s = timegm(&until);
    return 0;
}

/* ---- choices within the handshake ---- */

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len, const unsigned char *offered,
                           unsigned offered_len, void *data) {
    (void)ssl;
    const ct__tls_table *table = data;
    const unsigned char *ours = table->protocol == CT_TLS_EITHER ? EITHER : table->protocol == CT_TLS_H2 ? H2 : HTTP1;
    for (; ours[0] != 0; ours += 1U + ours[0])
        for (unsigned at = 0; at < offered_len && offered[at] < offered_len - at; at += 1U + offered[at])
            if (offered[at] == ours[0] && memcmp(offered + at + 1, ours + 1, ours[0]) == 0) {
                *out = offered + at + 1;
                *out_len = ours[0];
                return SSL_TLSEXT_ERR_OK;
            }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

static int by_name(const void *name, const void *host) {
    return strcmp(name, ((const struct ct__tls_host *)host)->name);
}

static SSL_CTX *context_for(const ct__tls_table *table, const char *asked) {
    char name[CT_TLS_NAME_BYTES] = "*";
    char *own = name + 1; /* room for the star of the wildcard's place */
    const size_t len = strlen(asked);
    if (table->host_count == 0 || len == 0 || len > sizeof name - 2)
        return NULL;
    for (size_t i = 0; i <= len; i++)
        own[i] = (char)(asked[i] >= 'A' && asked[i] <= 'Z' ? asked[i] | 0x20 : asked[i]);
    const struct ct__tls_host *found = bsearch(own, table->hosts, table->host_count, sizeof *found, by_name);
    char *dot = found == NULL ? strchr(own, '.') : NULL;
    if (dot != NULL) {
        dot[-1] = '*'; /* of an empty first label too: no certificate's host begins with a dot */
        found = bsearch(dot - 1, table->hosts, table->host_count, sizeof *found, by_name);
    }
    return found != NULL ? found->context : NULL;
}

static int choose_identity(SSL *ssl, int *alert, void *data) {
    (void)alert;
    const char *asked = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    SSL_CTX *context = asked != NULL ? context_for(data, asked) : NULL;
    if (context != NULL && SSL_set_SSL_CTX(ssl, context) == NULL)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    return SSL_TLSEXT_ERR_OK;
}

/* ---- contexts ---- */

static int configure(SSL_CTX *context, ct__tls_table *table, const ct_tls_settings *settings) {
    static const unsigned char SESSIONS_OF[] = "constellation";
    const bool is_server = table->role == CT_TLS_SERVER, has_tickets = is_server && settings->ticket_s > 0;
    (void)SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | (has_tickets ? 0 : SSL_OP_NO_TICKET));
    /* Without AUTO_RETRY a flood of records without data is passed over in bounded steps. */
    (void)SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(context, 1); /* one read(2) for a record's head and body */
    (void)SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) != 1 || SSL_CTX_set_cipher_list(context, CIPHERS_OF_1_2) != 1)
        return CT_E_UNSUPPORTED;
    if (!is_server) {
        const unsigned char *alpn = table->protocol == CT_TLS_H2 ? H2 : HTTP1;
        X509_VERIFY_PARAM *checks = SSL_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_hostflags(checks, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
        const bool is_named = table->is_address ? X509_VERIFY_PARAM_set1_ip_asc(checks, table->server_name) == 1
                                                : X509_VERIFY_PARAM_set1_host(checks, table->server_name, 0) == 1;
        return is_named && SSL_CTX_set_alpn_protos(context, alpn, alpn[0] + 1U) == 0 ? 0 : -ENOMEM;
    }
    if (settings->authorities != NULL)
        SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    (void)SSL_CTX_set_num_tickets(context, has_tickets ? 1 : 0);
    (void)SSL_CTX_set_timeout(context, (long)settings->ticket_s);
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, table);
    (void)SSL_CTX_set_tlsext_servername_callback(context, choose_identity);
    (void)SSL_CTX_set_tlsext_servername_arg(context, table);
    return SSL_CTX_set_session_id_context(context, SESSIONS_OF, sizeof SESSIONS_OF - 1) == 1 ? 0 : -ENOMEM;
}

static int context_new(ct__tls_table *table, const ct_tls_settings *settings, const ct_tls_identity *identity, SSL_CTX **out,
                       ct_tls_fault *fault) {
    SSL_CTX *context = SSL_CTX_new(table->role == CT_TLS_SERVER ? TLS_server_method() : TLS_client_method());
    if (context == NULL)
        return -ENOMEM;
    int result = configure(context, table, settings);
    if (result == 0 && identity != NULL)
        result = load_chain(context, identity, fault);
    if (result == 0 && identity != NULL)
        result = load_key(context, identity, fault);
    if (result == 0 && settings->authorities != NULL)
        result = load_authorities(context, settings, fault);
    if (result == 0 && settings->authorities == NULL && table->role == CT_TLS_CLIENT
        && SSL_CTX_set_default_verify_paths(context) != 1)
        result = CT_E_UNSUPPORTED;
    if (result == 0)
        *out = context;
    else
        SSL_CTX_free(context);
    return result;
}

/* ---- tables ---- */

void ct__tls_table_drop(ct__tls_table *table) {
    if (table == NULL || --table->refs > 0)
        return;
    for (size_t i = 0; i < table->host_count; i++) {
        SSL_CTX_free(table->hosts[i].context);
        free(table->hosts[i].name);
    }
    free(table->hosts);
    SSL_CTX_free(table->fallback);
    BIO_meth_free(table->method);
    free(table);
}

static bool is_name(const char *text) {
    const size_t len = text != NULL ? strnlen(text, CT_TLS_NAME_BYTES) : 0;
    return len > 0 && len < CT_TLS_NAME_BYTES - 1;
}

static int check(const ct_tls_settings *settings) {
    const bool is_server = settings->role == CT_TLS_SERVER;
    const bool is_known = settings->protocol >= CT_TLS_HTTP1 && settings->protocol <= (is_server ? CT_TLS_EITHER : CT_TLS_H2);
    if ((!is_server && settings->role != CT_TLS_CLIENT) || !is_known || settings->handshake_ms == 0 || settings->ticket_s > INT_MAX || (is_server && settings->identity_count == 0)
        || settings->identity_count > (is_server ? CT_TLS_IDENTITIES_MAX : 1U) || (!is_server && !is_name(settings->server_name)))
        return CT_E_RANGE;
    if (settings->authorities_len > CT_TLS_PEM_BYTES_MAX)
        return CT_E_TOOBIG;
    for (size_t i = 0; i < settings->identity_count; i++) {
        const ct_tls_identity *identity = &settings->identities[i];
        if (identity->chain_len > CT_TLS_PEM_BYTES_MAX || identity->key_len > CT_TLS_PEM_BYTES_MAX)
            return CT_E_TOOBIG;
        if (i > 0 && !is_name(identity->host))
            return CT_E_RANGE;
    }
    return 0;
}

static int order(const void *left, const void *right) {
    return strcmp(((const struct ct__tls_host *)left)->name, ((const struct ct__tls_host *)right)->name);
}

static int fill(ct__tls_table *table, const ct_tls_settings *settings, ct_tls_fault *fault) {
    const ct_tls_identity *identities = settings->identities;
    table->role = settings->role;
    table->protocol = settings->protocol;
    table->handshake_ns = settings->handshake_ms * NS_A_MS;
    table->method = ct__tls_method_new();
    if (table->method == NULL)
        return -ENOMEM;
    if (table->role == CT_TLS_CLIENT) {
        (void)ct__format(table->server_name, sizeof table->server_name, "%s", settings->server_name);
        ASN1_OCTET_STRING *address = a2i_IPADDRESS(table->server_name);
        table->is_address = address != NULL;
        ASN1_OCTET_STRING_free(address);
        ERR_clear_error();
    }
    int result = context_new(table, settings, settings->identity_count > 0 ? identities : NULL, &table->fallback, fault);
    if (result != 0 || settings->identity_count < 2)
        return result;
    table->hosts = calloc(settings->identity_count - 1, sizeof *table->hosts);
    if (table->hosts == NULL)
        return -ENOMEM;
    for (size_t i = 1; i < settings->identity_count; i++) {
        fault->identity = (uint32_t)i;
        struct ct__tls_host *host = &table->hosts[i - 1];
        result = context_new(table, settings, &identities[i], &host->context, fault);
        if (result != 0)
            return result;
        table->host_count = i;
        host->name = strdup(identities[i].host);
        if (host->name == NULL)
            return -ENOMEM;
    }
    qsort(table->hosts, table->host_count, sizeof *table->hosts, order);
    return 0;
}

static int table_new(const ct_tls_settings *settings, ct__tls_table **out, ct_tls_fault *fault) {
    *fault = (ct_tls_fault){0};
    int result = check(settings);
    if (result != 0)
        return result;
    ct__tls_table *table = calloc(1, sizeof *table);
    if (table == NULL)
        return -ENOMEM;
    table->refs = 1;
    ERR_clear_error();
    result = fill(table, settings, fault);
    ERR_clear_error();
    if (result == 0)
        *out = table;
    else
        ct__tls_table_drop(table);
    return result;
}

int ct_tls_new(const ct_tls_settings *settings, ct_tls **out, ct_tls_fault *fault) {
    ct_tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return -ENOMEM;
    const int result = table_new(settings, &tls->now, fault);
    if (result == 0)
        *out = tls;
    else
        free(tls);
    return result;
}

int ct_tls_replace(ct_tls *tls, const ct_tls_settings *settings, ct_tls_fault *fault) {
    if (settings->role != tls->now->role || settings->protocol != tls->now->protocol)
        return CT_E_RANGE;
    ct__tls_table *table = NULL;
    const int result = table_new(settings, &table, fault);
    if (result != 0)
        return result;
    ct__tls_table_drop(tls->now);
    tls->now = table;
    return 0;
}

void ct_tls_free(ct_tls *tls) {
    if (tls == NULL)
        return;
    ct__tls_table_drop(tls->now);
    free(tls);
}
