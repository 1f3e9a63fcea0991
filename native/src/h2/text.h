/* gRPC's text forms: timeouts, percent-encoded status messages, base64 of binary metadata, decimal status. No I/O, no allocation. */
#ifndef CT_H2_TEXT_H
#define CT_H2_TEXT_H

#include "h2/head.h"

enum { CT__H2_TIMEOUT_BYTES = 9, CT__H2_PREFIX_BYTES = 5 };

/* 1 to 8 digits and one of n u m S M H. */
bool ct__h2_timeout_get(ct__h2_span text, uint64_t *out_ns);

/* Writes at most CT__H2_TIMEOUT_BYTES, rounded up, so that the caller's own deadline comes first. Returns the length. */
size_t ct__h2_timeout_put(uint8_t *out, uint64_t ns);

/* Writes at most 3 bytes for each of text. Returns the length. */
size_t ct__h2_percent_put(uint8_t *out, ct__h2_span text);

/* Writes at most text.len bytes; a wrong escape stays as it is. Returns the length. */
size_t ct__h2_percent_get(uint8_t *out, ct__h2_span text);

/* Standard alphabet, without padding. Writes (4 * len + 2) / 3 bytes and returns how many. */
size_t ct__h2_base64_put(uint8_t *out, ct__h2_span data);

/* With padding or without. Writes at most 3 * len / 4 bytes and returns how many, or SIZE_MAX when it is not base64. */
size_t ct__h2_base64_get(uint8_t *out, ct__h2_span text);

/* A number of 1 to 3 digits, or UINT32_MAX. */
uint32_t ct__h2_status_get(ct__h2_span text);

/* The length of the one whole message in body, its prefix left out, or -1: not exactly one, or compressed. */
ptrdiff_t ct__h2_message_len(const uint8_t *body, size_t len);

#endif
