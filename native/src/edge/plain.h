/* A call of a function that is as plain as calls mostly are: which of its headers mean what. Pure. What is not plain here may well be
 * right: Python judges it. */
#ifndef CT_EDGE_PLAIN_H
#define CT_EDGE_PLAIN_H

#include "edge/http1.h"

enum { CT__UUID_BYTES = 36 };

enum ct__credential { CT__LOCAL = 'l', CT__API_KEY = 'k', CT__AUTHORIZATION = 'a' };

/* Spans borrow the head; those of absent headers are empty. */
typedef struct ct__plain {
    ct__span function;
    enum ct__credential kind;
    ct__span credential; /* the header's value as it came */
    ct__span tenant, space;
    ct__span traceparent, qualifier, sticky, depth, chain;
    bool has_request_id;
    char request_id[CT__UUID_BYTES];
    uint32_t timeout_ms; /* 0: the function's own */
    uint64_t timeout_ns; /* 0: likewise */
    bool is_stream; /* the answer is wanted in pieces ... */
    bool is_events; /* ... as server-sent events */
    bool is_lone; /* without a sign of another hand: neither a proxy's trace, nor an origin */
} ct__plain;

/* Returns whether this is such a call. */
bool ct__plain_read(const ct__http1_head *head, uint64_t max_timeout_ns, ct__plain *out);

#endif
