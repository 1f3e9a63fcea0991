/* What a function in C includes. Its handler is
 *
 *     int handler(const char *event, size_t length, struct ct_context *context, struct ct_answer *answer);
 *
 * `event` is JSON with a NUL behind it. What it adds to the answer is the output and must be JSON; nothing is null. It
 * returns 0, or what ct_fail returned, or another number for an error without words. What it prints is the call's log. */
#ifndef CONSTELLATION_H
#define CONSTELLATION_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct ct_context {
    const char *request_id;
    const char *function_name;
    const char *function_version;
    const char *tenant;
    const char *namespace_name;
    uint32_t memory_limit_mb;
    double deadline; /* seconds of Unix time */
    const char *trace_id;
    const char *span_id;
    const char *traceparent;
    uint64_t until_ms; /* the deadline on the clock that ct_remaining_ms reads */
    struct ct_call *call;
} ct_context;

typedef struct ct_answer ct_answer;

/* Milliseconds until the call is given up. */
uint32_t ct_remaining_ms(const ct_context *context);

/* A line of the log, of a call's own even where several run at a time. */
void ct_log(const ct_context *context, const char *level, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Add to the answer: text as it is; text in quotes, escaped. */
void ct_add(ct_answer *answer, const char *text);
void ct_add_bytes(ct_answer *answer, const char *data, size_t length);
void ct_add_quoted(ct_answer *answer, const char *text);
void ct_add_quoted_bytes(ct_answer *answer, const char *data, size_t length);
void ct_addf(ct_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Send a piece of a streamed answer at once, waiting while the caller does not take it. Where the caller wants no
 * stream, the pieces are the texts of a list. */
void ct_chunk(ct_answer *answer, const void *data, size_t length);

/* Make the answer an error. Returns -1. */
int ct_fail(ct_answer *answer, const char *type, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* The text of a member of the event, an object: decoded into `out`, cut to `room` bytes with the NUL. Returns its length
 * before the cut, or -1 where there is no such member or it is no text. */
long ct_event_text(const char *event, const char *member, char *out, size_t room);

#ifdef __cplusplus
}
#endif
#endif
