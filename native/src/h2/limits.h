/* Bounds of both ends. Zeroed fields take the defaults of limits.c, each with its reason there. */
#ifndef CT_H2_LIMITS_H
#define CT_H2_LIMITS_H

#include "base/abi.h"

typedef struct ct__h2_limits {
    size_t message_bytes;     /* of one gRPC message, either way */
    size_t held_bytes;        /* of all bodies that wait here, over all connections */
    size_t session_bytes;     /* of nghttp2's own memory, a connection */
    size_t sessions_bytes;    /* and of all connections of one server or client */
    uint32_t streams;         /* a connection */
    uint32_t connections;     /* accepted, or opened by a client */
    uint32_t upstreams;       /* connections to the upstream server */
    uint64_t body_ns;         /* from the headers of a taken stream to the end of its message */
    uint64_t greeting_ns;     /* from accept or connect to the peer's first frames; headers in pieces */
    uint64_t stall_ns;        /* output that the peer does not take */
    uint64_t idle_ns;         /* a connection without streams */
    uint64_t ping_after_ns;   /* nothing heard while streams are in hand: a PING */
    uint64_t ping_ns;         /* and nothing heard after it: the connection is dead */
    uint64_t backoff_ns;      /* after a first failed connect; doubles */
    uint64_t backoff_max_ns;
} ct__h2_limits;

/* Returns limits with every zero replaced. */
ct__h2_limits ct__h2_limits_filled(const ct__h2_limits *limits);

#endif
