/* The server end of gRPC: HTTP/2 by nghttp2, in the reactor. Calls of one message that the owner wants are gathered and handed to it
 * whole; it answers with one message or many. Every other stream passes through, both ways and as it comes, to an upstream gRPC server on a unix socket. */
#ifndef CT_H2_SERVER_H
#define CT_H2_SERVER_H

#include "h2/head.h"
#include "h2/limits.h"
#include "reactor/reactor.h"

typedef ct_h2_server ct__h2_server;

/* A taken stream: index and generation, so that one that has ended is an error and not a crash. 0 is none. */
typedef uint64_t ct__h2_stream;

/* Called from within the reactor's turn; all of the functions below may be called from within them. */
typedef struct ct__h2_server_calls {
    /* The headers are complete: true takes the stream, false forwards it. NULL: everything is forwarded. */
    bool (*wanted)(void *ctx, const ct__h2_head *head);
    /* The one message of a taken stream is complete. `head` and `message` live until the stream is answered, refused,
     * forwarded or cancelled: one of these comes, now or later. */
    void (*request)(void *ctx, ct__h2_stream stream, const ct__h2_head *head, const uint8_t *message, size_t len);
    /* The client gave it up, or is gone: the handle is dead. Only between `request` and the end of the answer. */
    void (*cancelled)(void *ctx, ct__h2_stream stream, void *owner);
    /* The client has taken of what ct__h2_say asked to wait for. Called from within nghttp2: nothing may be said before the end of
     * the batch. NULL where nothing is said in pieces. */
    void (*drained)(void *ctx, ct__h2_stream stream, void *owner);
    /* After ct__h2_server_stop: the last connection is closed. May be NULL; may free the server. */
    void (*stopped)(void *ctx);
} ct__h2_server_calls;

enum { CT__H2_DOORS = 4 }; /* chosen: an address of each family and a unix socket */

/* Serves on fd (-1: nowhere yet), a listening non-blocking socket that stays the caller's. `upstream` is the path of a unix socket. NULL: no memory, or
 * fd can not be watched. */
ct__h2_server *ct__h2_server_new(ct_reactor *reactor, int fd, const char *upstream, const ct__h2_limits *limits,
                                 const ct__h2_server_calls *calls, void *ctx);

/* Serves on one more such socket, of any family: bounds and calls are those of all. Returns 0, CT_E_FULL, or -errno: fd can not be watched. */
int ct__h2_server_listen(ct__h2_server *server, int fd);

/* Serves one more connection, which it takes over: a connected stream socket. Returns 0 or -errno. */
int ct__h2_server_adopt(ct__h2_server *server, int fd);

/* Stops accepting. A connection without a stream in hand ends at once, with GOAWAY, the others with their last stream (a
 * GOAWAY before that makes many clients drop their calls), and all of them at the deadline. */
void ct__h2_server_stop(ct__h2_server *server, uint64_t deadline_ns);

/* Cuts what is left; no call is made after it, not even `cancelled`. Outside of the reactor's turn, or from `stopped`. */
void ct__h2_server_free(ct__h2_server *server);

/* For a server that Python has opened: who takes its streams from now on. `stopped` is to tell Python so. */
void ct__h2_server_attach(ct__h2_server *server, const ct__h2_server_calls *calls, void *ctx);
void ct__h2_server_tell_stopped(const ct__h2_server *server);

ct_h2_counts ct__h2_server_counts(const ct__h2_server *server);

/* These return 0, or -ESTALE when the stream has ended or was answered before. */

/* What `cancelled` is given. */
int ct__h2_own(ct__h2_server *server, ct__h2_stream stream, void *owner);

/* One message of an answer of several, made of pieces that are copied before it returns; the first begins the answer. Returns 0, or 1: the
 * client is slower than this, and `drained` will say when to go on. -ENOMEM as below. */
int ct__h2_say(ct__h2_server *server, ct__h2_stream stream, const ct__h2_span *pieces, size_t count);

/* Answers with OK and one message, the last, made of pieces, copied before it returns. -ENOMEM: the client was told RESOURCE_EXHAUSTED, or the
 * stream was reset. The handle is dead afterwards. */
int ct__h2_answer(ct__h2_server *server, ct__h2_stream stream, const ct__h2_span *pieces, size_t count);

/* Answers with a gRPC status other than 0, in trailers, behind what was said. An empty problem is left out. */
int ct__h2_refuse(ct__h2_server *server, ct__h2_stream stream, uint32_t status, ct__h2_span message, ct__h2_span problem);

/* Hands it to the upstream after all, from its first byte; nothing was said yet. The handle is dead afterwards. */
int ct__h2_forward(ct__h2_server *server, ct__h2_stream stream);

#endif
