/* A queue of bytes: appended at the end, taken from the front. Zeroed is empty; an empty one keeps little memory. */
#ifndef CT_REACTOR_BYTES_H
#define CT_REACTOR_BYTES_H

#include "base/abi.h"

#include <stdbool.h>

typedef struct ct__bytes {
    uint8_t *base;
    size_t at;  /* the first byte is base[at] */
    size_t len;
    size_t cap;
    size_t keep_bytes; /* at most this large its buffer stays when it is empty; 0: small */
} ct__bytes;

static inline uint8_t *ct__bytes_front(const ct__bytes *b) {
    return b->at == 0 ? b->base : b->base + b->at; /* no sum with a NULL */
}

/* Returns room for `more` bytes behind the last one, or NULL: no memory. What is written there is made part by grow. */
uint8_t *ct__bytes_room(ct__bytes *b, size_t more);

static inline void ct__bytes_grow(ct__bytes *b, size_t more) {
    b->len += more;
}

/* Returns 0 or -ENOMEM. */
int ct__bytes_add(ct__bytes *b, const void *data, size_t len);

/* Forgets the first `count` bytes (at most len). An empty queue lets a large buffer go. */
void ct__bytes_skip(ct__bytes *b, size_t count);
void ct__bytes_free(ct__bytes *b);

enum { CT__BUSY_BYTES = 1 << 20 }; /* chosen: of a queue that much passes through, so that it is not allocated anew with each batch */

/* The buffer stays when the queue is empty, if it is at most this large; 0: only a small one does, and a larger one of an empty queue goes now. */
void ct__bytes_keep(ct__bytes *b, size_t keep_bytes);

#endif
