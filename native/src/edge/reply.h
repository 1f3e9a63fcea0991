/* Comet's answer to a call, and what it becomes over HTTP: the bytes that zenith/invoke.py writes. Pure. */
#ifndef CT_EDGE_REPLY_H
#define CT_EDGE_REPLY_H

#include "edge/http1.h"

enum { CT__ERROR_TYPE_BYTES = 128, CT__VERSION_BYTES = 64, CT__REPLY_END_BYTES = 1024 };

typedef struct ct__reply {
    ct__span request_id, output, error, version; /* empty when absent */
    double duration_ms;
    bool is_cold;
} ct__reply;

/* Reads nova.v1.InvokeResponse. Returns 0, or a negative number: it is none. */
int ct__reply_read(const uint8_t *message, size_t len, ct__reply *out);

/* Bytes that ct__reply_write needs at most. */
size_t ct__reply_room(const ct__reply *reply);

/* Writes the whole answer to the request of this id (36 characters). `date` is a header line. Returns its length. */
size_t ct__reply_write(uint8_t *out, const ct__reply *reply, const char *request_id, const char *date);

/* The type in a handler's error, fit for a header; `out` holds CT__ERROR_TYPE_BYTES. Returns its length, never 0. */
size_t ct__reply_error_type(ct__span error, char *out);

/* Reads nova.v1.StreamEnd: how an answer in pieces ended. A version of more than CT__VERSION_BYTES is malformed. */
int ct__reply_read_end(const uint8_t *message, size_t len, ct__reply *out);

/* Writes what the last event says of it. `out` holds CT__REPLY_END_BYTES. Returns its length. */
size_t ct__reply_end(uint8_t *out, const ct__reply *end, const char *request_id);

#endif
