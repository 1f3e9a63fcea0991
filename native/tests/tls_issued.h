/* Certificates made on the spot. */
#ifndef CT_TLS_ISSUED_H
#define CT_TLS_ISSUED_H

#include "base/abi.h"

#include "ct_test.h"

#include <openssl/pem.h>
#include <openssl/x509v3.h>

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

#endif
