/* InvokeResponse, or the InvokeChunk that ends an answer in pieces, in three pieces so that an output is copied once: what stands before it, the output or error, what follows. */
#ifndef CT_LANE_ANSWER_H
#define CT_LANE_ANSWER_H

#include "h2/head.h"

enum { CT__ANSWER_HEAD_BYTES = 64, CT__ANSWER_TAIL_BYTES = 48, CT__ANSWER_PIECES = 3 };

typedef struct ct__answer {
    uint8_t head[CT__ANSWER_HEAD_BYTES];
    uint8_t tail[CT__ANSWER_TAIL_BYTES];
    ct__h2_span pieces[CT__ANSWER_PIECES];
} ct__answer;

/* The pieces borrow `out` and body. */
void ct__answer_make(ct__answer *out, const uint8_t request_id[16], bool is_error, const uint8_t *body, size_t len,
                     uint64_t duration_ns, bool is_cold, uint64_t version);

/* `error`: what the handler raised, if it did; else empty. */
void ct__answer_end(ct__answer *out, const uint8_t request_id[16], const uint8_t *error, size_t len, uint64_t duration_ns,
                    bool is_cold, uint64_t version);

#endif
