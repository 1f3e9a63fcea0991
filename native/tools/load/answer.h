/* One HTTP/1.1 answer in a buffer, read strictly; no I/O and no allocation. */
#ifndef CT_LOAD_ANSWER_H
#define CT_LOAD_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CT__ANSWER_HEAD_MAX = 64 << 10, CT__ANSWER_BODY_MAX = 64 << 20 };

typedef struct ct__answer {
    int status;
    bool is_kept;        /* the connection takes another request */
    const uint8_t *body; /* borrows the buffer; of a chunked answer, its chunks moved together */
    size_t body_len;
    size_t used; /* what the answer took of the buffer, interim answers before it included */
} ct__answer;

/* Returns 0, CT_E_MORE, CT_E_TOOBIG or CT_E_MALFORMED; writes *out, and moves chunks together, only on 0. */
int ct__answer_split(uint8_t *buf, size_t len, ct__answer *out);

#endif
