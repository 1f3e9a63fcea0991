/* The AWS Lambda Runtime API of version 2018-06-01 as bytes: what a request asks for, and what its answer says. No I/O. */
#ifndef CT_GUEST_RUNTIME_API_H
#define CT_GUEST_RUNTIME_API_H

#include "edge/http1.h"

enum ct__api_kind {
    CT__API_UNKNOWN,      /* no such path */
    CT__API_OTHER_METHOD, /* of a path that there is */
    CT__API_NEXT,
    CT__API_RESPONSE,
    CT__API_ERROR,
    CT__API_INIT_ERROR,
};

typedef struct ct__api_ask {
    enum ct__api_kind kind;
    ct__span request_id; /* of a response or an error */
    ct__span error_type; /* by its header; NULL: none */
    bool streams;        /* the response comes as it is made, by its header or by its framing */
    bool is_raw;         /* it need not be JSON: it is streamed by its header, or says that it is text or bytes */
} ct__api_ask;

/* Borrows the head. */
ct__api_ask ct__api_read(const ct__http1_head *head);

enum {
    CT__API_ID_CHARS = 36,
    CT__API_ARN_CHARS = 512,
    CT__API_HEAD_BYTES = 1536, /* of any answer */
};

/* The facts of one call that its program is told in headers; texts end with NUL. */
typedef struct ct__api_call {
    char request_id[CT__API_ID_CHARS + 1];
    char trace[80];
    uint64_t deadline_ms; /* since 1970 */
} ct__api_call;

ct__api_call ct__api_call_of(const ct_exec_head *head, uint64_t now_ms);

/* Writes the name of a function as the API has it; a byte that a header can not carry becomes "?". `out` holds CT__API_ARN_CHARS. */
void ct__api_arn(char *out, const char *tenant, const char *space, const char *function, const char *version);

/* These write an answer; `out` holds CT__API_HEAD_BYTES. They return its length. The first is the head of a call alone, whose event of
 * `len` bytes follows. */
size_t ct__api_put_call(char *out, const ct__api_call *call, const char *arn, size_t len);
size_t ct__api_put_accepted(char *out, bool closes);
size_t ct__api_put_refusal(char *out, int status, const char *type, const char *message, bool closes);

/* The value of a field in the trailers of a body, by its name in lower case; NULL: there is none. */
ct__span ct__api_trailer(const uint8_t *trailers, size_t len, const char *name);

/* Decodes base64; `out` holds len / 4 * 3. Returns the length, or CT_E_MALFORMED. */
ptrdiff_t ct__api_base64(ct__span text, uint8_t *out);

#endif
