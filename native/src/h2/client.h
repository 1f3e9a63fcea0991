/* The client end of gRPC calls with one message, which are answered by one or many: connections to one address, calls with deadlines, HTTP/2 by nghttp2, in the reactor. */
#ifndef CT_H2_CLIENT_H
#define CT_H2_CLIENT_H

#include "h2/head.h"
#include "h2/limits.h"
#include "reactor/reactor.h"

typedef struct ct__h2_client ct__h2_client;

typedef struct ct__h2_reply {
    uint32_t status;      /* of gRPC; 0 is OK */
    bool is_answered;     /* the peer stated it; else it is made here, and `message` says why */
    bool may_have_begun;  /* false: the peer can not have acted on the call */
    ct__h2_span message;  /* of the status, percent-decoded */
    ct__h2_span problem;  /* nova-problem-bin, decoded */
    ct__h2_span body;     /* the one message of an OK reply */
} ct__h2_reply;

/* A call in hand. The owner embeds it, zeroed but for `done` and `piece`, and keeps it until `done` was called or it was cancelled. */
typedef struct ct__h2_call {
    /* Once, from within the reactor's turn and never from ct__h2_begin. The reply's spans end with the call to it. The call
     * may be freed or begun anew there. */
    void (*done)(struct ct__h2_call *call, const ct__h2_reply *reply);
    /* One message of an answer of many, as it comes; the span ends with the call to it. The call may be held or cancelled there.
     * NULL: the answer is one message, in the reply; else the reply's body is empty. */
    void (*piece)(struct ct__h2_call *call, ct__h2_span message);
    struct ct__h2_exchange *exchange; /* NULL: at rest */
} ct__h2_call;

typedef struct ct__h2_pair {
    ct__h2_span name; /* lower case */
    ct__h2_span value;
    bool is_lasting; /* many calls carry this same value: it is worth a place in the connection's table */
} ct__h2_pair;

enum { CT__H2_PAIRS_MAX = 16 };

/* Everything is copied before ct__h2_begin returns. */
typedef struct ct__h2_request {
    ct__h2_span path;
    const ct__h2_pair *pairs; /* metadata, at most CT__H2_PAIRS_MAX; authorization is never indexed */
    size_t pair_count;
    const ct__h2_span *pieces; /* of the message */
    size_t piece_count;
    uint64_t deadline_ns; /* of the reactor's clock; the call ends then with DEADLINE_EXCEEDED */
} ct__h2_request;

/* `address` is numeric, IPv4 or IPv6. NULL: no memory, or no address. Connects when there is a call. */
ct__h2_client *ct__h2_client_new(ct_reactor *reactor, const char *address, uint16_t port, const ct__h2_limits *limits);

/* The same over a unix socket. */
ct__h2_client *ct__h2_client_new_unix(ct_reactor *reactor, const char *path, const ct__h2_limits *limits);

/* Connections from now on go to this unix socket, whose owner serves the address too, and to the address while nobody answers at the
 * socket. Returns 0 or -ENAMETOOLONG. */
int ct__h2_client_near(ct__h2_client *client, const char *path);

/* Connections from now on speak TLS, with a client's `tls` that outlives this one; NULL: in the clear. */
void ct__h2_client_secure(ct__h2_client *client, ct_tls *tls);

/* Ends every call in hand (`done`, UNAVAILABLE), then closes. Outside of the reactor's turn. */
void ct__h2_client_free(ct__h2_client *client);

/* Returns 0: `done` will be called. Else nothing was sent and it will not: -ENOMEM; CT_E_FULL: every connection carries all
 * that it may; CT_E_TOOBIG: the message, or too many pairs; -errno: why the last connection failed, while the next attempt
 * waits for its time. */
int ct__h2_begin(ct__h2_client *client, ct__h2_call *call, const ct__h2_request *request);

/* Gives the call up: the peer is told, `done` is not called. Nothing when it is at rest. */
void ct__h2_cancel(ct__h2_call *call);

/* Back-pressure: no piece comes while the call is held, nor `done`; the peer is slowed down by its window. Release, from within a turn,
 * gives what waits. Nothing when it is at rest. */
void ct__h2_hold(ct__h2_call *call);
void ct__h2_release(ct__h2_call *call);

uint32_t ct__h2_client_calls(const ct__h2_client *client); /* in hand */

#endif
