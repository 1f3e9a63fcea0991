/* What one Invoke says, read strictly: what is odd is not refused here but left to Python. No I/O, no allocation. */
#ifndef CT_LANE_INVOKE_H
#define CT_LANE_INVOKE_H

#include "h2/head.h"

enum { CT__UUID_TEXT_BYTES = 36, CT__TRACE_BYTES = 16, CT__SPAN_BYTES = 8 };

/* The spans borrow head and message. */
typedef struct ct__invoke {
    ct__h2_span function;
    ct__h2_span payload; /* never empty: a call without one has "{}" */
    ct__h2_span chain;
    ct__h2_span qualifier; /* a version's number or an alias; empty: the live version */
    ct__h2_span sticky;
    uint64_t payload_bytes; /* as they came */
    uint32_t timeout_ms; /* 0: none */
    uint32_t depth;
    uint8_t request_id[16];
    uint8_t trace_id[CT__TRACE_BYTES]; /* zeros without a trace */
    uint8_t span_id[CT__SPAN_BYTES];
    uint8_t source[CT_SOURCE_BYTES]; /* ended by NUL */
} ct__invoke;

/* False: for Python. now_ms is Unix time: the log takes request ids of about now only. */
bool ct__invoke_read(const ct__h2_head *head, const uint8_t *message, size_t len, uint64_t now_ms, ct__invoke *out);

/* Canonical, lower case; writes CT__UUID_TEXT_BYTES. */
void ct__uuid_put(uint8_t *out, const uint8_t id[16]);

#endif
