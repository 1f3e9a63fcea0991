/* TLS between a connection's socket and its queues; who owns the connection sees plain bytes, as without it. */
#ifndef CT_REACTOR_TLS_H
#define CT_REACTOR_TLS_H

#include "reactor/conn.h"

#include <openssl/ssl.h>

/* From here on everything is encrypted. Right after ct__conn_open and before anything is written; `received`, `drained` and
 * `ended` mean what they mean without it, and what is written before the handshake is over waits. `ended` also tells of a
 * handshake that fails (CT_E_TLS, CT_E_CERT_...) or takes too long (-ETIMEDOUT), and of an end without close_notify
 * (CT_E_TLS_CUT). ct__conn_finish says close_notify; ct__conn_close alone does not, so what it cuts off looks cut off.
 * Returns 0 or -ENOMEM; then the connection must be closed. */
int ct__conn_secure(ct__conn *conn, ct_tls *tls);

/* Whether the handshake is over; the two below hold from then on. */
bool ct__conn_is_secured(const ct__conn *conn);

/* The agreed protocol, "" without; the host that the client asked for, "" without. Borrowed until the connection closes. */
const char *ct__conn_alpn(const ct__conn *conn);
const char *ct__conn_server_name(const ct__conn *conn);

/* Why it failed, in OpenSSL's words; "" when it did not. Valid in `ended` and until the connection closes. */
const char *ct__conn_tls_reason(const ct__conn *conn);

/* ---- between tls.c, tls_context.c and conn.c ---- */

/* One set of settings, shared by the connections that began under it. */
typedef struct ct__tls_table {
    uint32_t refs;
    uint32_t role;
    uint32_t protocol;
    uint64_t handshake_ns;
    BIO_METHOD *method;
    SSL_CTX *fallback;
    size_t host_count;
    struct ct__tls_host {
        char *name;
        SSL_CTX *context;
    } *hosts; /* sorted by name */
    char server_name[CT_TLS_NAME_BYTES];
    bool is_address; /* server_name is an IP address, which SNI does not carry */
} ct__tls_table;

struct ct_tls {
    ct__tls_table *now;
};

void ct__tls_table_drop(ct__tls_table *table);
BIO_METHOD *ct__tls_method_new(void);

typedef struct ct__tls_end {
    ct__conn *conn;
    ct__tls_table *table;
    SSL *ssl;
    ct__alarm alarm;      /* of the handshake; later: what OpenSSL holds is read in the next turn */
    bool is_shaking;
    bool is_short;        /* the socket gave less than there was room for: it is empty until it is ready again */
    bool is_dry;          /* reading needs the socket: what OpenSSL holds is no whole record */
    bool is_cut;          /* the socket's stream has ended */
    uint32_t read_waits;  /* for which event each direction waits: any of the two can wait for both */
    uint32_t write_waits;
    int socket_error;     /* the last one, -errno */
    char alpn[16];
    char reason[120];
} ct__tls_end;

/* One step. Return 0 (done), -EAGAIN or the error. */
int ct__tls_shake(ct__tls_end *end);
int ct__tls_finish(ct__tls_end *end);

/* Lets Python know of a failed handshake, where the peer is to blame. */
void ct__tls_tell(const ct__tls_end *end, int error);

/* As recv(2) and send(2), -errno returned; recv returns 0 at close_notify. */
ssize_t ct__tls_recv(ct__tls_end *end, void *buf, size_t len);
ssize_t ct__tls_send(ct__tls_end *end, const void *data, size_t len);

/* Whether there may be something to read without the socket. */
bool ct__tls_holds(const ct__tls_end *end);

void ct__tls_close(ct__conn *conn);

#endif
