/* One stream socket in a reactor: bytes in, bytes out, its end. The owner embeds it. */
#ifndef CT_REACTOR_CONN_H
#define CT_REACTOR_CONN_H

#include "reactor/bytes.h"
#include "reactor/reactor.h"

typedef struct ct__conn ct__conn;

typedef struct ct__conn_calls {
    /* `in` holds new bytes; skip what was used. May close the connection, but not free it (see ct__task). */
    void (*received)(ct__conn *conn);
    /* `out` was above its high mark and has fallen below its low one. May be NULL. */
    void (*drained)(ct__conn *conn);
    /* Nothing more will be received: 0 is an orderly end (writing still works), else -errno and nothing works any more.
     * Called at most once. */
    void (*ended)(ct__conn *conn, int error);
} ct__conn_calls;

struct ct__conn {
    int fd; /* -1 once closed */
    ct__watch watch;
    ct__task flush;
    ct_reactor *reactor;
    const ct__conn_calls *calls;
    struct ct__tls_end *tls; /* NULL: in the clear (see reactor/tls.h) */
    ct__bytes in, out;
    size_t in_limit; /* reading rests while `in` holds this much */
    bool is_connecting;
    bool is_paused;    /* the owner takes nothing for now */
    bool has_ended;    /* no more input */
    bool is_broken;    /* no more output */
    bool is_full;      /* above the high mark */
    bool closes_after; /* shut the writing side down once `out` is sent */
    /* Set by the owner before the opening: what the peer sent is read to its end even where sending fails or the peer
     * is gone while reading rests; only then `ended` is called. */
    bool reads_to_end;
    /* Set by the owner before the opening where the peer may send descriptors of files: to close one can take for ever
     * (a pipe that is held, a socket that lingers), and so can closing the socket while it holds some. Takes over fd. */
    void (*discards)(ct__conn *conn, int fd);
};

enum { CT__OUT_HIGH_BYTES = 256 << 10, CT__OUT_LOW_BYTES = 64 << 10, CT__IN_LIMIT_BYTES = 256 << 10 }; /* chosen */

/* Takes over fd, a non-blocking stream socket; connecting: one whose connect(2) is in progress. `conn` is zeroed (in_limit may be
 * set). Returns 0 or -errno, with fd closed. */
int ct__conn_open(ct__conn *conn, ct_reactor *reactor, int fd, bool is_connecting, const ct__conn_calls *calls);

/* Closes the descriptor and frees both queues; no call is made after it. May be repeated. */
void ct__conn_close(ct__conn *conn);

/* Queues bytes; they are sent at the end of the batch, or when the peer takes them. Returns 0 or -ENOMEM; a broken
 * connection takes and forgets them. */
int ct__conn_write(ct__conn *conn, const void *data, size_t len);

/* The same in two steps, for who encodes in place: room for at least `len`, then how much of it was used. */
uint8_t *ct__conn_room(ct__conn *conn, size_t len);
void ct__conn_wrote(ct__conn *conn, size_t len);

/* As wrote, but sends at once: for who is outside of a turn of the reactor. */
void ct__conn_wrote_now(ct__conn *conn, size_t len);

/* Sends the end of the stream behind what is queued. */
void ct__conn_finish(ct__conn *conn);

/* Stops and resumes reading: back-pressure. A connection that was stopped by its in_limit is looked at again. */
void ct__conn_pause(ct__conn *conn);
void ct__conn_resume(ct__conn *conn);

/* For reactor/tls.c: the handshake begins, and must be over by `until_ns`. Returns 0 or -ENOMEM. */
int ct__conn_shakes(ct__conn *conn, uint64_t until_ns);

/* Non-blocking, close-on-exec sockets, their connect begun. Return a descriptor or -errno; *is_connecting says whether
 * it is still in progress. */
int ct__connect_unix(const char *path, bool *is_connecting);
int ct__connect_tcp(const char *address, uint16_t port, bool *is_connecting); /* a numeric IPv4 or IPv6 address */

/* A listening socket; the owner's descriptor. */
typedef struct ct__listener {
    ct__watch watch;
    ct__alarm rest; /* descriptors ran out: it looks again later */
    ct_reactor *reactor;
    void (*accepted)(struct ct__listener *listener, int fd); /* takes over fd */
} ct__listener;

int ct__listener_open(ct__listener *listener, ct_reactor *reactor, int fd);
void ct__listener_close(ct__listener *listener); /* stops accepting; does not close fd */

#endif
