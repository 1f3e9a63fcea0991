#define _GNU_SOURCE
#include "reactor/tls.h"

#include "base/err.h"
#include "base/sysx.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    EMPTY_RECORDS_A_READ = 16, /* chosen: records without data (tickets, key updates) that one read passes over */
    ALERT = 1000               /* OpenSSL: an alert of the peer is this plus its number */
};

/* ---- the socket, as OpenSSL sees it ---- */

static int socket_write(BIO *bio, const char *data, size_t len, size_t *written) {
    ct__tls_end *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    const ssize_t sent = ct__send(t->conn->fd, data, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) {
        *written = (size_t)sent;
        return 1;
    }
    if (sent == -EAGAIN)
        BIO_set_retry_write(bio);
    else
        t->socket_error = sent < 0 ? (int)sent : -EIO;
    return 0;
}

static int socket_read(BIO *bio, char *buf, size_t len, size_t *got_len) {
    ct__tls_end *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    const ssize_t got = t->is_short ? -EAGAIN : ct__recv(t->conn->fd, buf, len, MSG_DONTWAIT);
    if (got > 0) {
        t->is_short = (size_t)got < len;
        *got_len = (size_t)got;
        return 1;
    }
    if (got == -EAGAIN) {
        t->is_dry = true;
        BIO_set_retry_read(bio);
    } else if (got == 0) {
        t->is_cut = true;
    } else {
        t->socket_error = (int)got;
    }
    return 0;
}

static long socket_control(BIO *bio, int command, long number, void *data) {
    (void)number;
    (void)data;
    const ct__tls_end *t = BIO_get_data(bio);
    switch (command) {
    case BIO_CTRL_FLUSH:
        return 1;
    case BIO_CTRL_EOF:
        return t->is_cut;
    default:
        return 0;
    }
}

BIO_METHOD *ct__tls_method_new(void) {
    /* The type only serves BIO_find_type, which nobody calls; numbers of our own from OpenSSL run out. */
    BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK | 0x7f, "connection");
    if (method != NULL
        && (BIO_meth_set_write_ex(method, socket_write) != 1 || BIO_meth_set_read_ex(method, socket_read) != 1
            || BIO_meth_set_ctrl(method, socket_control) != 1)) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

/* ---- what failed ---- */

static void note(ct__tls_end *t, const char *text) {
    (void)ct__format(t->reason, sizeof t->reason, "%.*s", (int)sizeof t->reason - 1, text != NULL ? text : "");
}

static int of_certificate(ct__tls_end *t) {
    const long verdict = SSL_get_verify_result(t->ssl);
    note(t, X509_verify_cert_error_string(verdict));
    switch (verdict) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return CT_E_CERT_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return CT_E_CERT_NAME;
    default:
        return CT_E_CERT_UNKNOWN;
    }
}

/* The error behind a failure: OpenSSL's word for it where there is one, else the socket's. */
static int error_of(ct__tls_end *t) {
    const unsigned long code = ERR_peek_error();
    const int reason = ERR_GET_REASON(code);
    ERR_clear_error();
    if (t->is_cut)
        return CT_E_TLS_CUT; /* an alert that could not be sent after it does not matter */
    if (code == 0 || ERR_GET_LIB(code) == ERR_LIB_SYS)
        return t->socket_error != 0 ? t->socket_error : CT_E_TLS;
    if (reason == ERR_R_MALLOC_FAILURE)
        return -ENOMEM;
    note(t, ERR_reason_error_string(code));
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        return of_certificate(t);
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
        return CT_E_CERT_MISSING;
    case ALERT + SSL_AD_BAD_CERTIFICATE:
    case ALERT + SSL_AD_UNSUPPORTED_CERTIFICATE:
    case ALERT + SSL_AD_CERTIFICATE_REVOKED:
    case ALERT + SSL_AD_CERTIFICATE_EXPIRED:
    case ALERT + SSL_AD_CERTIFICATE_UNKNOWN:
    case ALERT + SSL_AD_UNKNOWN_CA:
    case ALERT + SSL_AD_ACCESS_DENIED:
    case ALERT + SSL_AD_CERTIFICATE_REQUIRED:
        return CT_E_CERT_REFUSED;
    default:
        return CT_E_TLS;
    }
}

/* The outcome of a call that returned `result`, not a success; *waits becomes what it waits for. */
static int outcome(ct__tls_end *t, int result, uint32_t *waits) {
    switch (SSL_get_error(t->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *waits = EPOLLIN;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *waits = EPOLLOUT;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return error_of(t);
    }
}

/* ---- steps ---- */

int ct__tls_shake(ct__tls_end *t) {
    ERR_clear_error();
    const int result = SSL_do_handshake(t->ssl);
    if (result != 1) {
        const int error = outcome(t, result, &t->read_waits);
        return error == 0 ? CT_E_TLS : error; /* an orderly end within the handshake is none */
    }
    const unsigned char *alpn = NULL;
    unsigned alpn_len = 0;
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_len);
    if (alpn_len > 0 && alpn_len < sizeof t->alpn)
        memcpy(t->alpn, alpn, alpn_len);
    t->is_shaking = false;
    t->is_dry = false;
    t->read_waits = EPOLLIN;
    t->write_waits = EPOLLOUT;
    return 0;
}

void ct__tls_tell(const ct__tls_end *t, int error) {
    if (error == CT_E_TLS_CUT || error > CT_E_TLS)
        return; /* who knocked and left is no news */
    char *reason = strdup(t->reason);
    const ct_event event = {.kind = CT_EVENT_TLS_REFUSED,
                            .status = error,
                            .flags = t->table->role,
                            .data = (uint8_t *)reason,
                            .len = reason != NULL ? strlen(reason) : 0};
    (void)ct__emit(t->conn->reactor, &event);
}

ssize_t ct__tls_recv(ct__tls_end *t, void *buf, size_t len) {
    for (int i = 0; i < EMPTY_RECORDS_A_READ; i++) {
        size_t got = 0;
        t->is_dry = false;
        ERR_clear_error();
        const int result = SSL_read_ex(t->ssl, buf, len, &got);
        if (result == 1) {
            t->read_waits = EPOLLIN;
            return (ssize_t)got;
        }
        const int error = outcome(t, result, &t->read_waits);
        if (error != -EAGAIN || t->is_dry || t->read_waits == EPOLLOUT)
            return error;
    }
    return -EAGAIN;
}

/* A socket that takes nothing more may hold the alert that says why. */
static int last_word(ct__tls_end *t, int error) {
    uint8_t byte;
    size_t got = 0;
    t->is_short = false;
    ERR_clear_error();
    const int result = SSL_peek_ex(t->ssl, &byte, 1, &got);
    if (result == 1 || SSL_get_error(t->ssl, result) != SSL_ERROR_SSL || t->is_cut) {
        ERR_clear_error();
        return error;
    }
    return error_of(t);
}

ssize_t ct__tls_send(ct__tls_end *t, const void *data, size_t len) {
    size_t sent = 0;
    ERR_clear_error();
    const int result = SSL_write_ex(t->ssl, data, len, &sent);
    if (result == 1) {
        t->write_waits = EPOLLOUT;
        return (ssize_t)sent;
    }
    const int error = outcome(t, result, &t->write_waits);
    if (error == -EPIPE || error == -ECONNRESET)
        return last_word(t, error);
    return error == 0 ? -EPIPE : error;
}

int ct__tls_finish(ct__tls_end *t) {
    ERR_clear_error();
    int result = SSL_in_init(t->ssl) ? SSL_do_handshake(t->ssl) : 1; /* the answer to a key update may be half sent */
    if (result == 1) {
        result = SSL_shutdown(t->ssl);
        if (result >= 0)
            return 0;
    }
    const int error = outcome(t, result, &t->write_waits);
    return error == -EAGAIN ? error : 0; /* then it is said, or nobody can hear it */
}

bool ct__tls_holds(const ct__tls_end *t) {
    return !t->is_shaking && !t->is_dry && SSL_has_pending(t->ssl) == 1;
}

/* ---- one end ---- */

void ct__tls_close(ct__conn *conn) {
    ct__tls_end *t = conn->tls;
    if (t == NULL)
        return;
    conn->tls = NULL;
    ct__alarm_clear(conn->reactor, &t->alarm);
    SSL_free(t->ssl);
    ct__tls_table_drop(t->table);
    free(t);
    ERR_clear_error();
}

static bool set_up(ct__tls_end *t) {
    const ct__tls_table *table = t->table;
    t->ssl = SSL_new(table->fallback);
    BIO *bio = t->ssl == NULL ? NULL : BIO_new(table->method);
    if (bio == NULL)
        return false;
    BIO_set_data(bio, t);
    BIO_set_init(bio, 1);
    SSL_set_bio(t->ssl, bio, bio);
    if (table->role == CT_TLS_SERVER) {
        SSL_set_accept_state(t->ssl);
        t->read_waits = EPOLLIN;
        return true;
    }
    SSL_set_connect_state(t->ssl);
    t->read_waits = EPOLLOUT;
    return table->is_address || SSL_set_tlsext_host_name(t->ssl, table->server_name) == 1;
}

int ct__conn_secure(ct__conn *conn, ct_tls *tls) {
    ct__tls_end *t = calloc(1, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    t->conn = conn;
    t->table = tls->now;
    t->table->refs++;
    t->is_shaking = true;
    conn->tls = t;
    if (!set_up(t) || ct__conn_shakes(conn, ct__reactor_now_ns(conn->reactor) + t->table->handshake_ns) != 0) {
        ct__tls_close(conn);
        return -ENOMEM;
    }
    return 0;
}

bool ct__conn_is_secured(const ct__conn *conn) {
    return conn->tls != NULL && !conn->tls->is_shaking;
}

const char *ct__conn_alpn(const ct__conn *conn) {
    return conn->tls != NULL ? conn->tls->alpn : "";
}

const char *ct__conn_server_name(const ct__conn *conn) {
    const char *name = conn->tls != NULL ? SSL_get_servername(conn->tls->ssl, TLSEXT_NAMETYPE_host_name) : NULL;
    return name != NULL ? name : "";
}

const char *ct__conn_tls_reason(const ct__conn *conn) {
    return conn->tls != NULL ? conn->tls->reason : "";
}
