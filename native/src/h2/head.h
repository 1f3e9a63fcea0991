/* What a gRPC call says before its message: the metadata keys that the platform knows, found once at the end of the headers. */
#ifndef CT_H2_HEAD_H
#define CT_H2_HEAD_H

#include "base/abi.h"

#include <stdbool.h>

typedef struct ct__h2_span {
    const uint8_t *data; /* NULL when it is absent */
    size_t len;
} ct__h2_span;

/* The spans borrow; a server's head lives as long as its stream. */
typedef struct ct__h2_head {
    ct__h2_span path;
    ct__h2_span authorization;
    ct__h2_span identity;   /* nova-identity */
    ct__h2_span request_id; /* x-request-id */
    ct__h2_span traceparent;
    ct__h2_span call_depth; /* nova-call-depth */
    ct__h2_span call_chain; /* nova-call-chain */
    ct__h2_span source;     /* nova-source */
    ct__h2_span content_type;
    uint64_t timeout_ns;  /* grpc-timeout; 0 with has_timeout is one that has passed */
    uint64_t deadline_ns; /* the same on the reactor's clock; UINT64_MAX without one */
    bool has_timeout;
    bool is_odd; /* another key, a key twice, an encoding, no POST, no gRPC content: for Python to judge */
} ct__h2_head;

enum ct__h2_key {
    CT__H2_KEY_OTHER,
    CT__H2_KEY_METHOD,
    CT__H2_KEY_PATH,
    CT__H2_KEY_STATUS,
    CT__H2_KEY_PSEUDO, /* :scheme, :authority */
    CT__H2_KEY_CONTENT_TYPE,
    CT__H2_KEY_TIMEOUT,
    CT__H2_KEY_ENCODING,
    CT__H2_KEY_GRPC_STATUS,
    CT__H2_KEY_GRPC_MESSAGE,
    CT__H2_KEY_PROBLEM,
    CT__H2_KEY_AUTHORIZATION,
    CT__H2_KEY_IDENTITY,
    CT__H2_KEY_REQUEST_ID,
    CT__H2_KEY_TRACEPARENT,
    CT__H2_KEY_CALL_DEPTH,
    CT__H2_KEY_CALL_CHAIN,
    CT__H2_KEY_SOURCE,
    CT__H2_KEY_PLAIN,  /* says nothing that matters here: te, user-agent, grpc-accept-encoding */
    CT__H2_KEY_STRIPPED /* constellation-*: ours alone, never a client's */
};

enum ct__h2_key ct__h2_key_of(ct__h2_span name);

/* Adds one field. Fields of no weight and stripped ones may be passed too. */
void ct__h2_head_add(ct__h2_head *head, ct__h2_span name, ct__h2_span value);

/* To be called after the last field. */
void ct__h2_head_finish(ct__h2_head *head, uint64_t now_ns);

static inline bool ct__h2_is(ct__h2_span span, const char *text, size_t len) {
    return span.len == len && __builtin_memcmp(span.data, text, len) == 0;
}

#endif
