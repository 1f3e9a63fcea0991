/* What the two parts of the worker share. */
#ifndef CONSTELLATION_WORKER_H
#define CONSTELLATION_WORKER_H

#include "constellation.h"

#include <stdbool.h>

typedef struct ct__text {
    char *data;
    size_t len, room;
} ct__text;

struct ct_answer {
    ct__text output, error;
    struct ct_call *stream_to; /* NULL: the caller wants no stream */
    bool has_chunks, is_failed;
};

int CT_HANDLER(const char *event, size_t length, struct ct_context *context, struct ct_answer *answer);

void ct__send_chunk(struct ct_call *call, const void *data, size_t len);

/* Ends a list of pieces. */
void ct__answer_close(ct_answer *answer);

/* An error whose stack is known already; ct_fail takes its caller's. */
void ct__fail_with(ct_answer *answer, const char *type, const char *message, const char *stack);

#endif
