/* A call as HTTP/1.1: what a function's own server is asked, and how its answer is read, strictly. No I/O, no allocation. */
#ifndef CT_GUEST_HTTP_CALL_H
#define CT_GUEST_HTTP_CALL_H

#include "edge/http1.h"

enum {
    CT__HTTP_CALL_BYTES = 1024,   /* of a request's head */
    CT__HTTP_CALL_INTERIMS = 8,   /* chosen: answers such as 103 before the one that counts */
};

/* The facts of a function that every request carries; texts. */
typedef struct ct__http_function {
    char name[128], version[32];
    uint16_t port; /* where its server listens on loopback */
} ct__http_function;

/* Writes the head of a request whose body has `len` bytes; `out` holds CT__HTTP_CALL_BYTES. Bytes of the function's facts that a
 * header can not carry become "?". Returns its length. */
size_t ct__http_call_put(char *out, const ct_exec_head *call, uint64_t now_ms, const ct__http_function *function, size_t len);

/* An answer as far as it was read; zeroed before the first byte. */
typedef struct ct__http_answer {
    ct__http1_scan scan;
    ct__http1_body body;
    uint32_t status; /* 0: its head is not whole yet */
    uint32_t interims;
    bool says_json;  /* by its type */
} ct__http_answer;

/* Reads on until a piece of the body is found, or the answer or the input ends. *used is the bytes taken, *data what of them is the
 * body's, perhaps nothing; what is not taken stays at the begin of the input of the next call. Returns 0, CT_E_MORE (the head is not
 * whole) or CT_E_MALFORMED; after that the answer can not be read any more. */
int ct__http_answer_next(ct__http_answer *answer, const uint8_t *buf, size_t len, size_t *used, ct__span *data);

static inline bool ct__http_answer_done(const ct__http_answer *answer) {
    return answer->status != 0 && ct__http1_body_done(&answer->body);
}

/* Whether the end of the connection is the end of the answer. */
bool ct__http_answer_may_end(const ct__http_answer *answer);

static inline bool ct__http_answer_is_good(const ct__http_answer *answer) {
    return answer->status >= 200 && answer->status < 300;
}

#endif
